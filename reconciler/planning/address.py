"""Where a program listens: at a port of an address of the host, or at a unix socket."""

from typing import TypeAlias

from reconciler.linux.dataclass import dataclass

SOCKET_SUFFIX = ".sock"
_EVERY_IPV4, _EVERY_IPV6 = "0.0.0.0", "::"

# What two addresses must have in common to have anything to do with each other.
Spot: TypeAlias = int | str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Address:
    """The address of a listener. `str()` gives `host:port`, or `unix:` and the path of a socket.

    `host` is an IP address, or the absolute path of a unix socket; `port` is 0 then. Two ways to write one address,
    such as localhost and 127.0.0.1, are equal; each keeps the spelling of its manifest.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self.port == other.port and (self.host == other.host or self.ip == other.ip)

    def __hash__(self) -> int:
        return self.port or hash(self.host)  # few addresses have one in common, and this is asked for again and again

    @property
    def path(self) -> str:
        """The path of the unix socket, "" for a port."""
        return self.host if self.host.startswith("/") else ""

    @property
    def spot(self) -> Spot:
        """The port, or the path of the socket: addresses that differ in it never overlap."""
        return self.path or self.port

    @property
    def ip(self) -> str:
        """The host as the kernel writes it."""
        if self.host == "localhost":
            return "127.0.0.1"
        return _shortest(self.host) if ":" in self.host and not self.path else self.host

    @property
    def reached_at(self) -> str:
        """The IP address at which clients on this host connect."""
        return {_EVERY_IPV4: "127.0.0.1", _EVERY_IPV6: "::1"}.get(self.ip, self.ip)

    @property
    def is_local(self) -> bool:
        """Whether only clients on this host reach it."""
        return bool(self.path) or self.ip == "::1" or self.ip.startswith("127.")

    @classmethod
    def of_port(cls, text: str) -> "Address":
        """Return the address with a port that `str()` gives as this text. Raises ValueError."""
        host, _, port = text.rpartition(":")
        return cls(host=host.removeprefix("[").removesuffix("]"), port=int(port))

    def overlaps(self, other: "Address") -> bool:
        """Whether a connection to one can reach a program that listens on the other."""
        if self.spot != other.spot:
            return False
        hosts = {self.ip, other.ip}
        return len(hosts) == 1 or not hosts.isdisjoint({_EVERY_IPV4, _EVERY_IPV6})


def both(address: Address | None, beside: Address | None) -> tuple[Address, ...]:
    """Return where a program listens that has an address and maybe another one beside it; () without any."""
    return () if address is None else (address,) if beside is None else (address, beside)


def _shortest(host: str) -> str:
    """Return an IPv6 address in its canonical form; as it is if it is none."""
    from ipaddress import ip_address  # few hosts have such an address

    try:
        return str(ip_address(host))
    except ValueError:
        return host
