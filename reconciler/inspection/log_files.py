"""Read the files of a log from oldest to newest, and what is appended to them, across rotations.

Each line is read once. Memory is bounded whatever the app writes: a log is read in blocks, and no more than the start
of a line that does not end is kept. A link is refused: an app could make its log lead to any file of the host.
"""

import contextlib
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from reconciler.inspection.log_lines import LONGEST_LINE
from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import opened_file

BLOCK = 128 * 1024
_COUNTED_AT_A_TIME = 1024 * 1024
_MOST_COUNTED = 64 * 1024 * 1024
_MOST_FILES = 1000
_HEAD = 256
_OLDER_KEPT = 2  # rotated files that a process may still be writing to
_IDLE_READS = 20


class Position(NamedTuple):
    """How far the lines of a file are settled; the inode and the checksum of its first bytes tell it from others."""

    inode: int
    offset: int
    head_bytes: int
    head_sum: int


@dataclass(slots=True, eq=False)
class LogFile:
    """One file of a log, read up to `offset` of its bytes. Lines are given without their line breaks.

    `settled` is the byte up to which its reader needs no line again; `written_at` is when it was last written to.
    """

    file: BinaryIO
    inode: tuple[int, int]
    offset: int = 0
    head: bytes = b""
    rest: bytes = b""
    is_cut: bool = False  # what follows of a line that was too long
    idle: int = 0
    size: int = 0
    settled: int = 0
    written_at: float = 0.0
    longest: int = LONGEST_LINE
    ends: list[int] = field(default_factory=list)

    def lines(self, most_bytes: int = BLOCK, *, limit_bytes: int = 0) -> list[bytes]:
        """Return the complete lines of the next bytes; none if there are none. `ends` are the offsets of their ends."""
        self._check_cut(limit_bytes)
        content = os.pread(self.file.fileno(), most_bytes, self.offset)
        self.ends = []
        if not content:
            self.idle += 1
            return []
        self.idle = 0
        if len(self.head) < _HEAD and self.offset <= len(self.head):
            self.head = os.pread(self.file.fileno(), _HEAD, 0)
        start = self.offset - len(self.rest)
        self.offset += len(content)
        *complete, self.rest = (self.rest + content).split(b"\n")
        found = []
        for line in complete:
            start += len(line) + 1
            if self.is_cut:
                self.is_cut = False
                continue
            found.append(line)
            self.ends.append(start)
        if len(self.rest) > self.longest:
            if not self.is_cut:
                found.append(self.rest[: self.longest])
                self.ends.append(self.offset)
            self.rest, self.is_cut = b"", True
        return found

    def last(self) -> list[bytes]:
        """Return the line that has no line break, as nothing follows it."""
        rest, self.rest = self.rest, b""
        self.ends = [self.offset] if rest else []
        return [rest] if rest and not self.is_cut else []

    def unread(self, most_bytes: int) -> int:
        """Return how many lines were not read yet, of the next bytes."""
        lines, at, end = 0, self.offset, self.offset + most_bytes
        while at < end and (content := os.pread(self.file.fileno(), _COUNTED_AT_A_TIME, at)):
            lines += content.count(b"\n")
            at += len(content)
        return lines

    def position(self) -> Position:
        """Return how far its lines are settled, for a later `resume`."""
        return Position(self.inode[1], self.settled, len(self.head), zlib.crc32(self.head))

    def is_at(self, position: Position) -> bool:
        """Whether the file is the one of a position."""
        if self.inode[1] != position.inode:
            return False
        head = os.pread(self.file.fileno(), min(_HEAD, position.head_bytes), 0)
        return len(head) == position.head_bytes and zlib.crc32(head) == position.head_sum

    def _check_cut(self, limit_bytes: int) -> None:
        """Go on at the right place in a file that has become shorter: it was cut, or is written from its start."""
        status = os.fstat(self.file.fileno())
        size, self.written_at = status.st_size, status.st_mtime
        if size >= self.offset:
            return
        known = os.pread(self.file.fileno(), _HEAD, 0)
        is_new = known[: len(self.head)] != self.head[: len(known)] or not known
        kept = limit_bytes if 0 < limit_bytes <= size else size
        self.offset = 0 if is_new else min(self.offset, kept)
        self.settled = min(self.settled, self.offset)
        self.head, self.rest, self.is_cut = known if is_new else self.head, b"", False


