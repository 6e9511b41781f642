"""Authentication and authorization of requests, by their transport, headers and cookies.

The kernel names the users of the socket. Over TCP a client needs the token: with each request, or once at the login,
which answers with a session cookie signed by it. The token's file is read whenever it is needed, so a changed token
applies at once and ends every session.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass
from urllib.parse import urlsplit

from itsdangerous import BadData, Signer, TimestampSigner
from starlette.requests import Request

from reconciler.daemon.web_process import token_of
from reconciler.settings.settings import Api
from reconciler.web.request_body import media_type
from reconciler.web.responses import Problem

SESSION_S = 12 * 3600
_LOGINS_AT_ONCE = 4
_WRONG_TOKEN_DELAY_S = 0.5


class Unauthenticated(Exception):
    """The client has neither a valid token nor a valid session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated client. `session` is a browser's cookie, empty for a program that sent the token.

    `is_new` when the cookie is not set yet; `form_token` stands in the forms of its pages, so that no other site can
    send them.
    """

    name: str
    may_write: bool
    is_local: bool = False
    session: str = ""
    form_token: str = ""
    is_new: bool = False


class Access:
    """Decides who may read and write, by the host's settings; `api` is None when there is only the socket."""

    def __init__(self, api: Api | None) -> None:
        self._api = api
        self._own_key = secrets.token_hex(32)
        self._logins = asyncio.Semaphore(_LOGINS_AT_ONCE)
        self._public = urlsplit(api.url) if api is not None and api.url else None

    @property
    def cookie(self) -> str:
        """The session cookie's name; browsers accept the prefix over TLS only."""
        return "__Host-reconciler" if self.is_secure else "reconciler"

    @property
    def is_secure(self) -> bool:
        """True when browsers come over TLS."""
        return self._public is not None and self._public.scheme == "https"

    def authenticate(self, request: Request) -> Caller:
        """Return the caller; raises Unauthenticated, or Problem."""
        self.check_host(request)
        cookie = request.cookies.get(self.cookie, "")
        if is_local(request):
            return self._local(request, cookie)
        assert self._api is not None
        token = self._token()
        credentials = request.headers.getlist("authorization")
        if any(credentials):
            scheme, _, sent = credentials[0].partition(" ")
            if len(credentials) == 1 and scheme.lower() == "bearer" and _equal(sent.strip(" "), token):
                return Caller(name="token", may_write=self._api.writable)
        elif _is_session(cookie, token):
            form_token = _form_token(cookie, token)
            return Caller(name="token", may_write=self._api.writable, session=cookie, form_token=form_token)
        raise Unauthenticated

    def _local(self, request: Request, cookie: str) -> Caller:
        known = _is_session(cookie, self._own_key)
        session = cookie if known else _new_session(self._own_key)
        return Caller(
            name=request.scope["state"]["peer"] or "",
            may_write=True,
            is_local=True,
            session=session,
            form_token=_form_token(session, self._own_key),
            is_new=not known,
        )

    async def log_in(self, request: Request, sent: str) -> str | None:
        """Create a session if the token is valid; otherwise return None after a delay. Raises Problem."""
        self.check_origin(request)
        token = self._token()
        if not self._logins.locked():
            async with self._logins:
                if _equal(sent.strip(), token):
                    return _new_session(token)
                await asyncio.sleep(_WRONG_TOKEN_DELAY_S)
            return None
        raise Problem(429, "too many logins at once: try again in a few seconds", {"Retry-After": "5"})

    def check_write(self, request: Request, caller: Caller, form_token: str | None) -> None:
        """Raise Problem unless this request may change something; `form_token` comes from the form or the header.

        A browser proves with it that our page sent the request. Other programs prove it with what no page can send
        across sites: the Authorization header or, on the socket, JSON without a cookie.
        """
        if not caller.may_write:
            raise Problem(403, "this address is read-only: use the socket, or set 'api.writable' in the host settings")
        is_program = caller.is_new and form_token is None and media_type(request) == "application/json"
        if not caller.session or is_program:
            self.check_origin(request)
        else:
            self.check_form(request, caller, form_token or "")

    def check_form(self, request: Request, caller: Caller, form_token: str) -> None:
        """Raise Problem unless one of our pages sent this form."""
        self.check_origin(request)
        if not _equal(form_token, caller.form_token):
            raise Problem(403, "this form has expired or is not from this page: reload the page and try again")

    def check_host(self, request: Request) -> None:
        """Raise Problem for a host name that is not this host's: another site may have made it resolve to here."""
        host = request.headers.get("host", "")
        if len(request.headers.getlist("host")) > 1 or not self._is_our_name(host):
            raise Problem(421, "use this host's IP address, 'localhost', or the name in 'api.url' of the host settings")

    def check_origin(self, request: Request) -> None:
        """Raise Problem when a page of another site sent this."""
        site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
        if site not in (None, "same-origin", "none"):
            raise Problem(403, "a page of another site sent this request")
        if origin is None:
            return
        sent = urlsplit(origin)
        ours = self._public if self._public is not None and sent.netloc == self._public.netloc else None
        if sent.scheme != (ours.scheme if ours else "http") or sent.netloc != request.headers.get("host"):
            raise Problem(403, "a page of another site sent this request")

    def _is_our_name(self, host: str) -> bool:
        try:
            parts = urlsplit(f"//{host}")
            name, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if name is None or parts.netloc != host or "@" in host:
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
            why = "the daemon's user must be able to read it, and it must contain at least 16 characters"
            raise Problem(503, f"cannot use the token file on this host: {why}") from error


def is_local(request: Request) -> bool:
    """Return whether the request came over the socket."""
    return bool(request.scope["state"]["transport"] == "unix")


def _sessions(key: str) -> TimestampSigner:
    return TimestampSigner(key, salt="reconciler session", key_derivation="hmac", digest_method=hashlib.sha256)


def _new_session(key: str) -> str:
    return _sessions(key).sign(secrets.token_urlsafe(16)).decode()


def _is_session(cookie: str, key: str) -> bool:
    try:
        _sessions(key).unsign(cookie, max_age=SESSION_S)
    except (BadData, UnicodeError):
        return False
    return True


def _form_token(session: str, key: str) -> str:
    forms = Signer(key, salt="reconciler form", key_derivation="hmac", digest_method=hashlib.sha256)
    return forms.get_signature(session).decode()


def _equal(one: str, other: str) -> bool:
    """Compare in a time that reveals neither where the texts differ nor how long they are."""
    return hmac.compare_digest(hashlib.sha256(one.encode()).digest(), hashlib.sha256(other.encode()).digest())
