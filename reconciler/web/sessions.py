"""The sessions of browsers that logged in over TCP, listed on disk until they are logged out or too old.

A session is two secrets: one is in the path of every page of it, the other in a cookie that browsers send to that path
only. Cookies are shared between all ports of a host, so an app would receive a cookie for `/`; it is never asked for
that path, which no other origin learns. Neither secret opens anything alone, and the list holds digests of both.
"""

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import opened_file

SESSION_S = 12 * 3600
PREFIX = "/s/"
_PATH = re.compile(r"(/s/[\w-]{22})(/.*)")
_MOST = 200
_LARGEST = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Session:
    """An open session: `base` is the beginning of its pages' paths, `cookie` the value of its cookie."""

    base: str
    cookie: str

    def __bool__(self) -> bool:
        return bool(self.cookie)


NO_SESSION = Session("", "")


def split(path: str) -> tuple[str, str]:
    """Split the path of a request into the base of a session, empty without one, and the path of the page."""
    found = _PATH.fullmatch(path)
    return (found[1], found[2]) if found else ("", path)


class Sessions:
    """The list of open sessions, in a file that a later web process goes on with.

    A session was opened with a token and ends with it. When the file cannot be written, as on a full disk, sessions are
    kept in memory; and when one cannot be struck off, all end.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_of: tuple[int, ...] | None = None
        self._ends: dict[str, float] = {}

    def open(self, token: str) -> Session:
        """Open a session for a client that sent the token."""
        session = Session(f"{PREFIX}{secrets.token_urlsafe(16)}", secrets.token_urlsafe(24))
        with self._changing() as ends:
            ends[_digest(session, token)] = _now() + SESSION_S
        return session

    def is_open(self, session: Session, token: str) -> bool:
        """Return whether a session was opened with this token and has not ended."""
        self._read()
        return bool(session) and self._ends.get(_digest(session, token), 0.0) > _now()

    def close(self, session: Session, token: str) -> None:
        """End a session; its path and its cookie open nothing any more."""
        with self._changing() as ends:
            ends.pop(_digest(session, token), None)

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, float]]:
        """Change the list, one process at a time: another may still be answering its last requests."""
        with self._locked():
            self._read()
            yield self._ends
            now = _now()
            current = {digest: end for digest, end in self._ends.items() if now < end <= now + SESSION_S}
            self._ends = dict(sorted(current.items(), key=lambda item: item[1])[-_MOST:])
            try:
                replace_file(self._file, json.dumps(self._ends), durable=False)
            except OSError:
                with contextlib.suppress(OSError):  # rather none than one that was logged out
                    self._file.unlink()
            self._read_of = self._identity()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            lock = os.open(self._file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            yield
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _read(self) -> None:
        """Read the list again if it is another by now."""
        identity = self._identity()
        if identity is None or identity == self._read_of:
            return
        try:
            with opened_file(self._file) as file:
                found = json.loads(file.read(_LARGEST))
            self._ends = {str(digest): float(end) for digest, end in found.items()}
        except (OSError, ValueError, TypeError, AttributeError, RecursionError):
            self._ends = {}
        self._read_of = identity

    def _identity(self) -> tuple[int, ...] | None:
        try:
            status = self._file.stat()
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size


def _digest(session: Session, token: str) -> str:
    return hmac.new(token.encode(), f"{session.base} {session.cookie}".encode(), hashlib.sha256).hexdigest()


def _now() -> float:
    return time.time()  # noqa: TID251  it outlives this process and, as cookies do, this boot
