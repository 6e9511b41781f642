"""Read a log page by page from its end, or the lines of it that hold a text.

Time and memory are bounded whatever the size of the log: a page is looked for in a limited stretch of it, in blocks.
"""

import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reconciler.linux.regular_files import opened_file
from reconciler.vault.secret_patterns import LineRedactor

_MOST_LINES = 500
_SHOWN_BYTES = 128 * 1024
_SEARCHED_BYTES = 16 * 1024 * 1024
_BLOCK = 64 * 1024
_LONGEST_LINE = 8192
_BEGINS_KEY = b"-----"  # a private key, of which the redactor needs the first line and the last


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines of a log, redacted and in order, out of its bytes from `start` to `end`; `size` is that of the whole log.

    An older page ends at `start`, which is 0 at the beginning of the log.
    """

    lines: tuple[str, ...] = ()
    start: int = 0
    end: int = 0
    size: int = 0


def log_page(log: Path, redactor: LineRedactor, *, before: int | None = None, words: str = "") -> LogPage:
    """Return the last lines that end at the byte `before`, the end of the log without one; none of a missing log.

    With `words`, only lines that hold them once they are redacted, in any case of ASCII letters. Blocks; raises
    OSError if the log is unreadable.
    """
    try:
        file = opened_file(log)
    except FileNotFoundError:
        return LogPage()
    with file:
        size = file.seek(0, os.SEEK_END)
        end = size if before is None else min(before, size)
        first = _line_start(file, end - (_SEARCHED_BYTES if words else _SHOWN_BYTES), end)
        found: deque[tuple[int, str]] = deque(maxlen=_MOST_LINES)
        wanted = words.encode().lower()
        left_off = False
        for at, line in _lines(file, first, end, wanted):
            text = redactor.redacted(line[:_LONGEST_LINE].decode("utf-8", "replace"))
            if wanted in text.encode("utf-8", "replace").lower():
                left_off = left_off or len(found) == _MOST_LINES
                found.append((at, text))
        start = found[0][0] if left_off else first
    return LogPage(lines=tuple(text for _, text in found), start=start, end=end, size=size)


def _line_start(file: BinaryIO, earliest: int, end: int) -> int:
    """Return where the first whole line after `earliest` begins; `earliest` itself if no line begins soon."""
    if earliest <= 0:
        return 0
    file.seek(earliest - 1)
    position = file.read(min(_BLOCK, end - earliest)).find(b"\n")
    return earliest + position if position >= 0 else earliest


def _lines(file: BinaryIO, first: int, end: int, wanted: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines, each with where it begins, of the blocks that may hold what is wanted or a private key."""
    file.seek(first)
    at, rest = first, b""
    while at + len(rest) < end:
        block = file.read(min(_BLOCK, end - at - len(rest)))
        if not block:
            break
        content = rest + block
        cut = content.rfind(b"\n") + 1 or (len(content) if len(content) > _LONGEST_LINE else 0)
        complete, rest = content[:cut], content[cut:]
        if wanted in complete.lower() or _BEGINS_KEY in complete:
            yield from _wanted(at, complete, wanted)
        at += cut
    if rest:
        yield from _wanted(at, rest, wanted)


def _wanted(at: int, content: bytes, wanted: bytes) -> Iterator[tuple[int, bytes]]:
    for line in _split(content):
        if wanted in line.lower() or _BEGINS_KEY in line:
            yield at, line.rstrip(b"\n")
        at += len(line)


def _split(content: bytes) -> Iterator[bytes]:
    """Split at line feeds alone: a carriage return belongs to its line."""
    *lines, last = content.split(b"\n")
    yield from (line + b"\n" for line in lines)
    if last:
        yield last
