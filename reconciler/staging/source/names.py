"""Names of files in a source that decide about it; nothing that reads a source is loaded for them."""

IGNORE_FILE = ".reconcilerignore"
