"""The interface of a type of service: provision, bind, verify, unbind, deprovision, back up and restore.

The daemon chooses every id, user name and password and records them before a provisioner receives them. So a
provisioner stores nothing, and each of its methods may be cancelled or killed anywhere and is then repeated with the
same arguments: it completes what is half done, leaves what is done, and repairs what was changed.
"""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Protocol, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json
from reconciler.vault.secret import Secret
from reconciler.vault.secret_reader import SecretReader

Credentials: TypeAlias = Mapping[str, Json]
MOST_CREDENTIALS = 256  # of a service, each of which is a file that is written for its apps before they start


class ServiceError(Exception):
    """An action failed; the message says why, without a secret. It is retried."""


class Misconfigured(ServiceError):
    """A manifest or the host's settings have to be changed before the action can succeed."""


class Outdated(str):
    """Why credentials that may work are bound again all the same: what they are made from says something else."""

    __slots__ = ()


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
    """One service as it is desired: where it is, and its name there.

    `id` is twelve hexadecimal digits, drawn once for the service and kept; with `name` it names everything that is
    made on a server. `server` is None for a kind that needs none. `asked` are the fields of the manifest that only its
    type has. `directory` is the service's own, 0700, and exists. `reader` reads the files that they name.
    """

    id: str
    name: str
    type: str
    plan: str
    server: Server | None
    asked: Mapping[str, Json]
    directory: Path
    reader: SecretReader = field(default_factory=SecretReader)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One app's access to one service. A rotation creates a second grant before it revokes the first.

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
    """The client program of a service; credentials are in its environment only."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)


class Provisioner(Protocol):
    """One type of service. Every method ends within a minute, and raises ServiceError if it fails."""

    async def provision(self, service: ServiceSpec) -> None:
        """Create the service unless it exists, without access for anyone who has no grant."""
        ...

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:
        """Give the grant access to the service and nothing else; return the credentials for the app.

        Keys as Cloud Foundry's apps expect them: v1's and `uri`.
        """
        ...

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:
        """Use the credentials as the app would; return None if they work, else the problem, or why they are Outdated.

        Raises ServiceError when that cannot be found out, as when the server is down.
        """
        ...

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Revoke the grant, and end the sessions that use it."""
        ...

    async def deprovision(self, service: ServiceSpec) -> None:
        """Remove the service and its data."""
        ...

    async def size_bytes(self, service: ServiceSpec) -> int | None:
        """Return the size of the data, None if the type cannot tell."""
        ...

    async def back_up(self, service: ServiceSpec, file: Path) -> None:
        """Write the data to a new file. Raises Misconfigured if the type cannot."""
        ...

    async def restore(self, service: ServiceSpec, file: Path) -> None:
        """Replace the data by that of a backup."""
        ...

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:
        """Restore a backup apart from the service's data, return what was counted there, and remove it.

        `scratch` is an empty directory for files. Returns {"tables": N, "rows": N} or {"keys": N}.
        """
        ...

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Remove from the server what an interrupted `verify_backup` has left there."""
        ...

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        """Return the client program for these credentials."""
        ...


def called(service: ServiceSpec, longest: int, reserved: tuple[str, ...] = ()) -> str:
    """Return the service's name on a server: lowercase letters, digits and `_`, at most `longest` bytes.

    The server keeps names that begin with one of `reserved` for itself. As the name ends with the service's id, it is
    no word of any server's language. A service keeps its name: whatever else is changed here renames what exists.
    """
    readable = service.name.replace("-", "_")
    if not readable[0].isalpha() or readable.startswith(reserved):
        readable = f"s{readable}"
    return f"{readable[: longest - len(service.id) - 1]}_{service.id}"
