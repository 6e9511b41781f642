"""A RabbitMQ server of our own, with its management API, and an epmd that goes with it."""

import os
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceSpec
from reconciler.services.types.rabbitmq.admin import Administration
from reconciler.services.types.rabbitmq.amqp import Connection, Login, Refused, connected, short, table
from reconciler.services.types.rabbitmq.provisioner import Rabbitmq
from reconciler.vault.secret import Secret
from tests.servers.adapter import Countdown
from tests.servers.private import Private, installed, listens, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's own % password"
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")


@dataclass(kw_only=True)
class RabbitmqServer:
    type: str = "rabbitmq"
    rejected: str = "rejects user admin"
    requests: int = 2
    place: Private
    port: int
    management_port: int
    environment: Mapping[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def server(self) -> Server:
        """As the host's settings would name it."""
        return Server(
            name="main",
            type="rabbitmq",
            port=self.port,
            user="admin",
            password=Secret(_PASSWORD),
            options={"management_port": self.management_port},
        )

    @property
    def admins(self) -> Mapping[str, Server]:
        return {"all": self.server}

    @property
    def at_socket(self) -> None:
        return None

    def at_port(self, port: int) -> Server:
        return replace(self.server, options={"management_port": port})

    def provisioner(self) -> Rabbitmq:
        return Rabbitmq()

    def mortal(self, countdown: Countdown) -> Rabbitmq:
        return _Mortal(countdown)

    def made(self, service: ServiceSpec) -> list[str]:
        return [each["name"] for each in self.ask("GET", "vhosts").json() if service.id in each["name"]]

    def users(self) -> list[str]:
        return [each["name"] for each in self.ask("GET", "users").json()]

    def has_user(self, user: str) -> bool:
        return self.users().count(user) == 1

    async def store(self, credentials: Credentials) -> None:
        async with connected(login(credentials)) as connection:
            await declare(connection, "work")

    async def opens(self, credentials: Credentials) -> bool:
        try:
            async with connected(login(credentials)):
                return True
        except Refused:
            return False

    def changes(self, grant: Grant, credentials: Credentials) -> Iterator[Callable[[], object]]:
        vhost = credentials["vhost"]
        for method, path, body in (
            ("PUT", f"users/{grant.user}", {"password": "another", "tags": ""}),
            ("DELETE", f"users/{grant.user}", None),
            ("DELETE", f"permissions/{vhost}/{grant.user}", None),
            ("DELETE", f"vhosts/{vhost}", None),
        ):
            yield partial(self.ask, method, path, body)

    def log(self) -> str:
        return self.place.log.read_text(errors="replace")

    def start(self) -> None:
        self.process = self.place.start((_PROGRAMS / "rabbitmq-server",), self.environment)
        self.place.until(self._answers, self.process, within=300)

    def stop(self) -> None:
        assert self.process is not None
        self.place.stop(self.process, signal.SIGTERM)

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """The management API as the admin sees it."""
        url = f"http://127.0.0.1:{self.management_port}/api/{path}"
        return httpx.request(method, url, json=body, auth=("admin", _PASSWORD), trust_env=False, timeout=30)

    def _answers(self) -> bool:
        if not listens(self.port):
            return False
        try:
            return self.ask("GET", "overview").status_code == 200
        except httpx.HTTPError:
            return False


class _Counted:
    """An administration whose calls count down."""

    def __init__(self, broker: Administration, countdown: Countdown) -> None:
        self._broker = broker
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:
        done = getattr(self._broker, name)

        async def counted(*arguments: Any) -> Any:
            self._countdown.step()
            return await done(*arguments)

        return counted


class _Mortal(Rabbitmq):
    """Counts its calls down."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__()
        self._countdown = countdown

    @asynccontextmanager
    async def _administration(self, server: Server) -> AsyncIterator[Administration]:
        async with super()._administration(server) as broker:
            yield _Counted(broker, self._countdown)


def login(credentials: Credentials, **other: Any) -> Login:
    how = {name: credentials[name] for name in ("host", "port", "user", "password", "vhost")}
    return Login(**{**how, **other})


async def declare(connection: Connection, queue: str) -> None:
    """Open the channel and make a queue that outlives the server."""
    await connection.send((20, 10), short(""), channel=1)
    await connection.receive((20, 11))
    await connection.send((50, 10), struct.pack(">H", 0) + short(queue) + b"\x02" + table(b""), channel=1)
    await connection.receive((50, 11))


@contextmanager
def rabbitmq_server() -> Iterator[RabbitmqServer]:
    installed("rabbitmq")
    with private("rabbitmq") as place:
        port, management_port, names, distribution = a_port(), a_port(), a_port(), a_port()
        (place.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{port}\n"
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {management_port}\n"
            f"default_user = admin\ndefault_pass = {_PASSWORD}\n"
            "disk_free_limit.absolute = 1MB\nlog.console = true\nlog.console.level = info\n"
        )
        (place.directory / "plugins").write_text("[rabbitmq_management].\n")
        environment = {
            "RABBITMQ_CONFIG_FILE": str(place.directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(place.directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place.directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(place.directory / "data"),
            "RABBITMQ_LOG_BASE": str(place.directory / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(place.directory / "pid"),
            "RABBITMQ_NODENAME": f"private{os.getpid()}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution),
            "ERL_EPMD_PORT": str(names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false +S 1:1",
            "RUNNING_UNDER_SYSTEMD": "1",  # be the server, not a shell that waits for it
        }
        epmd = place.start(("epmd", "-port", str(names), "-address", "127.0.0.1"), environment)
        place.until(lambda: listens(names), epmd)
        server = RabbitmqServer(place=place, port=port, management_port=management_port, environment=environment)
        server.start()
        yield server
