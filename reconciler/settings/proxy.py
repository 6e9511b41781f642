"""The proxy of this host, as its settings name it."""

from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.routing.plan import Driver
from reconciler.planning.routing.route import Front

Format: TypeAlias = Literal["nginx", "haproxy", "traefik"]
_PROGRAMS = {"nginx": "nginx", "haproxy": "HAProxy", "traefik": "Traefik"}


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
    with `{app}` for its name; empty for none. Below `static`, static files are laid out for a proxy of the host's,
    `sockets` the directory of the unix sockets at which that reaches apps; None if it dials ports. With `links` a name
    is a link on the disk where that is enough.
    """

    front: Front = field(default_factory=Front)
    run: bool = False
    program: str = ""
    admin: Path = Path("/run/caddy/admin.sock")
    file: ProxyFile | None = None
    domain: str = ""
    settle_s: float = 2.0
    sockets: Path | None = None
    links: bool = False
    static: Path | None = None

    def static_root(self, directory: Path, state_id: Callable[[], str]) -> Path | None:
        """Return where static files are laid out, None if this proxy serves none; `directory` is the daemon's.

        Below one that the settings name it is a directory for this daemon alone, by the id of its state directory.
        """
        if self.no_static:
            return None
        return directory / "static" if self.static is None else self.static / f"reconciler-{state_id()}"

    @property
    def no_static(self) -> str:
        """Why this proxy serves no static files, "" if it does."""
        if self.file is not None and self.file.format != "nginx":
            return f"{_PROGRAMS[self.file.format]} serves no files: leave them to the app, or to Caddy or nginx"
        if not self.run and self.static is None:
            return "requires 'proxy.static' in the host's settings: a directory that the proxy's user can read"
        return ""

    @property
    def driver(self) -> Driver:
        """How the proxy is told."""
        return self.file.format if self.file is not None else "kept" if self.run else "host"
