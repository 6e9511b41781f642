"""Read what a log holds already: its last lines, those since a time, or those of one instance, each with its time.

A log is read from its end, in windows that grow until they hold enough, so a large one opens as quickly as a small one.
"""

import os
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal, TypeAlias

from reconciler.inspection.log_files import LogFile, LogFiles, blocks
from reconciler.inspection.log_lines import EXCEPTION, TRACEBACK, Folder, Line, folded, stamp, text_of
from reconciler.linux.dataclass import dataclass
from reconciler.serving.log_times import KnownTimes

InstanceName: TypeAlias = Literal["current", "previous"]
_FIRST_WINDOW = 64 * 1024
_WIDER = 4
_BEGINS = re.compile(rb"^\[[^\]\n]{10,40}\] \[(\d{1,9})\] \[INFO\] Starting gunicorn ", re.MULTILINE)
_LONGEST_BEGIN = 120
_LOOK = 1024 * 1024
_MOST_AHEAD = 8  # blocks
_ROOM_S = 2.0  # a stamp has whole seconds
_WITHIN_S = 0.999  # of the second that a stamp names


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The lines to read: of a stream, since a time, of an instance, that match; with failed starts folded or not."""

    stream: str
    since: float = 0.0
    instance: InstanceName | None = None
    matches: Callable[[Line], bool] | None = None
    fold: bool = True

    def chosen(self, lines: Iterator[Line]) -> Iterator[Line]:
        """Return those of the lines that are wanted, folded."""
        for line in folded(lines) if self.fold else lines:
            if line.at >= self.since and self.takes(line):
                yield line

    def takes(self, line: Line) -> bool:
        """Whether a line matches."""
        return self.matches is None or self.matches(line)


def last_lines(log: LogFiles, times: KnownTimes, wanted: Wanted, count: int, most_bytes: int = 2**62) -> list[Line]:
    """Return the last wanted lines, which are looked for in the last `most_bytes` bytes only."""
    total = sum(each.size for each in log.files)
    begins = _begins_for(log, wanted)
    first = max(_first(log, times, wanted, begins), total - most_bytes)
    window = _FIRST_WINDOW
    while count:
        start = max(first, total - window)
        found = deque(_since_byte(log, times, wanted, start, begins), count)
        if len(found) == count or start == first:
            return list(found)
        window *= _WIDER
    return []


def all_lines(log: LogFiles, times: KnownTimes, wanted: Wanted) -> Iterator[Line]:
    """Yield every wanted line."""
    begins = _begins_for(log, wanted)
    yield from _since_byte(log, times, wanted, _first(log, times, wanted, begins), begins)


def _since_byte(
    log: LogFiles, times: KnownTimes, wanted: Wanted, start: int, begins: list[tuple[int, int]]
) -> Iterator[Line]:
    lines = _timed(log.files, times, wanted.stream, start)
    if wanted.instance is not None:
        lines = _of_instance(lines, begins, wanted.instance)
    return wanted.chosen(line for line, _ in lines)


def _timed(files: list[LogFile], times: KnownTimes, stream: str, start: int) -> Iterator[tuple[Line, int]]:
    """Yield lines with their times and the offsets of their ends in all files; a time never exceeds a later one."""
    before, total, record_at = {}, 0, None
    for each in files:
        before[each.inode] = total
        total += each.size
    for each, lines, ends, before_s in _bounded(blocks(files, start), stream):
        written = min(os.fstat(each.file.fileno()).st_mtime, before_s)
        found = []
        for raw, end in zip(reversed(lines), reversed(ends), strict=True):
            text = text_of(raw)
            own = stamp(text, stream)
            exact = own is not None and own <= written + _ROOM_S
            if own is not None and exact:
                at = own
                written = min(written, own + _WITHIN_S)
            else:
                known = times.latest(each.inode[1], end)
                at = written = min(written, written if known is None else known)
            found.append((Line(text=text, at=at, exact=exact), before[each.inode] + end))
        for line, end in reversed(found):
            if line.exact:
                record_at = line.at if line.pid is not None else None
            elif record_at is not None and _is_of_record(line.text):
                line = replace(line, at=record_at, exact=True)  # noqa: PLW2901  of the record that names the time
            else:
                if record_at is not None and _is_exception(line.text):
                    line = replace(line, at=record_at, exact=True)  # noqa: PLW2901  the same
                record_at = None
            yield line, end


def _bounded(
    found: Iterator[tuple[LogFile, list[bytes], list[int]]], stream: str
) -> Iterator[tuple[LogFile, list[bytes], list[int], float]]:
    """Yield each block with the time by which it was written: the first stamp after it says. A few are read ahead."""
    waiting: deque[tuple[LogFile, list[bytes], list[int]]] = deque()
    for block in found:
        first = next((at for line in block[1] if (at := stamp(text_of(line), stream)) is not None), None)
        if first is not None:
            yield from ((*each, first + _WITHIN_S) for each in waiting)
            waiting.clear()
        elif len(waiting) == _MOST_AHEAD:
            yield (*waiting.popleft(), float("inf"))
        waiting.append(block)
    yield from ((*each, float("inf")) for each in waiting)


def _is_of_record(text: str) -> bool:
    """Whether a line continues the record before it: one of a traceback."""
    return text[:1].isspace() or text == TRACEBACK


def _is_exception(text: str) -> bool:
    """Whether a line may be the exception that ends a traceback."""
    return EXCEPTION.match(text) is not None


def _first(log: LogFiles, times: KnownTimes, wanted: Wanted, begins: list[tuple[int, int]]) -> int:
    """Return a byte of all files before which no wanted line is."""
    first, before = 0, 0
    if wanted.since:
        for each in log.files:
            if os.fstat(each.file.fileno()).st_mtime >= wanted.since:
                first = before + _since_in(each, times, wanted)
                break
            before += each.size
        else:
            first = before
    if wanted.instance is not None:
        nth = 0 if wanted.instance == "current" else 1
        if nth < len(begins):
            first = max(first, begins[nth][0])
        elif wanted.instance == "previous":
            first = sum(each.size for each in log.files)
    return first


def _since_in(each: LogFile, times: KnownTimes, wanted: Wanted) -> int:
    """Return a byte of a file before which every line is older than wanted, by halving."""
    low, high = 0, each.size
    while high - low > _FIRST_WINDOW:
        middle = (low + high) // 2
        at = _time_near(each, times, wanted.stream, middle)
        low, high = (middle, high) if at is not None and at < wanted.since - _ROOM_S else (low, middle)
    return low


def _time_near(each: LogFile, times: KnownTimes, stream: str, offset: int) -> float | None:
    content = os.pread(each.file.fileno(), _FIRST_WINDOW // 2, offset)
    for line in content.split(b"\n")[1:-1]:
        at = stamp(text_of(line), stream)
        if at is not None:
            return at
    return times.latest(each.inode[1], offset)


def _begins_for(log: LogFiles, wanted: Wanted) -> list[tuple[int, int]]:
    """Return where the instances that matter begin: none where the lines of every instance are wanted."""
    return [] if wanted.instance is None else _begins(log.files)


def _begins(files: list[LogFile]) -> list[tuple[int, int]]:
    """Return the byte of all files at which each of the last two instances begins, and its pid; the newest first."""
    found: list[tuple[int, int]] = []
    before = sum(each.size for each in files)
    for each in reversed(files):
        before -= each.size
        end = each.size
        while end > 0:
            start = max(0, end - _LOOK)
            content = os.pread(each.file.fileno(), min(end + _LONGEST_BEGIN, each.size) - start, start)
            lines = [match for match in _BEGINS.finditer(content) if _is_line_start(each, start, match.start())]
            for match in reversed(lines):
                place = (before + start + match.start(), int(match[1]))
                if start + match.start() < end and place not in found:
                    found.append(place)
                if len(found) == 2:
                    return found
            end = start
    return found


def _is_line_start(each: LogFile, start: int, at: int) -> bool:
    return at > 0 or start == 0 or os.pread(each.file.fileno(), 1, start - 1) == b"\n"


def _of_instance(
    lines: Iterator[tuple[Line, int]], begins: list[tuple[int, int]], instance: InstanceName
) -> Iterator[tuple[Line, int]]:
    """Yield the lines of an instance. Where two overlap, lines without a pid count as the current one's."""
    since = begins[0][0] if begins else 0
    pids: set[int] = set()
    for line, end in lines:
        pid = line.pid
        if instance == "previous":
            if end <= since:
                pids |= {pid} if pid is not None else set()
            elif pid not in pids:
                continue
        elif begins and pid is not None:
            if pid == begins[0][1] or " worker with pid: " in line.text:
                pids.add(pid)
            elif pid not in pids:
                continue
        yield line, end


class Arriving:
    """Makes lines of what is read from a log that is followed: a line without a time was written just now."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._folder = Folder() if wanted.fold else None

    def taken(self, raw: list[bytes], now: float) -> list[Line]:
        """Return the wanted ones of the lines that are complete by now; without new ones, those that were held."""
        found: list[Line] = []
        for text in map(text_of, raw):
            own = stamp(text, self._wanted.stream)
            exact = own is not None and own <= now + _ROOM_S
            line = Line(text=text, at=own if own is not None and exact else now, exact=exact)
            found += [line] if self._folder is None else self._folder.feed(line)
        if not raw and self._folder is not None:
            found += self._folder.flush()
        return [line for line in found if self._wanted.takes(line)]
