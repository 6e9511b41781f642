"""Read an app's log files: their last lines, and what is appended to them, across rotations.

Memory is bounded whatever the app writes: a log is read in blocks, and the page gets lines of a limited length.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from reconciler.linux.regular_files import opened_file
from reconciler.serving.logs import is_replaced

MOST_LINES = 2000
_MOST_BYTES = 512 * 1024
_POLL_S = 1.0
_BLOCK = 64 * 1024
_LONGEST_LINE = 8192


class LogReader:
    """Read a log from the start of its last `lines` lines, which are looked for in its last `most_bytes` only.

    A rotated log is read to its end, then its successor from the start.
    """

    def __init__(self, log: Path, lines: int, most_bytes: int | None = None) -> None:
        self._log = log
        self._lines: int | None = lines
        self._most_bytes = most_bytes
        self._file: BinaryIO | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def read(self) -> bytes:
        """Return the next bytes, none when nothing has been written since. Raises OSError if the log is unreadable."""
        while True:
            file = self._file or self._open()
            if file is None:
                return b""
            if chunk := file.read(_BLOCK):
                return chunk
            if not is_replaced(file, self._log):
                return b""
            self._close()

    def read_all(self) -> bytes:
        """Return everything up to the end of the log."""
        return b"".join(iter(self.read, b""))

    def _open(self) -> BinaryIO | None:
        try:
            self._file = opened_file(self._log)
        except FileNotFoundError:
            return None
        if self._lines is not None:
            self._file.seek(_start_of_last(self._file, self._lines, self._most_bytes))
            self._lines = None
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def tail(log: Path, count: int) -> list[str]:
    """Return the last lines, none if the log does not exist. Raises OSError if it is unreadable."""
    with LogReader(log, count, _MOST_BYTES) as reader:
        return _lines(reader.read_all())


async def follow(log: Path, count: int) -> AsyncIterator[list[str] | None]:
    """Yield the last lines, then those that are appended; None whenever nothing was appended for a moment."""
    with LogReader(log, count, _MOST_BYTES) as reader:
        if lines := _lines(await asyncio.to_thread(_read_all, reader)):
            yield lines
        rest = b""
        while True:
            chunk = _read(reader)
            if not chunk:
                yield None
                await asyncio.sleep(_POLL_S)
                continue
            *complete, rest = (rest + chunk).split(b"\n")
            if len(rest) > _LONGEST_LINE:
                complete, rest = [*complete, rest], b""
            if complete:
                yield [_text(line) for line in complete[-MOST_LINES:]]
            await asyncio.sleep(0.1)


def _read(reader: LogReader) -> bytes:
    try:
        return reader.read()
    except OSError:  # unreadable for now
        return b""


def _read_all(reader: LogReader) -> bytes:
    return b"".join(iter(lambda: _read(reader), b""))


def _start_of_last(file: BinaryIO, lines: int, most_bytes: int | None) -> int:
    """Return where the last `lines` lines begin, reading no more than those and at most the last `most_bytes`."""
    end = file.seek(0, os.SEEK_END)
    if not lines or not end:
        return end
    file.seek(end - 1)
    wanted = lines + (file.read(1) == b"\n")  # a line break at the very end begins no line
    earliest = 0 if most_bytes is None else max(0, end - most_bytes)
    first = end
    for start, block in _blocks_backwards(file, end, earliest):
        breaks = block.count(b"\n")
        if breaks >= wanted:
            at = len(block)
            for _ in range(wanted):
                at = block.rindex(b"\n", 0, at)
            return start + at + 1
        wanted -= breaks
        first = start + block.index(b"\n") + 1 if breaks else first
    return first if earliest else 0


def _blocks_backwards(file: BinaryIO, end: int, earliest: int) -> Iterator[tuple[int, bytes]]:
    while end > earliest:
        start = max(earliest, end - _BLOCK)
        file.seek(start)
        yield start, file.read(end - start)
        end = start


def _lines(content: bytes) -> list[str]:
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [_text(line) for line in lines]


def _text(line: bytes) -> str:
    return line[:_LONGEST_LINE].decode("utf-8", "replace")
