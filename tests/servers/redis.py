"""A Redis server of our own, which asks for a password and keeps its users in a file."""

import socket
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import which
from typing import Any, Self

import redis

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceSpec
from reconciler.services.types.redis.provisioner import Redis
from reconciler.services.types.redis.session import RedisParams, Session, opened
from reconciler.vault.secret import Secret
from tests.servers.adapter import Countdown
from tests.servers.private import Private, installed, listens, private
from tests.support.ports import a_port

_PASSWORD = "the-admin's-own-%-password"
_DEFAULT = "what-everybody-before-6-would-use"


@dataclass(kw_only=True)
class RedisServer:
    type: str = "redis"
    rejected: str = "rejects user admin"
    requests: int = 4
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
    def admins(self) -> Mapping[str, Server]:
        return {"all": self.server}

    @property
    def at_socket(self) -> Server:
        return replace(self.server, host=str(self.socket))

    def at_port(self, port: int) -> Server:
        return replace(self.server, port=port)

    def provisioner(self) -> Redis:
        return Redis()

    def mortal(self, countdown: Countdown) -> Redis:
        return _Mortal(countdown)

    def made(self, service: ServiceSpec) -> list[str]:
        with self.connect() as admin:
            return [key.decode() for key in admin.keys(f"*{service.id}*")]

    def users(self) -> list[str]:
        with self.connect() as admin:
            found: list[str] = admin.acl_users()
            return found

    def has_user(self, user: str) -> bool:
        return self.users().count(user) == 1

    async def store(self, credentials: Credentials) -> None:
        ask(credentials, "SET", "page", "1")

    async def opens(self, credentials: Credentials) -> bool:
        try:
            ask(credentials, "GET", "page")
        except redis.exceptions.AuthenticationError:
            return False
        return True

    def changes(self, grant: Grant, credentials: Credentials) -> Iterator[Callable[[], object]]:
        for change in (
            ("ACL SETUSER", grant.user, "resetpass", ">another"),
            ("ACL SETUSER", grant.user, "off"),
            ("ACL SETUSER", grant.user, "resetkeys"),
            ("ACL SETUSER", grant.user, "-@all"),
            ("ACL DELUSER", grant.user),
        ):
            yield partial(self._do, *change)

    def _do(self, *command: str) -> None:
        with self.connect() as admin:
            admin.execute_command(*command)

    def log(self) -> None:
        return None

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


class _Mortal(Redis):
    """Counts its commands down."""

    def __init__(self, countdown: Countdown) -> None:
        super().__init__()
        self._countdown = countdown

    @asynccontextmanager
    async def _opened(self, params: RedisParams) -> AsyncIterator[Session]:
        async with opened(params) as session:
            do = session.do

            async def counted(*command: str | bytes | int) -> Any:
                self._countdown.step()
                return await do(*command)

            session.do = counted  # type: ignore[method-assign]
            yield session


class App:
    """What an app does with its credentials: keys get the service's prefix."""

    def __init__(self, credentials: Credentials) -> None:
        self.redis = redis.Redis.from_url(str(credentials["uri"]))
        self.prefix = str(credentials.get("prefix", ""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.redis.close()

    def do(self, command: str, key: str, *more: Any) -> Any:
        return self.redis.execute_command(command, f"{self.prefix}{key}", *more)  # type: ignore[no-untyped-call]


def ask(credentials: Credentials, command: str, key: str, *more: Any) -> Any:
    with App(credentials) as app:
        return app.do(command, key, *more)


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    installed("redis")
    with private("redis") as place:
        server = RedisServer(place=place, port=a_port())
        server.start()
        yield server
