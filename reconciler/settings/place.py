"""Place of the host's settings, unless an option or a variable names another file."""

from pathlib import Path

DEFAULT_SETTINGS = Path("/etc/reconciler/host.yaml")
