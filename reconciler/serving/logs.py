"""Read an app's log files, find in them why a start failed, and rotate them."""

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from reconciler.linux.error_words import in_words
from reconciler.linux.files import replacing
from reconciler.linux.regular_files import append_to, opened_file

if TYPE_CHECKING:  # what finds a failure in a log is loaded with the first
    from reconciler.planning.program_output import Raised

_TAIL_BYTES = 64 * 1024
_LONGEST = 400
SLACK_BYTES = 16 * 2**20  # kept of a log beyond its limit: a writer that is to open it again takes a moment
_GUNICORN_LINE = re.compile(r"^\[[^\]]+\] \[\d+\] \[(?P<level>[A-Z]+)\] (?P<text>.*)$")
# As gunicorn prints of its configuration, whatever its version.
_REFUSED, _WHY_REFUSED = re.compile(r"^Invalid value for (?P<setting>\w+): "), "Error: "
_NOISE = re.compile(_GUNICORN_LINE.pattern + "|^reconciler: ")


def size(log: Path | str) -> int:
    """Return the size of a log in bytes, 0 if it does not exist."""
    try:
        return os.stat(log).st_size  # noqa: PTH116  also of very many texts
    except OSError:
        return 0


def is_replaced(file: BinaryIO, log: Path) -> bool:
    """Whether the log is another file by now, or was emptied."""
    here = os.fstat(file.fileno())
    try:
        there = log.stat()
    except OSError:
        return False
    return there.st_ino != here.st_ino or there.st_size < file.tell()


def unwritable(log: Path, mode: int) -> str:
    """Return why a log, created with this mode if it is missing, cannot be opened for writing; "" if it can."""
    try:
        os.close(append_to(log, mode))
    except OSError as error:
        return f"cannot write {log}: {in_words(error)}"
    return ""


def tail(log: Path, lines: int, since: int = 0) -> list[str]:
    """Return the last lines of a log, none of those before byte `since`."""
    text = text_from(log, _TAIL_BYTES, since)
    return text.splitlines()[-lines:] if lines else []


def text_from(path: Path, at_most: int, since: int = 0, *, within: Path | None = None) -> str:
    """Return the end of a file, nothing of what stands before byte `since`; "" if it is no file or cannot be read.

    A link in its place is not followed; with `within`, it is, and has to lead to a file in that directory.
    """
    try:
        with opened_file(path, within=within, follow=within is not None) as file:
            end = file.seek(0, os.SEEK_END)
            start = max(since if since <= end else 0, end - at_most)
            file.seek(start)
            return file.read(at_most).decode("utf-8", "replace")
    except OSError:
        return ""


def reason(log: Path, since: int, code: str) -> str | None:
    """Return the last thing that a failed instance wrote, in one line.

    A setting that gunicorn refuses, an exception with its place in `code`, or else gunicorn's message or its last line.
    """
    from reconciler.planning.program_output import raised

    lines = tail(log, 200, since)
    if setting := _refused_setting(lines):
        return setting[:_LONGEST]
    found = raised(lines, code)
    if found is not None:
        return str(found)[:_LONGEST]
    for line in reversed(lines):
        logged = _GUNICORN_LINE.match(line)
        if (
            logged
            and logged["level"] in ("ERROR", "CRITICAL")
            and not logged["text"].startswith(("Shutting", "Reason", "Worker ("))
        ):
            return logged["text"]
    return _last(lines) or None


def _refused_setting(lines: list[str]) -> str:
    """Return which setting gunicorn refused, and why, if that is the last that it wrote; "" otherwise."""
    said = [line for line in lines if line.strip()][-2:]
    refused = _REFUSED.match(said[0]) if len(said) == 2 else None
    if refused is None or not said[1].startswith(_WHY_REFUSED):
        return ""
    why = said[1].removeprefix(_WHY_REFUSED)
    where = "correct it under `gunicorn` in the manifest, or in gunicorn.conf.py"
    return f"gunicorn refuses the setting {refused['setting']}: {why}; {where}"


def crash(log: Path, since: int, code: str) -> "Raised | None":
    """Return the signal that ended a Python, by the last that a log tells, None if that is something else."""
    from reconciler.planning.program_output import raised

    found = raised(_of_app(tail(log, 200, since)), code)
    return found if found is not None and found.is_signal else None


def last_words(log: Path, since: int, code: str) -> str:
    """Return what an app itself said last, as one line: an exception with its place in `code`, or its last line."""
    from reconciler.planning.program_output import said_last

    return said_last(_of_app(tail(log, 200, since)), code)


def _of_app(lines: list[str]) -> list[str]:
    return [line for line in lines if not _NOISE.match(line)]


def _last(lines: list[str]) -> str:
    plain = (line.strip() for line in reversed(lines) if line.strip() and not _NOISE.match(line))
    return next(plain, "")[:_LONGEST]


def rotate(log: Path, limit_bytes: int, keep: int, *, in_place: bool = False, durable: bool = True) -> bool:
    """Rename a log over its limit to `.1`, and earlier ones up to `.keep`; return whether its writers must reopen.

    With `in_place` it is copied and emptied instead, and the writers need not; unless it is to be `durable`, the copy
    may be lost with the host's power.
    """
    if in_place:
        return rotate_in_place(log, limit_bytes, keep, durable=durable)
    if size(log) <= limit_bytes:
        return False
    _move_earlier(log, keep)
    log.replace(log.with_name(f"{log.name}.1"))
    return True


def _move_earlier(log: Path, keep: int) -> None:
    """Rename what was rotated before, so that `.1` is free and `.keep` is the oldest. Raises OSError."""
    for number in range(keep - 1, 0, -1):
        older = log.with_name(f"{log.name}.{number}")
        if older.exists():
            older.replace(log.with_name(f"{log.name}.{number + 1}"))


def rotate_in_place(log: Path, limit_bytes: int, keep: int, *, durable: bool = True) -> bool:
    """Copy a log over its limit to `.1`, and empty it: its writers append, and cannot be told to open it again.

    What is written between the two is lost. Raises OSError.
    """
    if size(log) <= limit_bytes:
        return False
    _move_earlier(log, keep)
    opened = os.open(log, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return False
        with replacing(log.with_name(f"{log.name}.1"), durable=durable) as draft:
            copy = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                at = 0
                while sent := os.sendfile(copy, opened, at, limit_bytes + SLACK_BYTES - at):
                    at += sent
            finally:
                os.close(copy)
        os.ftruncate(opened, 0)
    finally:
        os.close(opened)
    return True


def cut(log: Path, beyond_bytes: int, to_bytes: int) -> int:
    """Cut a log that is larger than `beyond_bytes` to its first `to_bytes`; return how many bytes were dropped.

    A writer that appends goes on behind them.
    """
    try:
        opened = os.open(log, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode) or status.st_size <= beyond_bytes:
            return 0
        os.ftruncate(opened, to_bytes)
        return status.st_size - to_bytes
    except OSError:
        return 0
    finally:
        os.close(opened)
