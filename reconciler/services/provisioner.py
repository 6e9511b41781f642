"""What every kind of service can do; one module beside this one for each.

The daemon chooses every id, user name and password and has them on record before a kind hears of them. So a kind keeps
nothing, and each of its steps may be cancelled or killed anywhere and is then done again with the same arguments: what
it finds half done it finishes, what it finds done it leaves, what it finds changed it sets right.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from reconciler.planning.fingerprint import Json
from reconciler.vault.secret import Secret

Credentials: TypeAlias = Mapping[str, Json]


class ServiceError(Exception):
    """A step did not work, and why, in an operator's words, without a secret; it is tried again later."""


class Misconfigured(ServiceError):
    """What is asked for cannot work before somebody changes a manifest or the host's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server, broker or the like that the host's settings name. `host` may be a socket's directory or path.

    `options` are further settings of its type, validated by the schema; paths in them are absolute.
    """

    name: str
    type: str
    host: str = "127.0.0.1"
    port: int | None = None
    user: str | None = None
    password: Secret | None = None
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSpec:
    """One service as asked for, where it is, and what it is called there.

    `id` is twelve hexadecimal digits, drawn once for the service and kept; with `name` it names everything that is
    made on a server. `server` is None for a kind that needs none. `asked` are the fields of the manifest that only its
    type has. `directory` is the service's own, 0700, and exists.
    """

    id: str
    name: str
    type: str
    plan: str
    server: Server | None
    asked: Mapping[str, Json]
    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One app's access to one service. A rotation makes a second one before the first is taken back.

    `id` is twelve hexadecimal digits, drawn once. `user` fits every server (at most 32 letters, digits and `_`).
    `parameters` are what the app's manifest asks the binding for with; only brokers take such.
    """

    id: str
    app: str
    user: str
    password: Secret
    parameters: Mapping[str, Json] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The program an operator talks to a service with; what opens it is in the environment only."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


class Provisioner(Protocol):
    """One type of service. Raises ServiceError when a step does not work; every step ends within a minute."""

    async def provision(self, service: ServiceSpec) -> None:
        """Make sure that it is there, and that whoever has no grant cannot reach it."""
        ...

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        """Make sure that the grant opens the service and nothing else; returns what the app is to see.

        Keys as Cloud Foundry's apps expect them: v1's and `uri`.
        """
        ...

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        """Use the credentials as the app would: None when they open the service, else what is wrong with them.

        Raises ServiceError when that cannot be found out, as when the server is down.
        """
        ...

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Make sure that the grant opens nothing any more, and that whoever is inside with it is out."""
        ...

    async def deprovision(self, service: ServiceSpec) -> None:
        """Make sure that nothing of it is left."""
        ...

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        """How much it holds, None when its kind cannot say."""
        ...

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Write all it holds to a new file; raises Impossible where its kind has no way."""
        ...

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Replace all it holds by what a dump wrote."""
        ...

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        """How an operator gets inside."""
        ...


def called(service: ServiceSpec, longest: int) -> str:
    """Small letters, digits and `_`, beginning with a letter, at most `longest` bytes; the same for ever."""
    readable = service.name.replace("-", "_")
    if not readable[0].isalpha():
        readable = f"s{readable}"
    return f"{readable[: longest - len(service.id) - 1]}_{service.id}"
