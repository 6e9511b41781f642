"""Read where an app may connect to, and decide which addresses that is. Pure: names are looked up elsewhere.

A name counts for the addresses that it had lately; one that suddenly has an address of this host itself opens nothing.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

from reconciler.linux.dataclass import dataclass

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

    Address: TypeAlias = IPv4Address | IPv6Address
    Network: TypeAlias = IPv4Network | IPv6Network

MOST_PLACES = 64
ALL = "all"
KEPT_S = 600.0  # how long an address counts that a name has no more: names of several have others at each look
# Where packets may go: a network as text, "" for any, and a port, 0 for any.
Destination: TypeAlias = tuple[str, int]
_LAST_PORT = 65535
_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?", re.IGNORECASE | re.ASCII)
_LONGEST_NAME = 253
_MAPPED_BITS = 96
_EXPECTED = "expected a host, a network or a port, such as db.internal:5432, 10.0.0.0/8 or 443"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an app may connect to: a host by name, or a network as text; any is "", and any port is 0.

    With neither it is what an app reaches that has no list.
    """

    name: str = ""
    network: str = ""
    port: int = 0

    def __str__(self) -> str:
        """Write it as manifests do."""
        host = f"[{self.network}]" if ":" in self.network and self.port else self.network or self.name
        return f"{host}:{self.port}" if host and self.port else host or str(self.port or ALL)


def place_of(text: str) -> Place:
    """Return the place that a manifest writes as `text`. Raises ValueError with a sentence."""
    import ipaddress  # of the few apps that say so

    if text == ALL:
        return Place()
    host, port = _split(text)
    if not host:
        return Place(port=port)
    if re.fullmatch(r"[0-9./]+|.*[:/].*", host):
        try:
            network = ipaddress.ip_network(host, strict=False)
        except ValueError:
            raise ValueError(_EXPECTED) from None
        if "%" in host:  # an interface, of which rules know nothing
            raise ValueError(_EXPECTED)
        network = _as_packets_have_it(network)
        single = network.prefixlen == network.max_prefixlen
        return Place(network=str(network.network_address if single else network), port=port)
    if len(host) > _LONGEST_NAME or not _NAME.fullmatch(host) or _is_numeric(host.rstrip(".")):
        raise ValueError(_EXPECTED)
    return Place(name=host.lower().rstrip("."), port=port)


def _is_numeric(host: str) -> bool:
    """Whether programs take it for an address, of few dots or in another base, or it is a range of ports."""
    last = host.rpartition(".")[2].lower()
    in_hex = last.startswith("0x") and set(last) <= set("0123456789abcdefx")
    return last.isdecimal() or in_hex or host.replace("-", "").isdecimal()


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
        if own or not (_is_near(mapped) or any(_is_near(each) for each in _within(mapped))):
            kept.add(str(mapped))
    return frozenset(kept)


def _is_near(address: "Address") -> bool:
    near = address.is_loopback or address.is_link_local or address.is_unspecified or address.is_multicast
    return near or (address.version == 4 and address.is_reserved)


def _within(address: "Address") -> "Iterator[Address]":
    """Yield the addresses of version 4 that one of version 6 leads to by a gateway: 64:ff9b::/96, 2002::/16, ::/96."""
    import ipaddress

    if address.version == 6:
        if address.packed[:12] in {b"\0\x64\xff\x9b" + bytes(8), bytes(12)}:
            yield ipaddress.IPv4Address(address.packed[12:])
        if address.packed[:2] == b"\x20\x02":
            yield ipaddress.IPv4Address(address.packed[2:6])


def _as_packets_have_it(network: "Network") -> "Network":
    """Return a network; of version 4 if it is one within version 6, as programs write such addresses."""
    import ipaddress

    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < _MAPPED_BITS:
        return network
    return ipaddress.ip_network((mapped, network.prefixlen - _MAPPED_BITS))
