"""Authentication and authorization of requests, by their transport, headers and cookies.

The kernel names the users of the socket. Over TCP a client needs the token: with each request, or once at the login,
which opens a session. The token's file is read whenever it is needed, so a changed token applies at once and ends every
session.
"""

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from itsdangerous import BadData, Signer, TimestampSigner
from starlette.requests import Request

from reconciler.linux.dataclass import dataclass
from reconciler.settings.settings import Api
from reconciler.settings.tokens import token_of
from reconciler.web.client_address import address_of
from reconciler.web.login_links import LoginLinks
from reconciler.web.request_body import media_type
from reconciler.web.responses import Problem
from reconciler.web.sessions import NO_SESSION, SESSION_S, Session, Sessions
from reconciler.web.throttle import Throttle

_WRONG_TOKEN_DELAY_S = 0.5
_UNGUESSABLE = 32  # characters of a token that no number of tries finds


class Unauthenticated(Exception):
    """The client has neither a valid token nor a valid session."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated client. `session` is a browser's, none for a program that sent the token.

    `is_new` when its cookie is not set yet; `form_token` stands in the forms of its pages, so that no other site can
    send them.
    """

    name: str
    may_write: bool
    is_local: bool = False
    session: Session = NO_SESSION
    form_token: str = ""
    is_new: bool = False


class Access:
    """Decides who may read and write, by the host's settings; `api` is None when there is only the socket.

    `sessions` is the file that lists the sessions of browsers, `links` the one that lists the login links.
    """

    def __init__(self, api: Api | None, sessions: Path, links: Path) -> None:
        self._api = api
        self._own_key = secrets.token_hex(32)
        self._sessions = Sessions(sessions)
        self._links = LoginLinks(links)
        self._throttle = Throttle()
        self._public = urlsplit(api.url) if api is not None and api.url else None

    @property
    def cookie(self) -> str:
        """The session cookie's name; browsers accept the prefix over TLS only."""
        return "__Secure-reconciler" if self.is_secure else "reconciler"

    @property
    def is_secure(self) -> bool:
        """True when browsers come over TLS."""
        return self._public is not None and self._public.scheme == "https"

    def authenticate(self, request: Request) -> Caller:
        """Return the caller; raises Unauthenticated, or Problem."""
        self.check_host(request)
        if is_local(request):
            return self._local(request)
        assert self._api is not None
        token = self._token()
        if any(request.headers.getlist("authorization")):
            self._check_authorization(request, token)
            return Caller(name="token", may_write=self._api.writable)
        session = self._session(request)
        if not self._sessions.is_open(session, token):
            raise Unauthenticated
        form_token = _form_token(session, token)
        return Caller(name="token", may_write=self._api.writable, session=session, form_token=form_token)

    def is_open(self, caller: Caller) -> bool:
        """Return whether a caller that was authenticated before would be so again."""
        try:
            return caller.is_local or not caller.session or self._sessions.is_open(caller.session, self._token())
        except Problem:
            return False

    def _check_authorization(self, request: Request, token: str) -> None:
        credentials = request.headers.getlist("authorization")
        scheme, _, sent = credentials[0].partition(" ")
        is_right = len(credentials) == 1 and scheme.lower() == "bearer" and _equal(sent.strip(" "), token)
        self._limit(request, token, is_right=is_right)
        if not is_right:
            raise Unauthenticated

    def _limit(self, request: Request, secret: str, *, is_right: bool) -> None:
        """Count a wrong token or link; raise Problem where an address has sent too many.

        A right one gets through whatever others of its address send, an app of this host for instance: unless it is so
        short that the limit is what keeps it from being guessed.
        """
        if is_right and len(secret) >= _UNGUESSABLE:
            return
        address = self.address(request)
        self._throttle.check(address)
        if not is_right:
            self._throttle.count(address)

    def address(self, request: Request) -> str:
        """Return the address by which a client is limited."""
        return address_of(request, behind_proxy=self._public is not None)

    def _session(self, request: Request) -> Session:
        """Return the session that a request names, by its path and its cookie."""
        return Session(request.scope["state"].get("base", ""), request.cookies.get(self.cookie, ""))

    def _local(self, request: Request) -> Caller:
        cookie = request.cookies.get(self.cookie, "")
        known = _is_local_session(cookie, self._own_key)
        session = Session("", cookie if known else _new_local_session(self._own_key))
        return Caller(
            name=request.scope["state"]["peer"] or "",
            may_write=True,
            is_local=True,
            session=session,
            form_token=_form_token(session, self._own_key),
            is_new=not known,
        )

    async def log_in(self, request: Request, sent: str, link: str = "") -> Session | None:
        """Open a session if the token, or else the login link, is valid; otherwise return None after a delay.

        Raises Problem.
        """
        self.check_origin(request)
        token = self._token()
        is_right = self._links.is_open(link, token) if link else _equal(sent.strip(), token)
        self._limit(request, link or token, is_right=is_right)
        if is_right and (not link or self._links.use(link, token)):
            return self._sessions.open(token)
        await asyncio.sleep(_WRONG_TOKEN_DELAY_S)
        return None

    def login_link(self, caller: Caller) -> str:
        """Return the URL of a new login link, for a caller on the socket. Raises Problem."""
        if not caller.is_local:
            raise Problem(403, "only the socket gives login links: use 'reconciler page' on this host")
        if self._api is None:
            raise Problem(
                409,
                "the page has no address that a browser could open: start the daemon with 'reconciler run --page',"
                " set 'api.address' in the host settings, or forward a port of yours to the socket of the API by ssh",
            )
        return f"{self._api.browser_url}/login/{self._links.make(self._token())}"

    def log_out(self, caller: Caller) -> None:
        """End the session of a caller. Raises Problem."""
        if not caller.is_local:
            self._sessions.close(caller.session, self._token())

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


def _local_sessions(key: str) -> TimestampSigner:
    """Return what signs cookies on the socket, which only tell the forms of one browser from those of another."""
    return TimestampSigner(key, salt="reconciler session", key_derivation="hmac", digest_method=hashlib.sha256)


def _new_local_session(key: str) -> str:
    return _local_sessions(key).sign(secrets.token_urlsafe(16)).decode()


def _is_local_session(cookie: str, key: str) -> bool:
    try:
        _local_sessions(key).unsign(cookie, max_age=SESSION_S)
    except (BadData, UnicodeError):
        return False
    return True


def _form_token(session: Session, key: str) -> str:
    forms = Signer(key, salt="reconciler form", key_derivation="hmac", digest_method=hashlib.sha256)
    return forms.get_signature(f"{session.base}{session.cookie}").decode()


def _equal(one: str, other: str) -> bool:
    """Compare in a time that reveals neither where the texts differ nor how long they are."""
    return hmac.compare_digest(hashlib.sha256(one.encode()).digest(), hashlib.sha256(other.encode()).digest())
