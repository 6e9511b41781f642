"""Read files of proc(5) as text, whatever bytes a process's name or environment holds.

The kernel cuts names at 15 bytes, so that half a letter may be at their end.
"""

from pathlib import Path


def read_proc(path: str | Path) -> str:
    """Return the text of a file below /proc, with escapes for bytes that are not UTF-8. Raises OSError."""
    return proc_text(Path(path).read_bytes())


def proc_text(content: bytes) -> str:
    """Return bytes that a process chose as text, with escapes for those that are not UTF-8."""
    return content.decode(errors="backslashreplace")
