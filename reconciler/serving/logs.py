"""An app's log files: where they are, their last lines, what a failed start says in them, and their rotation."""

import os
import re
from pathlib import Path
from typing import BinaryIO

_TAIL_BYTES = 64 * 1024
_GUNICORN_LINE = re.compile(r"^\[[^\]]+\] \[\d+\] \[(?P<level>[A-Z]+)\] (?P<text>.*)$")
_NOISE = re.compile(_GUNICORN_LINE.pattern + "|^!!!")  # gunicorn frames a remark on its config's name so
_RAISED = re.compile(r"^(?P<kind>[A-Za-z_][\w.]*(?:Error|Exception|Exit|Interrupt|Warning|NotFound|Missing)\b.*)$")


def size(log: Path) -> int:
    """The size of a log in bytes, 0 when it does not exist."""
    try:
        return log.stat().st_size
    except OSError:
        return 0


def is_replaced(file: BinaryIO, log: Path) -> bool:
    """True when the log is another file by now, or was emptied."""
    here = os.fstat(file.fileno())
    try:
        there = log.stat()
    except OSError:
        return False
    return there.st_ino != here.st_ino or there.st_size < file.tell()


def unwritable(log: Path) -> str:
    """Why a log cannot be opened for writing, "" when it can."""
    try:
        os.close(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return f"cannot write {log}: {error.strerror}"
    return ""


def tail(log: Path, lines: int, since: int = 0) -> list[str]:
    """The last lines of a log, none of those before byte `since`."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            start = max(since if since <= end else 0, end - _TAIL_BYTES)
            file.seek(start)
            text = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return []
    return text.splitlines()[-lines:] if lines else []


def reason(log: Path, since: int) -> str | None:
    """What an instance that did not come up said last, in one line: its exception, or gunicorn's own words."""
    said = tail(log, 200, since)
    for line in reversed(said):
        if raised := _RAISED.match(line.strip()):
            return raised["kind"]
    for line in reversed(said):
        told = _GUNICORN_LINE.match(line)
        if (
            told
            and told["level"] in ("ERROR", "CRITICAL")
            and not told["text"].startswith(("Shutting", "Reason", "Worker ("))
        ):
            return told["text"]
    plain = [line.strip() for line in said if line.strip() and not _NOISE.match(line)]
    return plain[-1] if plain else None


def rotate(log: Path, limit_bytes: int, keep: int) -> bool:
    """Rename a log over its limit to `.1`, those before it up to `.keep`; True when its writers must reopen."""
    if size(log) <= limit_bytes:
        return False
    for number in range(keep - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))
    log.replace(log.with_name(f"{log.name}.1"))
    return True
