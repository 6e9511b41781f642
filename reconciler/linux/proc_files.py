"""Read files of proc(5) as text, whatever bytes a process's name or environment holds, and however many.

The kernel cuts names at 15 bytes, so that half a letter may be at their end. What a process says of itself may be the
whole of its memory (PR_SET_MM_MAP of prctl(2)): of that, no more is read than execve(2) would have taken.
"""

import os
from pathlib import Path

from reconciler.linux.regular_files import UnfitFile, shown_size

# Three quarters of _STK_LIM of <linux/resource.h>: arguments and environment of a program are never larger.
MOST_GIVEN = 6 << 20
# The kernel's own tables have a line for each lock and each connection.
_MOST_OF_A_TABLE = 64 << 20
_CHUNK = 64 << 10


def read_proc(path: str | Path) -> str:
    """Return the text of a file below /proc, with escapes for bytes that are not UTF-8. Raises OSError."""
    return proc_text(proc_bytes(path, _MOST_OF_A_TABLE))


def proc_bytes(path: str | Path, most: int = MOST_GIVEN) -> bytes:
    """Return the bytes of a file below /proc. Raises OSError, which is UnfitFile if it has more than `most`."""
    reading = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        content = os.read(reading, _CHUNK)
        if not content:
            return content
        parts, size = [content], len(content)
        while size <= most and (content := os.read(reading, _CHUNK)):
            parts.append(content)
            size += len(content)
    finally:
        os.close(reading)
    if size > most:
        raise UnfitFile(f"it is larger than {shown_size(most)}", path)
    return b"".join(parts)


def proc_text(content: bytes) -> str:
    """Return bytes that a process chose as text, with escapes for those that are not UTF-8."""
    return content.decode(errors="backslashreplace")
