"""Place of the host's settings, unless an option or a variable names another file."""

DEFAULT_SETTINGS = "/etc/reconciler/host.yaml"  # a text: helps name it, and load no paths for that