class LogFiles:
    """The files of a log, oldest first; the last one is, or was, the one that is written to.

    `limit_bytes` is the size to which the daemon cuts a log that grows faster than it is rotated. `read_from` is the
    file of the lines that were read last; `has_more` says that the last read ended within a line.
    """

    def __init__(self, log: Path, limit_bytes: int = 0) -> None:
        self._log = log
        self._limit_bytes = limit_bytes
        self.files: list[LogFile] = []
        self.read_from: LogFile | None = None
        self.has_more = False
        self.find()
        for each in self.files:
            each.size = os.fstat(each.file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every file."""
        for each in self.files:
            each.file.close()
        self.files = []

    def skip_to_sizes(self, longest: int = LONGEST_LINE) -> None:
        """Read from where the files ended when this was made, from the start of a line without an end there."""
        for number, each in enumerate(self.files):
            is_newest = number == len(self.files) - 1
            each.offset = each.settled = _whole(each.file, each.size) if is_newest else each.size
            each.longest = longest
            each.head = os.pread(each.file.fileno(), _HEAD, 0)

    def resume(self, positions: Mapping[int, Position]) -> None:
        """Read on from positions, by inode: what is older than all of them is skipped, what is newer is read whole."""
        found = [positions.get(each.inode[1]) for each in self.files]
        known = [
            position if position is not None and each.is_at(position) else None
            for each, position in zip(self.files, found, strict=True)
        ]
        is_newer = not any(known)
        for each, position in zip(self.files, known, strict=True):
            if position is not None:
                is_newer = True
                each.offset = min(position.offset, each.size)
                each.head = os.pread(each.file.fileno(), _HEAD, 0)
                each.is_cut = each.offset > 0 and os.pread(each.file.fileno(), 1, each.offset - 1) != b"\n"
            elif not is_newer:
                each.offset = each.size
            each.settled = each.offset

    def leave_out_removed(self, most: int) -> int:
        """Close the oldest of the files that were removed, beyond `most`; return how many of their lines were unread.

        While it is open, a file takes its room on the disk.
        """
        removed = [each for each in self.files[:-1] if not os.fstat(each.file.fileno()).st_nlink]
        unread = 0
        for each in removed[: max(0, len(removed) - most)]:
            unread += each.unread(self._limit_bytes + _MOST_COUNTED)
            each.file.close()
            self.files.remove(each)
        return unread

    def read(self) -> list[bytes]:
        """Return some of the lines that were written since, the oldest first; none if there are none."""
        self.has_more = False
        self._find_copy()
        for each in self.files:
            if lines := each.lines(limit_bytes=self._limit_bytes):
                self.read_from = each
                return lines
            self.has_more |= not each.idle
        if self.find():
            return self.read()
        return self._superseded()

    def _find_copy(self) -> None:
        """Open the copy of a log that was emptied in place, if some of its lines were not read before."""
        newest = self.files[-1] if self.files else None
        if newest is None or not newest.head or os.fstat(newest.file.fileno()).st_size >= newest.offset:
            return
        try:
            file = opened_file(self._log.with_name(f"{self._log.name}.1"), follow=False)
        except OSError:
            return
        status = os.fstat(file.fileno())
        is_copy = os.pread(file.fileno(), len(newest.head), 0) == newest.head
        if not is_copy or status.st_size <= newest.offset or (status.st_dev, status.st_ino) == newest.inode:
            file.close()
            return
        copy = LogFile(file=file, inode=(status.st_dev, status.st_ino), offset=newest.offset, longest=newest.longest)
        copy.head, copy.rest, copy.is_cut, copy.settled = newest.head, newest.rest, newest.is_cut, newest.settled
        newest.offset, newest.settled, newest.head, newest.rest, newest.is_cut = 0, 0, b"", b"", False
        self.files.insert(len(self.files) - 1, copy)

    def _superseded(self) -> list[bytes]:
        """Close files that nothing is written to any more; return the last line of one, if it has no line break."""
        for number, each in enumerate(self.files[:-1]):
            is_gone = each.idle > 1 and not os.fstat(each.file.fileno()).st_nlink
            is_old = number < len(self.files) - _OLDER_KEPT and each.idle > _IDLE_READS
            if is_gone or is_old:
                each.file.close()
                del self.files[number]
                self.read_from = each
                return each.last()
        return []

    def find(self) -> bool:
        """Open the files that are newer than the newest known one; return whether there are any.

        A rotation at the same time moves files to higher numbers, which are looked at later: none is missed. Raises
        UnfitFile, and opens none, if one of them is no regular file.
        """
        if self.files:
            with contextlib.suppress(OSError):
                status = self._log.lstat()
                if (status.st_dev, status.st_ino) == self.files[-1].inode:
                    return False
        found: list[LogFile] = []
        try:
            self._open_newer(found)
        except BaseException:
            for each in found:
                each.file.close()
            raise
        self.files += reversed(found)
        return bool(found)

    def _open_newer(self, found: list[LogFile]) -> None:
        known = {each.inode for each in self.files}
        newest = self.files[-1].inode if self.files else None
        for number in count():
            path = self._log.with_name(f"{self._log.name}.{number}") if number else self._log
            try:
                file = opened_file(path, follow=False)
            except FileNotFoundError:
                if number == 0:
                    continue
                break
            status = os.fstat(file.fileno())
            inode = (status.st_dev, status.st_ino)
            if inode in known or number > _MOST_FILES:
                file.close()
                if inode == newest or number > _MOST_FILES:
                    break
                continue
            known.add(inode)
            found.append(LogFile(file=file, inode=inode))


def _whole(file: BinaryIO, size: int) -> int:
    """Return where the last line that has no line break begins."""
    begin = max(0, size - LONGEST_LINE)
    content = os.pread(file.fileno(), size - begin, begin)
    return begin + content.rfind(b"\n") + 1 if b"\n" in content else (begin if begin == 0 else size)


def blocks(
    files: Sequence[LogFile], start: int, longest: int = LONGEST_LINE
) -> Iterator[tuple[LogFile, list[bytes], list[int]]]:
    """Yield the lines of the files from this byte of all of them on, with the offsets of their ends, a block at a time.

    The line in which that byte is is left out, unless it is its first.
    """
    before = 0
    for each in files:
        if start < before + each.size:
            at = max(0, start - before)
            reader = LogFile(file=each.file, inode=each.inode, offset=at, longest=longest)
            reader.is_cut = at > 0 and os.pread(each.file.fileno(), 1, at - 1) != b"\n"
            while reader.offset < each.size:
                lines = reader.lines(min(BLOCK, each.size - reader.offset))
                if not lines and reader.idle:
                    break
                yield each, lines, reader.ends
            if last := reader.last():
                yield each, last, reader.ends
        before += each.size
