"""Merge the logs of several apps in the order of time, and print their lines for people or programs."""

import contextlib
import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli import table
from reconciler.inspection.log_files import LogFiles, blocks
from reconciler.inspection.log_history import Arriving, Wanted, all_lines, last_lines
from reconciler.inspection.log_lines import Line
from reconciler.inspection.printable import coloured, json_text, plain
from reconciler.linux.dataclass import dataclass
from reconciler.linux.open_files import allow_many_open_files
from reconciler.serving.log_times import KnownTimes

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_LONGEST_RAW = 1024 * 1024
_WIDEST_NAME = 20
_MOST_AT_A_TIME = 100  # reads of one log, so that no app's lines wait for those of another for long


@dataclass(slots=True)
class Log:
    """One stream of one app, with what is read of it."""

    app: str
    stream: str
    path: Path
    files: LogFiles
    wanted: Wanted
    arriving: Arriving = field(init=False)

    def __post_init__(self) -> None:
        self.arriving = Arriving(self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A line of an app's stream."""

    app: str
    stream: str
    line: Line


class Chosen:
    """The logs that a command reads. `has_more` says whether the last read may have left lines.

    `app_width` and `stream_width` are those of the columns that tell them apart, 0 where there is one app or stream.
    """

    def __init__(  # noqa: PLR0913  one for each option
        self,
        paths: "StatePaths",
        streams: Sequence[str],
        *,
        instance: Any = None,
        since: float = 0.0,
        patterns: Sequence[str] = (),
        fold: bool = True,
        limit_bytes: int = 0,
    ) -> None:
        self.logs: list[Log] = []
        self.streams = streams
        self.has_more = False
        self.is_narrowed = bool(instance or since or patterns)
        self._paths = paths
        self._limit_bytes = limit_bytes
        self._fold = fold
        self._instance = instance
        self._since = since
        self._matches = _matcher(patterns)
        self._known: set[str] = set()
        self.app_width = self.stream_width = 0

    def close(self) -> None:
        """Close every file."""
        for log in self.logs:
            log.files.close()

    def open(self, names: Iterable[str]) -> None:
        """Open the logs of these apps, those that are new from their start."""
        allow_many_open_files()
        for name in names:
            if name in self._known:
                continue
            self._known.add(name)
            for stream in self.streams:
                wanted = Wanted(
                    stream=stream, since=self._since, instance=self._instance, matches=self._matches, fold=self._fold
                )
                path = self._paths.log(name, stream)
                files = LogFiles(path, self._limit_bytes)
                self.logs.append(Log(name, stream, path, files, wanted))
        self.app_width = min(_WIDEST_NAME, _width(self._known))
        self.stream_width = _width(self.streams)

    def history(self, count: int | None) -> Iterator[Entry]:
        """Yield the lines that were there when the logs were opened, the last `count` of them or all."""
        with contextlib.ExitStack() as after:
            for log in self.logs:
                after.callback(log.files.skip_to_sizes)
            merged = _merged(self._read(log, count) for log in self.logs)
            yield from merged if count is None else deque(merged, count)

    def _read(self, log: Log, count: int | None) -> Iterator[Entry]:
        times = KnownTimes(log.path.parent)
        lines = (
            all_lines(log.files, times, log.wanted)
            if count is None
            else last_lines(log.files, times, log.wanted, count)
        )
        for line in lines:
            yield Entry(app=log.app, stream=log.stream, line=line)

    def arrived(self, now: float) -> list[Entry]:
        """Return what was added to the logs since, as far as it is complete, in the order of time."""
        self.has_more = False
        return list(_merged([self._arrived(log, now) for log in self.logs]))

    def _arrived(self, log: Log, now: float) -> list[Entry]:
        found: list[Entry] = []
        for _ in range(_MOST_AT_A_TIME):
            raw = log.files.read()
            found += [Entry(app=log.app, stream=log.stream, line=line) for line in log.arriving.taken(raw, now)]
            if not raw:
                return found
        self.has_more = True
        return found

    def raw(self, count: int) -> list[bytes]:
        """Return the last lines of the only log as they were written."""
        files = self.logs[0].files
        total = sum(each.size for each in files.files)
        window = _LONGEST_RAW
        while True:
            start = max(0, total - window)
            found = deque((line for _, lines, _ in blocks(files.files, start, _LONGEST_RAW) for line in lines), count)
            if len(found) == count or not start:
                files.skip_to_sizes(_LONGEST_RAW)
                return list(found)
            window *= 4

    def raw_arrived(self) -> list[bytes]:
        """Return what was added to the only log since."""
        return self.logs[0].files.read()


class Printer:
    """Prints lines with their time, and with their app and stream where there are several. `printed` counts them."""

    def __init__(self, chosen: Chosen, *, as_json: bool) -> None:
        self.chosen = chosen
        self.printed = 0
        self._as_json = as_json
        self._in_colour = table.coloured()

    def print(self, entries: Iterable[Entry]) -> None:
        """Print the lines."""
        for entry in entries:
            self.printed += 1
            click.echo(json_text(as_record(entry)) if self._as_json else self._text(entry), color=self._in_colour)

    def _text(self, entry: Entry) -> str:
        at = datetime.fromtimestamp(entry.line.at).astimezone()
        parts = [f"{at:%m-%d %H:%M:%S}{' ' if entry.line.exact else '~'}"]
        if self.chosen.app_width:
            parts.append(plain(entry.app).ljust(self.chosen.app_width))
        if self.chosen.stream_width:
            parts.append(entry.stream.ljust(self.chosen.stream_width))
        return " ".join((*parts, coloured(entry.line.unstamped, keep=self._in_colour)))


def _merged(logs: Iterable[Iterable[Entry]]) -> Iterator[Entry]:
    """Merge logs in the order of time; the lines of each stay in the order in which they were written."""
    merged = heapq.merge(*map(_since, logs), key=itemgetter(0))
    return (entry for _, entry in merged)


def _since(entries: Iterable[Entry]) -> Iterator[tuple[float, Entry]]:
    """Yield each line with the latest time until then: a line is not older than those before it, whatever it says."""
    latest = 0.0
    for entry in entries:
        latest = max(latest, entry.line.at)
        yield latest, entry


def _width(names: Collection[str]) -> int:
    """Return the width of a column of these names, 0 for a single one, which needs none."""
    return max(map(len, names)) if len(names) > 1 else 0


def as_record(entry: Entry) -> dict[str, Any]:
    """Return a line as JSON has it; `exact` is false where `time` is only the latest at which it was written."""
    line = entry.line
    record: dict[str, Any] = {
        "time": datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "exact": line.exact,
        "app": entry.app,
        "stream": entry.stream,
        "text": line.text,
    }
    return {**record, "folded": list(line.folded)} if line.folded else record


def _matcher(patterns: Sequence[str]) -> Callable[[Line], bool] | None:
    """Return whether a line, or one behind it, has each text; `*` stands for any, found in one pass from the left."""
    if not patterns:
        return None
    wanted = [(pattern.split("*"), pattern == pattern.lower()) for pattern in patterns]

    def matches(line: Line) -> bool:
        return all(
            any(_has(text.lower() if any_case else text, parts) for text in (line.text, *line.folded))
            for parts, any_case in wanted
        )

    return matches


def _has(text: str, parts: Sequence[str]) -> bool:
    at = 0
    for part in parts:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return True
