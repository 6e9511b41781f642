"""The proxy of this host, as its settings name it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.planning.routing.plan import Driver
from reconciler.planning.routing.route import Front

Format: TypeAlias = Literal["nginx", "haproxy", "traefik"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyFile:
    """The file that is written for a proxy, and the commands that check the proxy's configuration and reload it."""

    format: Format
    path: Path
    check: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """The proxy: a Caddy that the daemon keeps (`run`), one of the host at its `admin` socket, or another by a `file`.

    `program` is the Caddy to run, empty to look for one. `domain` is what an app gets whose manifest has no domains,
    with `{app}` for its name; empty for none.
    """

    front: Front = field(default_factory=Front)
    run: bool = False
    program: str = ""
    admin: Path = Path("/run/caddy/admin.sock")
    file: ProxyFile | None = None
    domain: str = ""
    settle_s: float = 2.0

    @property
    def driver(self) -> Driver:
        """How the proxy is told."""
        return self.file.format if self.file is not None else "kept" if self.run else "host"
