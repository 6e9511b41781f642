"""What must be true of every type of service, told once for all of them: of its kind, and a server that runs."""

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler.services.provisioner import Client, Credentials, Grant, Provisioner, Server, ServiceError, ServiceSpec
from tests.servers.asked import Killed, a_grant, a_service


async def cut_short(story: Coroutine[Any, Any, object]) -> None:
    """Run it until it ends or is interrupted."""
    with suppress(Killed, asyncio.CancelledError):
        await asyncio.ensure_future(story)


async def fifty_at_once(kind: Provisioner, server: Server) -> None:
    async def one() -> None:
        service, grant = a_service(server), a_grant()
        await kind.provision(service)
        credentials = await kind.bind(service, grant)
        assert await kind.verify(service, grant, credentials) is None

    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(one())


async def made_by_two_daemons_at_once(kind: Callable[[], Provisioner], server: Server) -> Credentials:
    """Each does the same; what comes of it is the same for both."""
    service, grant = a_service(server), a_grant()

    async def both() -> Credentials:
        own = kind()
        await own.provision(service)
        return await own.bind(service, grant)

    first, second = await asyncio.gather(both(), both())
    assert first == second
    return first


async def every_step_says(
    said: str, kind: Provisioner, service: ServiceSpec, grant: Grant, credentials: Credentials, *, sized: bool = True
) -> None:
    """No step works, and each says why."""
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: kind.provision(service),
        lambda: kind.bind(service, grant),
        lambda: kind.verify(service, grant, credentials),
        lambda: kind.unbind(service, grant),
        lambda: kind.deprovision(service),
    ]
    if sized:
        steps.append(lambda: kind.size_bytes(service))
    for step in steps:
        with pytest.raises(ServiceError, match=said):
            await step()


@contextmanager
def a_port_where_nobody_listens() -> Iterator[int]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def a_port_that_says_nothing() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


async def a_dump_that_cannot_be_written_or_read_is_said_to_be(
    kind: Provisioner, service: ServiceSpec, place: Path
) -> None:
    """And nothing is left at `place`, an empty directory."""
    with pytest.raises(ServiceError, match=r"cannot write .*nowhere"):
        await kind.back_up(service, place / "nowhere" / "dump")
    with pytest.raises(ServiceError, match=r"cannot read .*nothing"):
        await kind.restore(service, place / "nothing")
    assert list(place.iterdir()) == []


def said_by(client: Client, grant: Grant, *arguments: str) -> str:
    """What the client program says; the password is nowhere where it would be seen."""
    done = subprocess.run(
        [*client.argv, *arguments],
        env={"PATH": os.environ["PATH"], **client.environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert grant.password.reveal() not in repr(client)
    return done.stdout.strip()
