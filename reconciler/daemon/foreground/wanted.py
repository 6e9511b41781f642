"""What is to run in the foreground."""

from collections.abc import Container
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App

DEFAULT_PORT = 8000  # as gunicorn has it
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to run of an app in the foreground: its web server, the process of a name, or a command.

    `host` and `port` are where the web server is to listen, None for what its manifest says. The release command runs
    first, if `release` and it has not run yet. What is not `supplied` needs no service and no secret to be prepared.
    """

    app: str
    process: str = ""
    command: tuple[str, ...] = ()
    host: str | None = None
    port: int | None = None
    release: bool = True
    supplied: bool = True

    @property
    def is_web(self) -> bool:
        """Whether it is the web server."""
        return not self.process and not self.command

    def of(self, app: App, leases: Container[str]) -> App:
        """Return the app as it is to be prepared: at its address, with nothing else that it waits for.

        `leases` has the apps whose manifests name no port.
        """
        address = app.address
        if address is not None:
            host, port = address.host, address.port
            if address.path or app.name in leases:
                port = DEFAULT_PORT
            address = Address(host=self.host or (_HOST if address.path else host), port=self.port or port)
        return replace(app, address=address, leased=None, beside=None, depends_on=(), state="running")
