"""Read where an app may connect to, and decide which addresses that is. Pure: names are looked up elsewhere.

A name counts for the addresses that it had lately; one that suddenly has an address of this host itself opens nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

MOST_PLACES = 64
KEPT_S = 600.0  # how long an address counts that a name has no more: names of several have others at each look
# Where packets may go: a network as text, "" for any, and a port, 0 for any.
Destination: TypeAlias = tuple[str, int]
_LAST_PORT = 65535
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE)
_LONGEST_NAME = 253
_EXPECTED = "expected a host, a network or a port, such as db.internal:5432, 10.0.0.0/8 or 443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an app may connect to: a host by name, or a network as text; any is "", and any port is 0."""

    name: str = ""
    network: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Write it as manifests do."""
        host = f"[{self.network}]" if ":" in self.network and self.port else self.network or self.name
        return f"{host}:{self.port}" if host and self.port else host or str(self.port)


def place_of(text: str) -> Place:
    """Return the place that a manifest writes as `text`. Raises ValueError with a sentence."""
    import ipaddress  # of the few apps that say so

    host, port = _split(text)
    if not host:
        return Place(port=port)
    if re.fullmatch(r"[0-9./]+|.*[:/].*", host):
        try:
            network = ipaddress.ip_network(host, strict=False)
        except ValueError:
            raise ValueError(_EXPECTED) from None
        single = network.prefixlen == network.max_prefixlen
        return Place(network=str(network.network_address if single else network), port=port)
    if len(host) > _LONGEST_NAME or not _NAME.fullmatch(host):
        raise ValueError(_EXPECTED)
    return Place(name=host.lower().rstrip("."), port=port)


def _split(text: str) -> tuple[str, int]:
    """Return host and port; either may be missing, and not both."""
    if bracketed := re.fullmatch(r"\[([0-9a-fA-F./]*:[0-9a-fA-F:./]*)\](?::(\d{1,5}))?", text):
        host, digits = bracketed[1], bracketed[2]
    elif text.count(":") > 1:
        host, digits = text, None
    elif text.isascii() and text.isdecimal():
        host, digits = "", text
    else:
        host, _, digits = text.partition(":")
        if not host or (":" in text and not digits):
            raise ValueError(_EXPECTED)
    if not digits:
        return host, 0
    if not (digits.isascii() and digits.isdecimal() and 0 < int(digits) <= _LAST_PORT):
        raise ValueError(f"has no port: a port is a number from 1 to {_LAST_PORT}")
    return host, int(digits)


def names_in(places: Iterable[Place]) -> frozenset[str]:
    """Return the names that have to be looked up."""
    return frozenset(place.name for place in places if place.name)


def ports_of(places: Iterable[Place]) -> frozenset[int] | None:
    """Return the ports that places name, None if one of them names none."""
    found = frozenset(place.port for place in places)
    return None if 0 in found else found


def destinations(places: Iterable[Place], addresses: Mapping[str, Iterable[str]]) -> tuple[Destination, ...]:
    """Return where packets of an app may go, with the addresses of names as texts; a name without any opens nothing."""
    return tuple(sorted({found for place in places for found in _destinations(place, addresses)}))


def _destinations(place: Place, addresses: Mapping[str, Iterable[str]]) -> Iterator[Destination]:
    if not place.name:
        yield place.network, place.port
        return
    for address in addresses.get(place.name, ()):
        yield address, place.port


def trusted(name: str, found: Iterable[str], named_here: Iterable[str]) -> frozenset[str]:
    """Return those addresses of a name that count.

    One of this host itself, or of what is beside it without a router such as the metadata of a cloud, counts only for a
    name of this host: `localhost`, and those that its own file of hosts has. The owner of
    another name may have it lead there.
    """
    import ipaddress

    own = name == "localhost" or name.endswith(".localhost") or name in named_here
    kept = set()
    for text in found:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        near = mapped.is_loopback or mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast
        if own or not near:
            kept.add(str(mapped))
    return frozenset(kept)
