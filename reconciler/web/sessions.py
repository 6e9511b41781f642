"""The sessions of browsers that logged in over TCP, listed on disk until they are logged out or too old.

A session is two secrets: one is in the path of every page of it, the other in a cookie that browsers send to that path
only. Cookies are shared between all ports of a host, so an app would receive a cookie for `/`; it is never asked for
that path, which no other origin learns. Neither secret opens anything alone, and the list holds digests of both.
"""

import hashlib
import hmac
import re
import secrets
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.web.expiring_digests import ExpiringDigests

SESSION_S = 12 * 3600
PREFIX = "/s/"
_PATH = re.compile(r"(/s/[\w-]{22})(/.*)")


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
    """The open sessions. One was opened with a token, and ends with it; when one cannot be struck off, all end."""

    def __init__(self, file: Path) -> None:
        self._digests = ExpiringDigests(file, SESSION_S)

    def open(self, token: str) -> Session:
        """Open a session for a client that sent the token, or a login link that was made with it."""
        session = Session(f"{PREFIX}{secrets.token_urlsafe(16)}", secrets.token_urlsafe(24))
        self._digests.add(_digest(session, token))
        return session

    def is_open(self, session: Session, token: str) -> bool:
        """Return whether a session was opened with this token and has not ended."""
        return bool(session) and self._digests.holds(_digest(session, token))

    def close(self, session: Session, token: str) -> None:
        """End a session; its path and its cookie open nothing any more."""
        self._digests.remove(_digest(session, token))


def _digest(session: Session, token: str) -> str:
    return hmac.new(token.encode(), f"{session.base} {session.cookie}".encode(), hashlib.sha256).hexdigest()
