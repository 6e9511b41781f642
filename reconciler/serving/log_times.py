"""Keep when each part of an app's logs was written, as most lines of an app bear no time.

A sample says that a file had so many bytes when it was last written to. It is taken where logs are looked at anyway,
so that a line's time is known to within a look; an app that writes seldom is known to the second.
"""

import contextlib
import os
import struct
from bisect import bisect_left
from collections.abc import Collection, Iterable
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import append_to, opened_file

_SAMPLE = struct.Struct("<QQd")  # inode, bytes, seconds of the epoch
_MOST = 4096
_NAME = "times"


class LogTimes:
    """Takes the samples of one host's logs; `take` costs one stat a file where nothing was written."""

    def __init__(self) -> None:
        self._last: dict[str, dict[str, tuple[int, int]]] = {}

    def take(self, directory: str, files: Iterable[str]) -> tuple[int, float]:
        """Record how large the files of an app's log directory are, where that has changed.

        Return the largest size, and when one that has changed since the last look was written to last, 0 if none has.
        """
        found, largest, written_at = b"", 0, 0.0
        last = self._last.setdefault(directory, {})
        for name in files:
            try:
                status = os.stat(f"{directory}/{name}")  # noqa: PTH116  also of very many texts
            except OSError:
                last.pop(name, None)
                continue
            largest = max(largest, status.st_size)
            now = (status.st_ino, status.st_size)
            if last.get(name) != now and status.st_size:
                if name in last:
                    written_at = max(written_at, status.st_mtime)
                last[name] = now
                found += _SAMPLE.pack(status.st_ino, status.st_size, status.st_mtime)
        if found:
            with contextlib.suppress(OSError):  # a full disk costs the times of some lines
                _append(Path(directory) / _NAME, found)
        return largest, written_at

    def keep(self, directories: Collection[str]) -> None:
        """Forget the files in all directories but these."""
        if self._last.keys() - directories:
            self._last = {directory: last for directory, last in self._last.items() if directory in directories}


def _append(file: Path, samples: bytes) -> None:
    opened = append_to(file)
    try:
        os.write(opened, samples)
        too_large = os.fstat(opened).st_size > 2 * _MOST * _SAMPLE.size
    finally:
        os.close(opened)
    if too_large:
        replace_file(file, _tail_of(file), durable=False)


def _tail_of(file: Path) -> bytes:
    with contextlib.suppress(OSError), opened_file(file) as opened:
        end = opened.seek(0, os.SEEK_END) // _SAMPLE.size * _SAMPLE.size
        opened.seek(max(0, end - _MOST * _SAMPLE.size))
        content = opened.read(_MOST * _SAMPLE.size)
        return content[: len(content) // _SAMPLE.size * _SAMPLE.size]
    return b""


class KnownTimes:
    """The samples of an app's logs, as they were when this was made; none if they cannot be read."""

    def __init__(self, directory: Path) -> None:
        self._samples: dict[int, list[tuple[int, float]]] = {}
        for inode, size, at in _SAMPLE.iter_unpack(_tail_of(directory / _NAME)):
            known = self._samples.setdefault(inode, [])
            if known and known[-1][0] >= size:  # it was cut, or another file has its number now
                del known[bisect_left(known, (size, 0.0)) :]
            known.append((size, at))

    def latest(self, inode: int, offset: int) -> float | None:
        """Return the time by which a file had this many bytes, None if that is later than every sample."""
        known = self._samples.get(inode, ())
        at = bisect_left(known, (offset, float("-inf")))
        return known[at][1] if at < len(known) else None
