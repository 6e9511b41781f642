"""Read a log page by page from its end, or the lines of it that hold a text.

Time and memory are bounded whatever the size of the log: a page is looked for in a limited stretch of it, in blocks.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from reconciler.inspection.log_lines import Folder, Line
from reconciler.inspection.printable import coloured
from reconciler.linux.dataclass import dataclass
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


def log_page(
    log: Path, redactor: LineRedactor, *, before: int | None = None, words: str = "", fold: bool = False
) -> LogPage:
    """Return the last lines that end at the byte `before`, the end of the log without one; none of a missing log.

    With `words`, only lines that hold them once they are redacted, in any case of ASCII letters. With `fold`, failed
    starts are folded and colours left out. Blocks; raises OSError if the log is unreadable.
    """
    try:
        file = opened_file(log, follow=False)
    except FileNotFoundError:
        return LogPage()
    with file:
        size = file.seek(0, os.SEEK_END)
        end = size if before is None else min(before, size)
        first = _line_start(file, end - (_SEARCHED_BYTES if words else _SHOWN_BYTES), end)
        found: deque[tuple[int, str]] = deque(maxlen=_MOST_LINES)
        wanted = words.encode().lower()
        left_off = False
        redacted = (
            (at, redactor.redacted(line[:_LONGEST_LINE].decode("utf-8", "replace")))
            for at, line in _lines(file, first, end, wanted)
        )
        matching = (each for each in redacted if wanted in each[1].encode("utf-8", "replace").lower())
        for each in _folded(matching) if fold else matching:
            left_off = left_off or len(found) == _MOST_LINES
            found.append(each)
        start = found[0][0] if left_off else first
    return LogPage(lines=tuple(text for _, text in found), start=start, end=end, size=size)


def _folded(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines with failed starts folded, each with where it or the first line behind it begins."""
    folder, waiting = Folder(), deque[int]()

    def placed(lines: Iterable[Line]) -> Iterator[tuple[int, str]]:
        for line in lines:
            at = waiting[0]
            for _ in line.folded or (line,):
                waiting.popleft()
            yield at, coloured(line.shown, keep=False)

    for at, text in lines:
        waiting.append(at)
        yield from placed(folder.feed(Line(text=text)))
    yield from placed(folder.flush())


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
