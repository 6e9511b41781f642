"""Read the lines of an app's log: when each was written, by its own stamp, and what gunicorn adds to a failed start.

Of a failed start one line remains, the app's exception with its file and line; it keeps the others folded.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

from reconciler.linux.dataclass import dataclass
from reconciler.planning.program_output import raised

LONGEST_LINE = 8192
_MOST_HELD = 500
_MOST_MORE = 20
_MONTHS = ("", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_GUNICORN = re.compile(
    r"\[(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) ([+-]\d{4})\]"
    r" \[(?P<pid>\d{1,9})\] \[(?P<level>[A-Z]{1,20})\] (?P<said>.*)",
    re.DOTALL,
)
_ACCESS = re.compile(r"[^\[]{0,200}\[(\d\d)/([A-Z][a-z]{2})/(\d{4}):(\d\d):(\d\d):(\d\d) ([+-]\d{4})\] ")
_STAGING = re.compile(r"(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d) (?P<said>.*)", re.DOTALL)
_STARTING = "Starting gunicorn "
_WHILE_STARTING = re.compile(
    r"Listening at: |Using worker: |Using threads: |\w+ worker with pid: |Exception in worker process"
)
_ENDS = (
    "Exception in worker process", "Worker exiting ", "Worker (pid:", "Shutting down: Master", "Reason: ",
    "App failed to load", "Handling signal: term",
)  # fmt: skip
_HALTED = "Reason: "
_ENDED = re.compile(r"Worker \(pid:\d+\) (?:(exited with) code (\d+)|(was sent SIG\w+))")
_OURS = "reconciler: "
_NOT_READY = f"{_OURS}not ready: "
_CRASH = "Fatal Python error: "
TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_OF_GUNICORN = re.compile(r'  File "[^"]*/(?:reconciler/serving/launcher|gunicorn/arbiter|gunicorn/app/\w+)\.py"')
_CODE = re.compile(r'  File "(?P<code>[^"]*/builds/\w+/code)/')
# Python names the place of a syntax error without a traceback, if the app's first module has it.
_SYNTAX = re.compile(r'  File "[^"]*", line \d+$')
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")

_OF_CRASH = r"|(?:Current thread|Thread) 0x\w+ |Stack \(most recent|Current thread's C stack|Extension modules: "
_OF_TRACE = re.compile(EXCEPTION.pattern + _OF_CRASH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a log. `at` is when it was written, in seconds of the epoch, at the latest unless `exact`.

    `folded` are the lines that stand behind it.
    """

    text: str
    at: float = 0.0
    exact: bool = False
    folded: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The line as people read it, with the number of lines that stand behind it."""
        return f"{self.text}  [{len(self.folded)} lines folded]" if self.folded else self.text

    @property
    def pid(self) -> int | None:
        """The process that gunicorn names as the line's writer."""
        match = _GUNICORN.match(self.text)
        return int(match["pid"]) if match else None

    @property
    def unstamped(self) -> str:
        """The line without a time at its beginning, for where its time stands beside it."""
        if match := _GUNICORN.match(self.shown):
            return f"[{match['pid']}] [{match['level']}] {match['said']}"
        match = _STAGING.match(self.shown)
        return match["said"] if match and self.exact else self.shown


def stamp(text: str, stream: str) -> float | None:
    """Return the time that a line of a stream names for itself, None where it names none with its zone."""
    if stream == "staging":
        match = _STAGING.match(text)
        return None if match is None else _local(*(int(part) for part in match.groups()[:6]))
    if match := _GUNICORN.match(text):
        year, month, day, *clock, zone = match.groups()[:7]
        return _zoned(int(year), int(month), int(day), clock, zone)
    if stream == "access" and (match := _ACCESS.match(text)):
        day, name, year, *clock, zone = match.groups()
        return _zoned(int(year), _MONTHS.index(name) if name in _MONTHS else 0, int(day), clock, zone)
    return None


def _zoned(year: int, month: int, day: int, clock: list[str], zone: str) -> float | None:
    offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
    try:
        away = timezone(-offset if zone[0] == "-" else offset)
        hour, minute, second = map(int, clock)
        at = datetime(year, month, day, hour, minute, second, tzinfo=away).timestamp()
    except (ValueError, OverflowError):
        return None
    return at if at >= 0 else None  # an app may write any year, and no calendar has them all


def _local(*parts: int) -> float | None:
    try:
        at = datetime(*parts).astimezone(UTC).timestamp()  # type: ignore[arg-type]
    except (ValueError, OverflowError, OSError):
        return None
    return at if at >= 0 else None


def text_of(line: bytes) -> str:
    """Return a line as text, cut to its greatest length."""
    return line[:LONGEST_LINE].rstrip(b"\r").decode("utf-8", "replace")


def folded(lines: Iterable[Line]) -> Iterator[Line]:
    """Fold the failed starts in the lines of a log."""
    folder = Folder()
    for line in lines:
        yield from folder.feed(line)
    yield from folder.flush()


