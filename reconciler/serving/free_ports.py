"""Find out whether a port is free, by binding a socket to it for a moment; nothing is loaded that listens."""

import socket

from reconciler.planning.address import Address


def is_free(host: str, port: int) -> bool:
    """Whether nothing listens on that port of an address now."""
    address = Address(host=host, port=port)
    try:
        with socket_for(address) as probe:
            probe.bind(sockaddr(address))
    except OSError:
        return False
    return True


def socket_for(address: Address) -> socket.socket:
    """Return a socket that can be bound to an address with a port. Raises OSError."""
    opened = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def sockaddr(address: Address) -> tuple[str, int]:
    """Return an address as sockets take it."""
    return address.ip, address.port
