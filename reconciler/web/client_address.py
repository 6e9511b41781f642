"""The address by which a client is limited."""

import ipaddress
from typing import TypeAlias

from starlette.requests import Request

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(request: Request, *, behind_proxy: bool) -> str:
    """Return the address of a client: behind a proxy on this host, the one that the proxy saw."""
    peer = request.client.host if request.client else ""
    if behind_proxy and _is_loopback(peer):
        # The last one is what the proxy added; those before it are what the client claims.
        forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
        return group_of(forwarded) or group_of(peer)
    return group_of(peer)


def group_of(text: str) -> str:
    """Return what stands for an address, empty for none: one client has a /64 of IPv6, and all of 127.0.0.0/8."""
    address = _parsed(text)
    if address is None:
        return ""
    if address.is_loopback:
        return "this host"
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else str(address)


def _is_loopback(text: str) -> bool:
    address = _parsed(text)
    return address is not None and address.is_loopback


def _parsed(text: str) -> _Address | None:
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
