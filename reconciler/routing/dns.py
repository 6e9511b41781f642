"""Look up where a name leads, and whether that is this host, as far as a host can know its own addresses."""

import socket
from contextlib import suppress

from reconciler.planning.wording import listed

# Names that no public resolver has.
_NOT_PUBLIC = (".localhost", ".local", ".internal", ".test")


def resolves(name: str) -> tuple[str, ...]:
    """Return the addresses of a name, () if it has none; blocks for as long as the resolver takes."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # of what can be no name
        return ()
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


def is_here(addresses: tuple[str, ...]) -> bool:
    """Return whether one of these addresses is this host's own."""
    ours = _own_addresses()
    return any(each in ours or each.startswith("127.") or each == "::1" for each in addresses)


def astray(name: str) -> str:
    """Return how DNS leads a name elsewhere, as the end of a sentence; "" if it leads here or is in no DNS. Blocks."""
    if name.endswith(_NOT_PUBLIC):
        return ""
    addresses = resolves(name)
    if not addresses:
        return "and has no address in DNS"
    return "" if is_here(addresses) else f"and DNS leads it to {listed(addresses)}, which this host does not have"


def _own_addresses() -> frozenset[str]:
    """Return the addresses from which this host reaches others, which are those of most hosts."""
    found = set[str]()
    for family, other in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as line:
            line.connect((other, 9))  # sends nothing
            found.add(str(line.getsockname()[0]))
    return frozenset(found)
