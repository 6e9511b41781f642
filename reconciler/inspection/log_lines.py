"""Read the lines of an app's log: when each was written, by its own stamp, and what gunicorn adds to a failed start.

Of a failed start one line remains, the app's exception with its file and line; it keeps the others folded.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone

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
_NOT_READY = "reconciler: not ready: "
TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_OF_GUNICORN = re.compile(r'  File "[^"]*/(?:reconciler/serving/launcher|gunicorn/arbiter|gunicorn/app/\w+)\.py"')
_CODE = re.compile(r'  File "(?P<code>[^"]*/builds/\w+/code)/')
EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*(?::|$)")


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

    Lines that may belong to one are held until it is clear, never more than a few hundred.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._held: list[Line] = []
        self._traceback_at = -1  # of the first traceback among what is held
        self._is_raised = False  # the exception's own line has been read
        self._reason = ""
        self._more = 0  # lines since then
        self._tail = False

    def feed(self, line: Line) -> list[Line]:
        """Take the next line; return those that are complete by now."""
        if self._continues(line.text) and len(self._held) < _MOST_HELD:
            self._hold(line)
            return []
        done = self.flush()
        if self._continues(line.text):
            self._hold(line)
            return done
        return [*done, line]

    def flush(self) -> list[Line]:
        """Return what is held, as nothing more belongs to it."""
        held, at, reason = self._held, self._traceback_at, self._reason
        is_failed_start = at >= 0 and self._is_failed_start()
        self._begin()
        if not is_failed_start:
            return held
        texts = [line.text for line in held]
        if not reason:
            code = next((match["code"] for text in texts if (match := _CODE.match(text))), "")
            found = raised(texts[at:], code)
            reason = str(found) if found is not None else texts[-1]
        return [replace(held[-1], text=reason, folded=tuple(texts))]

    def _continues(self, text: str) -> bool:
        logged = _GUNICORN.match(text)
        if self._tail:
            return text.startswith(_NOT_READY) or (logged is not None and logged["said"].startswith(_ENDS))
        if self._traceback_at < 0:
            if text == TRACEBACK:
                return True
            said = logged["said"] if logged else ""
            return said.startswith(_STARTING) or (bool(self._held) and _WHILE_STARTING.match(said) is not None)
        if not self._is_raised:
            return not text or text[0].isspace() or EXCEPTION.match(text) is not None
        if text.startswith(_NOT_READY):
            return True
        if logged is None:  # an exception's text may have more lines
            if text == TRACEBACK:
                return any(line.text.startswith(_CHAINED) for line in self._held[-2:])
            is_over = text.startswith("reconciler: ") or self._is_failed_start() or self._more >= _MOST_MORE
            return text.startswith(_CHAINED) or not is_over
        return self._is_failed_start() and logged["said"].startswith(_ENDS)

    def _hold(self, line: Line) -> None:
        text = line.text
        if text == TRACEBACK and self._traceback_at < 0:
            self._traceback_at = len(self._held)
        elif text == TRACEBACK:
            self._is_raised = False
        elif self._traceback_at >= 0:
            if text.startswith(_NOT_READY) and self._is_raised:
                self._reason, self._tail = text.removeprefix(_NOT_READY), True
            elif not self._is_raised:
                self._is_raised = bool(text) and not text[0].isspace()
                self._more = 0
            else:
                self._more += 1
            if self._is_raised and _GUNICORN.match(text):
                self._tail = True
        self._held.append(line)

    def _is_failed_start(self) -> bool:
        """Whether what is held ends with the app's refusal, or is a traceback through gunicorn's own start."""
        return bool(self._reason) or (
            self._is_raised and any(_OF_GUNICORN.match(line.text) for line in self._held[self._traceback_at :])
        )
