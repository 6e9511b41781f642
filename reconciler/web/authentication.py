"""Who may see and who may do what: a request's door, headers and cookies in; an admission or a refusal out.

The socket's users are known by the kernel. On TCP a token lets in: sent with each request, or once at the login, which
answers with a session cookie made from it. The token's file is read each time it matters: a changed one holds at once,
and ends every session.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import Request

from reconciler.daemon.web_process import token_of
from reconciler.settings.settings import Api
from reconciler.web.responses import Problem

SESSION_S = 12 * 3600
_LOGINS_AT_ONCE = 4
_WRONG_TAKES_S = 0.5


class Unauthenticated(Exception):
    """Nobody known is at the other end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who may look. `session` is a browser's cookie, empty for a program that sent the token.

    `is_new` when that cookie has still to be given to it; `form_token` is what forms of its pages carry, so that only
    our own pages can send them.
    """

    who: str
    may_write: bool
    session: str = ""
    form_token: str = ""
    is_new: bool = False


class Access:
    """Decides by the host's settings; `api` is None when only the socket is there."""

    def __init__(self, api: Api | None) -> None:
        self._api = api
        self._own_key = secrets.token_bytes(32)
        self._logins = asyncio.Semaphore(_LOGINS_AT_ONCE)
        self._public = urlsplit(api.url) if api is not None and api.url else None

    @property
    def cookie(self) -> str:
        """The session cookie's name; browsers take one of the longer kind over TLS only."""
        return "__Host-reconciler" if self.is_secure else "reconciler"

    @property
    def is_secure(self) -> bool:
        """True when browsers come over TLS."""
        return self._public is not None and self._public.scheme == "https"

    def authenticate(self, request: Request) -> Caller:
        """Who this is; raises MustLogIn, or Problem."""
        self.check_host(request)
        door, peer = _state(request)
        given = request.cookies.get(self.cookie, "")
        if door == "unix":
            known = self._is_session(given, self._own_key)
            session = given if known else _session(self._own_key)
            return Caller(
                who=peer or "",
                may_write=True,
                session=session,
                form_token=_signed(b"form " + session.encode(), self._own_key),
                is_new=not known,
            )
        assert self._api is not None
        token = self._token()
        credentials = request.headers.getlist("authorization")
        if any(credentials):
            scheme, _, sent = credentials[0].partition(" ")
            if len(credentials) == 1 and scheme.lower() == "bearer" and _same(sent.strip(" "), token):
                return Caller(who="token", may_write=self._api.writable)
        elif self._is_session(given, token.encode()):
            form_token = _signed(b"form " + given.encode(), token.encode())
            return Caller(who="token", may_write=self._api.writable, session=given, form_token=form_token)
        raise Unauthenticated

    async def log_in(self, request: Request, sent: str) -> str | None:
        """A new session for whoever has the token, None for others, who wait a while for that."""
        self.check_origin(request)
        token = self._token()
        if not self._logins.locked():
            async with self._logins:
                if _same(sent.strip(), token):
                    return _session(token.encode())
                await asyncio.sleep(_WRONG_TAKES_S)
            return None
        raise Problem(429, "too many logins at once: try again in a few seconds", {"Retry-After": "5"})

    def check_write(self, request: Request, caller: Caller, form_token: str | None) -> None:
        """Raise Problem unless this request may change something; `form_token` is what the form or header carried.

        A browser proves by it that our page sent it. Other programs prove it by what no page can send across sites:
        the Authorization header or, on the socket, JSON without a cookie.
        """
        if not caller.may_write:
            raise Problem(403, "this address is read-only: use the socket, or allow it by 'api.writable'")
        is_local = caller.is_new and form_token is None and _is_json(request)
        if not caller.session or is_local:
            self.check_origin(request)
        else:
            self.check_form(request, caller, form_token or "")

    def check_form(self, request: Request, caller: Caller, form_token: str) -> None:
        """Raise Problem unless a page of ours sent this form."""
        self.check_origin(request)
        if not _same(form_token, caller.form_token):
            raise Problem(403, "this form is too old, or not ours: go back, reload the page and try again")

    def check_host(self, request: Request) -> None:
        """Raise Problem for a name that is not this host's: a page elsewhere may have made it lead here."""
        host = request.headers.get("host", "")
        if len(request.headers.getlist("host")) > 1 or not self._is_our_name(host):
            raise Problem(
                421, "ask for this host by address, as localhost, or by the name in 'api.url' of its settings"
            )

    def check_origin(self, request: Request) -> None:
        """Raise Problem when another site's page sent this."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site not in (None, "same-origin", "none"):
            raise Problem(403, "another site's page sent this")
        if origin is None:
            return
        sent = urlsplit(origin)
        ours = self._public if self._public is not None and sent.netloc == self._public.netloc else None
        if sent.scheme != (ours.scheme if ours else "http") or sent.netloc != request.headers.get("host"):
            raise Problem(403, "another site's page sent this")

    def _is_our_name(self, host: str) -> bool:
        try:
            named = urlsplit(f"//{host}")
            name, _ = named.hostname, named.port
        except ValueError:
            return False
        if name is None or named.netloc != host or "@" in host:
            return False
        if name == "localhost" or (self._public is not None and host == self._public.netloc):
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _token(self) -> str:
        assert self._api is not None
        try:
            return token_of(self._api.token)
        except (OSError, ValueError) as error:
            why = "the daemon's user must be able to read it, and it must hold at least 16 characters"
            raise Problem(503, f"cannot use the token's file on this host: {why}") from error

    def _is_session(self, session: str, key: bytes) -> bool:
        until, _, _ = session.partition(".")
        fresh = until.isascii() and until.isdecimal() and len(until) < 12 and int(until) > _now()
        unsigned, _, signature = session.rpartition(".")
        return _same(signature, _signed(b"session " + unsigned.encode(), key)) and fresh


def _session(key: bytes) -> str:
    unsigned = f"{_now() + SESSION_S}.{secrets.token_urlsafe(16)}"
    return f"{unsigned}.{_signed(b'session ' + unsigned.encode(), key)}"


def _signed(text: bytes, key: bytes) -> str:
    return hmac.new(hashlib.sha256(b"reconciler " + key).digest(), text, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    """In a time that does not tell where they differ, nor how long the other is."""
    return hmac.compare_digest(hashlib.sha256(one.encode()).digest(), hashlib.sha256(other.encode()).digest())


def _is_json(request: Request) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"


def _now() -> int:
    return int(time.time())  # noqa: TID251  a session outlives this process


def _state(request: Request) -> tuple[str, str | None]:
    return request.scope["state"]["door"], request.scope["state"]["peer"]
