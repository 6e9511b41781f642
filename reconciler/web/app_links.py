"""Links from the page to apps, as far as the viewer's browser can follow them."""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request

from reconciler.linux.dataclass import dataclass
from reconciler.web.authentication import is_local
from reconciler.web.formatting import url


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A link to an app; `hint` says how to reach it where the link is missing or may lead elsewhere."""

    url: str | None = None
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Viewer:
    """The name by which a browser reached this host, None over the socket: then it may run anywhere."""

    host: str | None

    def link(self, address: object) -> Link:
        """Return a link to the address of an app."""
        known = url(address)
        if known is None:
            return Link()
        parts = urlsplit(known)
        name, port = parts.hostname or "", parts.port
        if _is_unspecified(name) and self.host is not None:
            name = self.host
            known = f"{parts.scheme}://{f'[{name}]' if ':' in name else name}:{port}/"
        target = "127.0.0.1" if _is_unspecified(name) else name
        forward = f"ssh -L {port}:{target}:{port}"
        if _is_unspecified(name) or (_is_loopback(name) and (self.host is None or not _is_loopback(self.host))):
            return Link(hint=f"Reach it from your machine with {forward}, or through a proxy")
        if _is_loopback(name):  # the browser runs on this host, or a tunnel makes it seem so
            return Link(url=known, hint=f"If you came through a tunnel, forward its port, too: {forward}")
        return Link(url=known)


def viewer_of(request: Request) -> Viewer:
    """Return the viewer that sent a request."""
    return Viewer(None if is_local(request) else urlsplit(f"//{request.headers.get('host', '')}").hostname)


@lru_cache(1024)
def _is_unspecified(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False


@lru_cache(1024)
def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
