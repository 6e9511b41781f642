"""What a proxy is told of the apps: one value over all of them, from which each driver makes its configuration."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing.domain_names import exact_first
from reconciler.planning.routing.routing import EVERYTHING, Routing

# The header in which the proxy, and no other client, tells the app whose request it is: a key, a blank, an address.
CLIENT_HEADER = "X-Reconciler-Client"
PREFIX_HEADER = "X-Forwarded-Prefix"
# What proxies pass on as a client wrote it, and apps believe: with the key, it would count as the proxy's word.
FORGEABLE_HEADERS = (
    "Forwarded", "X-Forwarded-Port", "X-Forwarded-Protocol", "X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Real-Ip",
    "X-Scheme", "X-Script-Name",
)  # fmt: skip


# Where the proxy leads the clients of an app, as a cluster sees it: to this host, there, to another cluster, nowhere;
# or what it has is not known now.
Led: TypeAlias = Literal["here", "there", "elsewhere", "nowhere", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Where a cluster takes requests for the domains of its apps: `dial` is host:port, `place` the cluster's name.

    With `tls` each domain is asked for by its own name, and `ca` is the path of what its certificate is trusted by, ""
    for the host's authorities. `routed` says that a route of the cluster's own does what is to be done about paths.
    """

    dial: str
    place: str = ""
    tls: bool = False
    ca: str = ""
    routed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One app at the proxy. `upstream` is the address of its listener as host:port, or `unix/` and a path.

    `key` proves to the app that a request comes through the proxy. `accounts` are users with the hashes of their
    passwords, None for an app that every client may use. `certificate_id` changes with the content of its certificate.
    Clients of a `stopped` app get 503. `files` is the directory of the trees of its static files, "" for none.
    `entry` is that of the cluster which its clients are led to, None for an app that serves on this host.
    """

    app: str
    routing: Routing
    upstream: str
    patience_s: float = 5.0
    key: str = field(default="", repr=False)
    accounts: tuple[tuple[str, str], ...] | None = field(default=None, repr=False)
    certificate_id: str = ""
    stopped: bool = False
    files: str = ""
    entry: Entry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Where and how the proxy meets its clients. `address` is empty for every address of the host.

    `trusted` are the networks of what stands in front of it. `ca` is the directory URL of the authority, `ca_root` the
    path of the certificate that the authority itself is trusted by; both are empty for the proxy's own choice. With
    `http3` clients are told that they may use HTTP/3, at the same port of UDP.
    """

    http: int = 80
    https: int = 443
    address: str = ""
    email: str = ""
    ca: str = ""
    ca_root: str = ""
    trusted: tuple[str, ...] = ()
    http3: bool = True

    def listen(self, port: int) -> str:
        """Return an address to listen on, as proxies write it."""
        return f"[{self.address}]:{port}" if ":" in self.address else f"{self.address}:{port}"

    def url(self, name: str, *, tls: bool = True) -> str:
        """Return the URL of a name, without a slash at its end."""
        scheme, port, usual = ("https", self.https, 443) if tls else ("http", self.http, 80)
        return f"{scheme}://{name}" if port == usual else f"{scheme}://{name}:{port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A path of a name, and the app that has it."""

    name: str
    below: str
    route: Route


def places(routes: tuple[Route, ...]) -> tuple[Place, ...]:
    """Return every name and path with its app: exact names before wildcards, the longest path of a name first."""
    found = [
        Place(name=name, below=route.routing.below, route=route) for route in routes for name in route.routing.domains
    ]
    return tuple(sorted(found, key=lambda place: (exact_first(place.name), -len(place.below), place.below)))


def owner(path: str, at: Sequence[Place]) -> Place | None:
    """Return the place that has a path of a name, of all places of that name: the longest one that contains it."""
    found = (each for each in at if is_everything(each.below) or f"{path}/".startswith(f"{each.below}/"))
    return max(found, key=lambda each: len(each.below), default=None)


def redirected(routes: tuple[Route, ...]) -> Iterator[tuple[str, Route]]:
    """Yield each name that only leads to an app's first domain, exact names first."""
    pairs = [(name, route) for route in routes for name in route.routing.redirects]
    yield from sorted(pairs, key=lambda pair: exact_first(pair[0]))


def target(route: Route, front: Front) -> str:
    """Return the URL that the redirected names of an app lead to, without a path."""
    return front.url(route.routing.domains[0], tls=route.routing.tls != "off")


def is_everything(below: str) -> bool:
    """Return whether a path is that of the whole name."""
    return below == EVERYTHING