class Folder:
    """Folds failed starts in lines that arrive one by one.

    Lines that may belong to one are held until it is clear, never more than a few hundred. It begins with what gunicorn
    writes of a start, if that is there; then comes what failed, and last what says that this ended the start.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._held: list[Line] = []
        self._said = 0  # lines of the app among what gunicorn wrote of the start
        self._failure_at = -1  # of the first line of what failed
        self._has_trace = False  # of an exception or a crash
        self._is_raised = False  # the exception's own line has been read
        self._more = 0  # lines since then
        self._reason = ""
        self._is_over = False  # nothing but the end of the start follows

    def feed(self, line: Line) -> list[Line]:
        """Take the next line; return those that are complete by now."""
        if self._continues(line.text) and len(self._held) < _MOST_HELD:
            self._hold(line)
            return []
        done = self._complete(is_superseded=_said(line.text).startswith(_STARTING))
        if self._continues(line.text):
            self._hold(line)
            return done
        return [*done, line]

    def flush(self) -> list[Line]:
        """Return what is held, as nothing more belongs to it."""
        return self._complete(is_superseded=False)

    def _complete(self, *, is_superseded: bool) -> list[Line]:
        """Return what is held; a start that waited until the next one began has failed."""
        held, at, reason = self._held, self._failure_at, self._reason
        is_failed_start, said = self._is_failed_start(is_superseded=is_superseded), self._said
        self._begin()
        if not is_failed_start:
            return held
        texts = [line.text for line in held]
        reason = _reason(texts[at:], reason)
        if said and any(not _said(text) and text.strip() not in reason for text in texts[:at]):
            shown, held, texts = held[:at], held[at:], texts[at:]
        else:
            shown = []
        return [*shown, replace(held[-1], text=reason, folded=tuple(texts))]

    def _continues(self, text: str) -> bool:
        said = _said(text)
        if self._failure_at < 0:
            return self._continues_start(text, said)
        if text.startswith(_NOT_READY) or said.startswith(_ENDS):
            return True
        if self._is_over or said:
            is_known = bool(self._reason) or self._has_trace
            return is_known and self._is_of_start() and _WHILE_STARTING.match(said) is not None  # another worker's
        if not self._is_raised:
            return not text or text[0].isspace() or _OF_TRACE.match(text) is not None
        if text == TRACEBACK:
            return any(line.text.startswith(_CHAINED) for line in self._held[-2:])
        # An exception's text may have more lines.
        is_whole = text.startswith(_OURS) or self._is_failed_start() or self._more >= _MOST_MORE
        return text.startswith(_CHAINED) or not is_whole

    def _continues_start(self, text: str, said: str) -> bool:
        if text == TRACEBACK or text.startswith((_NOT_READY, _CRASH)):
            return True
        if not self._held:
            return said.startswith(_STARTING)
        if said:
            return _WHILE_STARTING.match(said) is not None or said.startswith(_ENDS)
        return not text.startswith(_OURS) and (self._said < _MOST_MORE or _SYNTAX.match(text) is not None)

    def _hold(self, line: Line) -> None:
        text, said = line.text, _said(line.text)
        if text.startswith(_NOT_READY):
            if not (self._has_trace and self._reason):  # of several exceptions, the first is the cause
                self._reason = text.removeprefix(_NOT_READY)
            self._begin_failure()
            self._is_over = True
        elif said.startswith(_ENDS) and not _WHILE_STARTING.match(said):
            self._begin_failure()
            self._is_over = True
        elif said:
            pass
        elif text == TRACEBACK or (self._failure_at < 0 and (text.startswith(_CRASH) or _SYNTAX.match(text))):
            self._begin_failure()
            self._has_trace, self._is_raised = True, False
        elif self._failure_at < 0:
            self._said += 1
        elif not self._is_raised:
            self._is_raised = EXCEPTION.match(text) is not None
            self._more = 0
        else:
            self._more += 1
        self._held.append(line)

    def _begin_failure(self) -> None:
        if self._failure_at < 0:
            self._failure_at = len(self._held)

    def _is_of_start(self) -> bool:
        """Whether what is held begins with a start."""
        return _said(self._held[0].text).startswith(_STARTING)

    def _is_failed_start(self, *, is_superseded: bool = False) -> bool:
        """Whether what is held ends with the app's refusal, or is a traceback through gunicorn's own start."""
        if self._failure_at < 0:
            return False
        failure = self._held[self._failure_at :]
        if self._reason:
            is_over = any(_said(line.text).startswith(_ENDS) for line in failure)
            return self._has_trace or is_over or (is_superseded and self._is_of_start())
        if not self._has_trace:
            return self._is_of_start() and any(_said(line.text).startswith(_HALTED) for line in failure)
        return self._is_raised and any(_OF_GUNICORN.match(line.text) for line in failure)


def _reason(texts: list[str], told: str) -> str:
    """Return why a start failed, of which these are the lines from its failure on; `told` is what the worker said."""
    code = next((match["code"] for text in texts if (match := _CODE.match(text))), "")
    found = raised(texts, code)
    if not told and found is not None:
        return str(found)
    if not told:
        ended = next(filter(None, map(_ENDED.match, map(_said, texts))), None)
        return texts[-1] if ended is None else f"a worker {' '.join(filter(None, ended.groups()))} before it was ready"
    is_crash = found is not None and found.is_signal and found.place
    return f"{told}, at {found.place}" if found is not None and is_crash else told


def _said(text: str) -> str:
    """Return what gunicorn says in a line, "" if it is no line of gunicorn's."""
    logged = _GUNICORN.match(text)
    return logged["said"] if logged else ""
