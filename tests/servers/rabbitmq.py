"""A RabbitMQ server of our own, with its management API, and an epmd that goes with it."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from reconciler.services.provisioner import Server
from reconciler.vault.secret import Secret
from tests.servers.private import Private, installed, listens, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's own % password"
_PROGRAMS = Path("/usr/lib/rabbitmq/bin")


@dataclass(kw_only=True)
class RabbitmqServer:
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

    def start(self) -> None:
        self.process = self.place.start((_PROGRAMS / "rabbitmq-server",), self.environment)
        self.place.until(self._answers, self.process, within=120)

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
