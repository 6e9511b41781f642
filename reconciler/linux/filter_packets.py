"""Write what matches packets by where they go and what they begin, in expressions of nf_tables rules."""

import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from reconciler.linux.filter_expressions import (
    NETWORK_HEADER,
    PROHIBITED,
    PROTOCOL_FAMILY,
    RESET,
    TRANSPORT_HEADER,
    compare,
    mask,
    meta,
    payload,
    protocol,
)

# Where packets may go: a network as text, "" for any, and a port, 0 for any.
Destination: TypeAlias = tuple[str, int]

TCP, UDP = 6, 17
FAMILIES = {4: (2, 16, 4), 6: (10, 24, 16)}  # NFPROTO_IPV4 and IPV6; where the address is in the header, its length
_SYN, _SYN_ACK, _FLAGS_AT = 0x02, 0x12, 13


def first_packets(how: int) -> bytes:
    """Return what matches the packets of TCP that begin a connection, or all others of TCP."""
    flags = payload(TRANSPORT_HEADER, _FLAGS_AT, 1) + mask(bytes([_SYN_ACK]))
    return protocol(TCP) + flags + compare(bytes([_SYN]), how)


def refusals(places: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what refuses at once: by TCP as a closed port does, and else in the words of the sender's own error."""
    for to in places:
        yield protocol(TCP) + to + RESET
        yield to + PROHIBITED


def to_place(place: Destination) -> Iterator[bytes]:
    """Yield what matches packets to a place: once, or for each protocol that has ports."""
    network_of, port = place
    where = b""
    if network_of:
        network = ipaddress.ip_network(network_of)
        family, at, length = FAMILIES[network.version]
        where = meta(PROTOCOL_FAMILY) + compare(bytes([family])) + payload(NETWORK_HEADER, at, length)
        where += mask(network.netmask.packed) + compare(network.network_address.packed)
    if not port:
        yield where
        return
    for each in (TCP, UDP):
        yield where + protocol(each) + payload(TRANSPORT_HEADER, 2, 2) + compare(port.to_bytes(2, "big"))
