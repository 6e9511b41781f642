"""Credentials from outside: in the manifest, in files, or printed by a command. Nothing is made anywhere.

`credentials` are literal, or `{file: PATH}` each; `credentials_file` is a JSON object or lines of NAME=VALUE; `command`
is an argument list whose output is a JSON object. Of a key that several give, the first of these three counts.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from reconciler.linux.child_processes import running
from reconciler.planning.fingerprint import Json
from reconciler.services.client_of_uri import client_of_uri
from reconciler.services.provisioner import (
    Client,
    Credentials,
    Grant,
    Misconfigured,
    Outdated,
    ServiceError,
    ServiceSpec,
)
from reconciler.vault.dotenv import Unusable
from reconciler.vault.secret_reader import SecretReader

_COMMAND_S = 30.0
_MOST_BYTES = 1024 * 1024


class UserProvided:
    """The kind `user-provided`."""

    async def provision(self, service: ServiceSpec) -> None:
        """There is nothing to make."""

    async def bind(self, service: ServiceSpec, grant: Grant) -> Credentials:  # noqa: ARG002  every app gets the same
        """Return the credentials that the manifest names, read now."""
        return await _credentials(service)

    async def verify(self, service: ServiceSpec, grant: Grant, credentials: Credentials) -> str | None:  # noqa: ARG002
        """Whether it still says the same."""
        if await _credentials(service) == dict(credentials):
            return None
        return Outdated("what they are made from says something else now")

    async def unbind(self, service: ServiceSpec, grant: Grant) -> None:
        """Do nothing: who issued the credentials revokes them."""

    async def deprovision(self, service: ServiceSpec) -> None:
        """Nothing of it is ours."""

    async def size_bytes(self, service: ServiceSpec) -> int | None:  # noqa: ARG002
        return None

    async def back_up(self, service: ServiceSpec, file: Path) -> None:  # noqa: ARG002
        raise Misconfigured(f"{service.name} is user-provided: what it holds is not known here, so it is not backed up")

    async def restore(self, service: ServiceSpec, file: Path) -> None:  # noqa: ARG002
        raise Misconfigured(f"{service.name} is user-provided: what it holds is not known here, so it is not restored")

    async def verify_backup(self, service: ServiceSpec, file: Path, scratch: Path) -> Mapping[str, int]:  # noqa: ARG002
        raise Misconfigured(f"{service.name} is user-provided: what it holds is not known here, so it has no backups")

    async def remove_scratch(self, service: ServiceSpec) -> None:
        """Do nothing: nothing is restored."""

    def client(self, service: ServiceSpec, credentials: Credentials) -> Client:
        """Return the client of the credentials' URI. Raises Misconfigured if there is none."""
        return client_of_uri(service.name, credentials)


async def _credentials(service: ServiceSpec) -> dict[str, Json]:
    asked, found = service.asked, dict[str, Json]()
    try:
        if "command" in asked:
            found |= _object(await _output(asked["command"]), "its command printed")
        if "credentials_file" in asked:
            found |= await service.reader.in_thread(service.reader.fields_of, Path(str(asked["credentials_file"])))
        literal = asked.get("credentials", {})
        found |= await service.reader.in_thread(
            _literal, service.reader, literal if isinstance(literal, Mapping) else {}
        )
    except Unusable as error:
        raise ServiceError(str(error)) from error
    return found


def _literal(reader: SecretReader, asked: Mapping[str, Json]) -> dict[str, Json]:
    return {
        key: reader.value_of(Path(str(given["file"]))) if isinstance(given, Mapping) else given
        for key, given in asked.items()
    }


def _object(text: str, said: str) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # the second where it is nested very deep
        raise ServiceError(f"{said} no JSON") from None
    if not isinstance(found, dict):
        raise ServiceError(f"{said} no JSON object")
    return found


async def _output(command: Json) -> str:
    """Run a command in its own process group and return its output."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    quiet, piped = asyncio.subprocess.DEVNULL, asyncio.subprocess.PIPE
    try:
        async with running(words, _COMMAND_S, stdin=quiet, stdout=piped, stderr=quiet) as process:
            assert process.stdout is not None
            output = await _bounded(process.stdout, words[0])
            status = await process.wait()
    except TimeoutError:
        raise ServiceError(f"its command {words[0]} did not end within {_COMMAND_S:g} s") from None
    except (OSError, TypeError, ValueError) as error:
        raise ServiceError(f"cannot run its command {words[:1]}: {getattr(error, 'strerror', error)}") from error
    if status != 0:
        raise ServiceError(f"its command {words[0]} ended with status {status}")
    return output.decode(errors="replace")


async def _bounded(stream: asyncio.StreamReader, name: str) -> bytes:
    output = b""
    while more := await stream.read(65536):
        output += more
        if len(output) > _MOST_BYTES:
            raise ServiceError(f"its command {name} printed more than 1 MiB")
    return output
