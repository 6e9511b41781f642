"""Follow the logs of apps from where an earlier daemon stopped: each line once, however its file is rotated.

Files are open only while something is written to them; a position moves on only when a line was sent or dropped. An app
may write anything to its logs, and put anything in their place.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import NamedTuple, TypeAlias

from reconciler.daemon.drains.formats import LONGEST_TEXT, MARK, Entry, cut
from reconciler.documents.names import is_name, is_process_log
from reconciler.inspection.log_files import LogFile, LogFiles, Position
from reconciler.inspection.log_history import Arriving, Wanted
from reconciler.inspection.log_lines import LONGEST_LINE
from reconciler.inspection.printable import coloured
from reconciler.linux.dataclass import dataclass
from reconciler.linux.listing import names_in
from reconciler.vault.secret_patterns import LineRedactor
from reconciler.vault.secret_texts import SecretTexts

Positions: TypeAlias = Sequence[Sequence[int]]
_MOST_AT_A_TIME = 500
_MOST_LOGS = 1000
_MOST_REMOVED = 2  # files, each of which takes room on the disk while it is open
_IDLE_LOOKS = 60  # an instance may still write to a file that was rotated


class Read(NamedTuple):
    """A line of a log, redacted, with the file that it is from and the offset of its end there."""

    entry: Entry
    file: LogFile
    end: int


@dataclass(slots=True, eq=False)
class FollowedLog:
    """One stream of one app.

    `waiting` counts the lines that are neither sent nor dropped; `seen` is the inode and the size by which a change is
    noticed while no file is open.
    """

    app: str
    stream: str
    path: Path
    positions: dict[int, Position] = field(default_factory=dict)
    files: LogFiles | None = None
    seen: tuple[int, int] | None = None
    idle: int = 0
    waiting: int = 0
    arriving: Arriving = field(init=False)
    secrets: SecretTexts | None = None
    redactor: LineRedactor = field(default_factory=LineRedactor)

    def __post_init__(self) -> None:
        self.arriving = Arriving(Wanted(stream=self.stream, fold=False))

    def hide(self, secrets: SecretTexts) -> None:
        """Redact these in what is read from now on."""
        if self.secrets is not secrets:
            self.secrets, self.redactor = secrets, LineRedactor(secrets)

    def may_have_more(self) -> bool:
        """Whether the log may have lines that were not read; one that is not open is known by its size."""
        if self.files is not None:
            return True
        status = _status(self.path) or _status(self.path.with_name(f"{self.path.name}.1"))
        if status is None:
            return False
        seen = (status.st_ino, status.st_size)
        if self.seen is None and (position := self.positions.get(status.st_ino)) is not None:
            self.seen = (position.inode, position.offset)
        is_new, self.seen = seen != self.seen, seen
        return is_new

    def begin_at_end(self, limit_bytes: int) -> None:
        """Leave out what the log holds already. Raises OSError, also for what is no file."""
        with contextlib.closing(LogFiles(self.path, limit_bytes)) as files:
            files.skip_to_sizes()
            self.positions = _positions(files)

    def open(self, limit_bytes: int) -> int:
        """Open what is new of the log; return how many lines were not read of files that were removed since.

        Raises OSError, also for what is no file.
        """
        if self.files is None:
            self.files = LogFiles(self.path, limit_bytes)
            self.files.resume(self.positions)
            return 0
        self.files.find()
        return self.files.leave_out_removed(_MOST_REMOVED)

    def read(self) -> tuple[list[Read], bool]:
        """Return some lines that were not read yet, and whether there may be more."""
        files = self.files
        if files is None:
            return [], False
        raw = files.read()
        source = files.read_from
        if not raw or source is None:
            self.idle = 0 if files.has_more else self.idle + 1
            return [], files.has_more
        self.idle = 0
        now = min(time.time(), source.written_at)  # noqa: TID251  shown to people
        found = []
        for text, line, end in zip(raw, self.arriving.taken(raw, now), source.ends, strict=True):
            is_last_cut = source.is_cut and text is raw[-1]
            shown = coloured(self.redactor.redacted(line.unstamped), keep=False)
            shown += MARK if len(text) > LONGEST_LINE or is_last_cut else ""
            shown = cut(shown.encode(errors="replace"), LONGEST_TEXT).decode()
            entry = Entry(app=self.app, stream=self.stream, at=line.at, text=shown, pid=line.pid)
            found.append(Read(entry, source, end))
        return found, True

    def close_if_idle(self, looks: int) -> None:
        """Close the files of a log that has been quiet for so many looks, and of which no line waits."""
        if self.files is not None and self.idle > looks and not self.waiting:
            self.remember()
            if self.files.files:
                newest = self.files.files[-1]
                self.seen = (newest.inode[1], newest.offset)
            self.close()

    def close(self) -> None:
        """Close the files; they are read on from where their lines were sent or dropped."""
        if self.files is not None:
            self.files.close()
            self.files, self.idle = None, 0

    def remember(self) -> None:
        """Set the positions at which reading would go on."""
        if self.files is not None:
            self.positions = _positions(self.files)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)  # of very many, again and again
    except OSError:
        return None


def _positions(files: LogFiles) -> dict[int, Position]:
    return {each.inode[1]: each.position() for each in files.files}


class FollowedLogs:
    """The logs of all apps below a directory, by app and stream."""

    def __init__(self, directory: Path, streams: Iterable[str], *, limit_bytes: int) -> None:
        self._directory = directory
        self._streams = tuple(streams)
        self._limit_bytes = limit_bytes
        self._with_processes = "app" in self._streams
        self._of_processes: dict[str, set[str]] = {}
        self._logs: dict[tuple[str, str], FollowedLog] = {}
        self._turn = 0

    def follow_processes(self, names: Mapping[str, Iterable[str]]) -> None:
        """Follow these logs of processes too, by app: they are part of what the app prints."""
        for app, logs in names.items() if self._with_processes else ():
            self._of_processes.setdefault(app, set()).update(logs)

    def restore(self, positions: Mapping[str, Positions]) -> None:
        """Set where reading goes on, by APP/STREAM, as `positions` returned it. Raises ValueError, also TypeError."""
        for name, found in positions.items():
            app, _, stream = name.partition("/")
            if (stream in self._streams or self._is_of_process(stream)) and is_name(app):
                known = [Position(*map(int, each)) for each in found]
                if any(number < 0 for each in known for number in each):
                    raise ValueError(f"a position of {name} is negative")
                self._of(app, stream).positions = {each.inode: each for each in known}
                if stream not in self._streams:
                    self.follow_processes({app: [stream]})

    def begin_at_ends(self, apps: Iterable[str]) -> None:
        """Leave out what the logs of these apps hold already."""
        for app in apps:
            self.follow_processes({app: self._written_by_processes(app)})
            for stream in self._streams_of(app):
                with contextlib.suppress(OSError):  # what takes the place of this is no file yet
                    self._of(app, stream).begin_at_end(self._limit_bytes)

    def changed(self, apps: Iterable[str]) -> list[FollowedLog]:
        """Return those logs of these apps, and of all that are open, that may have more lines: some of very many."""
        names = {*apps, *(log.app for log in self._logs.values() if log.files is not None)}
        logs = (self._of(app, stream) for app in sorted(names) for stream in self._streams_of(app))
        found = [log for log in logs if log.may_have_more()]
        if len(found) <= _MOST_AT_A_TIME:
            return found
        at = self._turn = self._turn % len(found)
        self._turn += _MOST_AT_A_TIME
        found = [*found[at:], *found[:at]]
        for log in found[_MOST_AT_A_TIME:]:
            log.seen = (0, 0)  # looked at again
        return found[:_MOST_AT_A_TIME]

    def close_idle(self, logs: Sequence[FollowedLog]) -> None:
        """Close those of the logs that have been quiet for a while, at once where very many are open."""
        has_room = sum(log.files is not None for log in self._logs.values()) <= _MOST_AT_A_TIME
        for log in logs:
            log.close_if_idle(_IDLE_LOOKS if has_room else 0)

    def positions(self) -> Iterator[tuple[str, Positions]]:
        """Yield the positions of every log that still exists."""
        for (app, stream), log in list(self._logs.items()):
            log.remember()
            if log.files is None and not log.path.parent.exists():
                del self._logs[app, stream]
                self._of_processes.pop(app, None)
            elif log.positions:
                yield f"{app}/{stream}", [list(each) for each in log.positions.values()]

    def close(self) -> None:
        """Close every file."""
        for log in self._logs.values():
            log.close()

    def _streams_of(self, app: str) -> tuple[str, ...]:
        return (*self._streams, *sorted(self._of_processes.get(app, ())))

    def _is_of_process(self, stream: str) -> bool:
        return self._with_processes and is_process_log(stream)

    def _written_by_processes(self, app: str) -> list[str]:
        try:
            files = names_in(self._directory / app, _MOST_LOGS)
        except OSError:
            return []
        return [name for file in files if is_process_log(name := file.removesuffix(".log")) and name != file]

    def _of(self, app: str, stream: str) -> FollowedLog:
        known = self._logs.get((app, stream))
        if known is None:
            path = self._directory / app / f"{stream}.log"
            known = self._logs[app, stream] = FollowedLog(app=app, stream=stream, path=path)
        return known
