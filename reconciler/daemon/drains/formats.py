"""Write a line of a log as each target of the log drain reads it: one line, printable, cut to what the target takes."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

MARK = " [cut]"
LONGEST_TEXT = 16 * 1024  # bytes, with what is escaped
_PRIORITY = 1 * 8 + 6  # a message of a user's program, informational
_LONGEST_NAME, _LONGEST_KIND = 48, 32  # RFC 5424, 6
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A printable line of an app's stream; `at` is when it was written, in seconds of the epoch."""

    app: str
    stream: str
    at: float
    text: str
    pid: int | None = None


Format: TypeAlias = Callable[[Entry], bytes]


def cut(line: bytes, most: int) -> bytes:
    """Return a line of at most so many bytes, with a mark at its end if some are missing."""
    if len(line) <= most:
        return line
    end = MARK.encode() + (b"\n" if line.endswith(b"\n") else b"")
    return line[: max(0, most - len(end))].decode(errors="ignore").encode() + end


def as_syslog(entry: Entry) -> bytes:
    """Return a message as syslog(3) writes it to /dev/log (RFC 3164, without a host), tagged APP/STREAM."""
    at = time.localtime(entry.at)
    when = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    pid = "" if entry.pid is None else f"[{entry.pid}]"
    return f"<{_PRIORITY}>{when} {entry.app}/{entry.stream}{pid}: {entry.text}".encode()


def as_rfc5424(host: str) -> Format:
    """Return what writes messages of RFC 5424 from this host; the stream is their MSGID."""

    def write(entry: Entry) -> bytes:
        head = f"<{_PRIORITY}>1 {_iso(entry.at)} {host or '-'} {entry.app[:_LONGEST_NAME]}"
        return f"{head} {entry.pid or '-'} {entry.stream[:_LONGEST_KIND]} - {entry.text}".encode()

    return write


def as_journal(entry: Entry) -> bytes:
    """Return an entry of journald's native protocol, whose values have no line breaks."""
    fields = {
        "PRIORITY": "6",
        "SYSLOG_FACILITY": "1",
        "SYSLOG_IDENTIFIER": entry.app,
        "RECONCILER_APP": entry.app,
        "RECONCILER_STREAM": entry.stream,
        "RECONCILER_TIME": _iso(entry.at),
        "MESSAGE": entry.text,  # last, as it is the one that may be cut
    }
    return "".join(f"{name}={value}\n" for name, value in fields.items()).encode()


def as_line(entry: Entry) -> bytes:
    """Return a line with its time, app and stream."""
    return f"{_iso(entry.at)} {entry.app} {entry.stream} {entry.text}\n".encode()


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
