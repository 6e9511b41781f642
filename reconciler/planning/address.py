"""Where a program listens."""

from dataclasses import dataclass

_EVERY_IPV4, _EVERY_IPV6 = "0.0.0.0", "::"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Address:
    """The address of a listener. `str()` gives `host:port`.

    Two ways to write one address, such as localhost and 127.0.0.1, are equal; each keeps the spelling of its manifest.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Address):
            return NotImplemented
        return self.port == other.port and (self.host == other.host or self.ip == other.ip)

    def __hash__(self) -> int:
        return self.port  # few addresses have one in common, and this is asked for again and again

    @property
    def ip(self) -> str:
        """The host as the kernel writes it."""
        if self.host == "localhost":
            return "127.0.0.1"
        return _shortest(self.host) if ":" in self.host else self.host

    def overlaps(self, other: "Address") -> bool:
        """Whether a connection to one can reach a program that listens on the other."""
        if self.port != other.port:
            return False
        hosts = {self.ip, other.ip}
        return len(hosts) == 1 or not hosts.isdisjoint({_EVERY_IPV4, _EVERY_IPV6})


def _shortest(host: str) -> str:
    """Return an IPv6 address in its canonical form; as it is if it is none."""
    from ipaddress import ip_address  # few hosts have such an address

    try:
        return str(ip_address(host))
    except ValueError:
        return host
