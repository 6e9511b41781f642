"""Say what no isolated app reaches unless its manifest names it: other apps, a proxy's admin port, clouds' metadata."""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from reconciler.planning.isolation.destinations import Destination

# A user of the host, and where on this host that one may connect to all the same.
Own: TypeAlias = tuple[int, str, int]

# Where clouds answer their machines, or containers, with credentials: each by its own documentation.
METADATA = (
    "169.254.169.254",  # most of them
    "169.254.170.2",  # Amazon, containers
    "169.254.170.23",
    "168.63.129.16",  # Azure, beside the one above
    "100.100.100.200",  # Alibaba
    "169.254.0.23",  # Tencent
    "169.254.42.42",  # Scaleway
    "192.0.0.192",  # Oracle, the classic one
    "fd00:ec2::254",  # Amazon
    "fd00:ec2::23",
    "fd20:ce::254",  # Google
    "fd00:c1::a9fe:a9fe",  # Oracle
    "fd00:42::42",  # Scaleway
    "fe80::a9fe:a9fe",  # OpenStack
)
# Where a Caddy takes its configuration from any program of the host, unless it was told to have a socket instead.
ADMIN_PORTS = (2019,)
REFUSED = "other apps' ports, a proxy's admin port and the metadata of a cloud"
NOT_REFUSED = f"{REFUSED} are not refused to it"
_EVERY = frozenset({"0.0.0.0", "::"})


def place_at(host: str, port: int) -> Destination:
    """Return where a listener is reached: at an address of this host, "" for any."""
    return ("" if host in _EVERY else host, port)


def own_of(user: int, places: Iterable[Destination], servers: Iterable[int]) -> Iterator[Own]:
    """Yield what a user reaches of this host: where its app listens, and the ports of the servers that it binds."""
    for host, port in places:
        yield user, host, port
    for port in servers:
        yield user, "", port
