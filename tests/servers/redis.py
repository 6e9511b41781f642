"""A Redis server of our own, which asks for a password and keeps its users in a file."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import redis

from reconciler.services.provisioner import Server
from reconciler.vault.secret import Secret
from tests.servers.private import Private, installed, listens, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's-own-%-password"
_DEFAULT = "what-everybody-before-6-would-use"


@dataclass(kw_only=True)
class RedisServer:
    place: Private
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.place.directory / "socket"

    @property
    def server(self) -> Server:
        """As the host's settings would name it."""
        return Server(name="main", type="redis", port=self.port, user="admin", password=Secret(_PASSWORD))

    @property
    def without_users(self) -> Server:
        """As it would be named if it were older than 6."""
        return Server(name="main", type="redis", port=self.port, password=Secret(_DEFAULT))

    def start(self) -> None:
        users = self.place.directory / "users.acl"
        if not users.exists():
            users.write_text(f"user default on >{_DEFAULT} ~* &* +@all\nuser admin on >{_PASSWORD} ~* &* +@all\n")
            users.chmod(0o666)
        self.process = self.place.start(
            [
                *(_program(self.place.directory), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", str(self.socket), "--unixsocketperm", "777", "--dir", str(self.place.directory)),
                *("--aclfile", str(users), "--save", "", "--appendonly", "no", "--daemonize", "no"),
            ]
        )
        self.place.until(lambda: listens(self.port) and self._opens(), self.process)

    def _opens(self) -> bool:
        """Whether somebody answers at the socket, which is opened after the port."""
        with socket.socket(socket.AF_UNIX) as asking:
            return asking.connect_ex(str(self.socket)) == 0

    def stop(self) -> None:
        assert self.process is not None
        self.place.stop(self.process)

    def connect(self, **other: Any) -> "redis.Redis":
        """As the admin, or as somebody else."""
        how = {"host": "127.0.0.1", "port": self.port, "username": "admin", "password": _PASSWORD}
        return redis.Redis(**{**how, **other})


def _program(directory: Path) -> str | Path:
    """Debian's tools hold the server too: what they are is decided by the name they are called by."""
    if (found := which("redis-server")) is not None:
        return found
    link = directory / "redis-server"
    if not link.exists():
        link.symlink_to("/usr/bin/redis-check-rdb")
    return link


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    installed("redis")
    with private("redis") as place:
        server = RedisServer(place=place, port=a_port())
        server.start()
        yield server
