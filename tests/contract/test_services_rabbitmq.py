"""RabbitMQ for real: a virtual host for each service, and users who may enter that one only."""

import asyncio
import struct
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from reconciler.services.provisioner import Credentials, Grant, Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.services.types.rabbitmq.amqp import Connection, Refused, connected, short, table
from reconciler.services.types.rabbitmq.provisioner import Rabbitmq
from tests.contract.machine import on_the_loop
from tests.servers.asked import a_grant, a_service
from tests.servers.rabbitmq import RabbitmqServer, declare, login
from tests.servers.stories import a_port_where_nobody_listens


async def waiting(connection: Connection, queue: str) -> None:
    """See that a queue is there."""
    await connection.send((20, 10), short(""), channel=1)
    await connection.receive((20, 11))
    await connection.send((50, 10), struct.pack(">H", 0) + short(queue) + b"\x01" + table(b""), channel=1)
    await connection.receive((50, 11))


async def bound(server: Server, name: str = "queue") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Rabbitmq().provision(service)
    return service, grant, await Rabbitmq().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(rabbitmq: RabbitmqServer) -> None:
    service, grant, credentials = await bound(rabbitmq.server)
    await Rabbitmq().provision(service)
    assert await Rabbitmq().bind(service, grant) == credentials
    name = f"queue_{service.id}"
    assert rabbitmq.made(service) == [name]
    assert rabbitmq.has_user(grant.user)
    assert await Rabbitmq().verify(service, grant, credentials) is None
    assert await Rabbitmq().size_bytes(service) == 0
    password = grant.password.reveal()
    assert {key: told for key, told in credentials.items() if key not in {"uri", "url"}} == {
        "name": name,
        "vhost": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": rabbitmq.port,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "pass": password,
    }
    assert credentials["uri"] == credentials["url"]


@on_the_loop
async def test_no_app_gets_into_another_ones_vhost(rabbitmq: RabbitmqServer) -> None:
    _, _, theirs = await bound(rabbitmq.server, "theirs")
    _, grant, ours = await bound(rabbitmq.server, "ours")
    for vhost in (theirs["vhost"], "/"):
        with pytest.raises(Refused, match="refused"):
            async with connected(login(ours, vhost=vhost)):
                pass
    for path in ("whoami", "users", "vhosts", f"queues/{theirs['vhost']}"):
        answer = httpx.get(
            f"http://127.0.0.1:{rabbitmq.management_port}/api/{path}",
            auth=(grant.user, grant.password.reveal()),
            trust_env=False,
        )
        assert answer.status_code == 401


@on_the_loop
async def test_a_rotation_loses_nothing_and_locks_the_first_out(rabbitmq: RabbitmqServer) -> None:
    service, first, before = await bound(rabbitmq.server)
    after = await Rabbitmq().bind(service, a_grant())
    async with connected(login(after)) as stays:
        with suppress(Refused):  # it cannot say goodbye
            async with asyncio.timeout(60), connected(login(before)) as inside:
                await declare(inside, "work")
                await Rabbitmq().unbind(service, first)
                with pytest.raises(Refused):
                    await inside.receive()
        with pytest.raises(Refused, match="ACCESS_REFUSED"):
            async with connected(login(before)):
                pass
        await waiting(stays, "work")


@on_the_loop
async def test_rabbitmqctl_does_the_same(rabbitmq: RabbitmqServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (*rabbitmq.environment.items(), ("HOME", str(rabbitmq.place.directory))):
        monkeypatch.setenv(name, value)
    options = {
        "rabbitmqctl": "/usr/lib/rabbitmq/bin/rabbitmqctl",
        "node": rabbitmq.environment["RABBITMQ_NODENAME"],
    }
    server = replace(rabbitmq.server, user=None, password=None, options=options)
    service, grant, credentials = await bound(server)
    assert await Rabbitmq().verify(service, grant, credentials) is None
    assert await Rabbitmq().size_bytes(service) == 0
    await Rabbitmq().unbind(service, grant)
    assert not rabbitmq.has_user(grant.user)
    await Rabbitmq().unbind(service, grant)
    await Rabbitmq().deprovision(service)
    assert rabbitmq.made(service) == []
    await Rabbitmq().deprovision(service)


@on_the_loop
async def test_what_it_cannot_do_it_says(rabbitmq: RabbitmqServer, tmp_path: Path) -> None:
    service, _, credentials = await bound(rabbitmq.server)
    with pytest.raises(Misconfigured, match="messages"):
        await Rabbitmq().back_up(service, tmp_path / "dump")
    with pytest.raises(Misconfigured, match="messages"):
        await Rabbitmq().restore(service, tmp_path / "dump")
    with pytest.raises(Misconfigured, match="no client"):
        Rabbitmq().client(service, credentials)


@on_the_loop
async def test_a_port_where_nobody_listens_is_said_to_refuse(rabbitmq: RabbitmqServer) -> None:
    service, grant, credentials = await bound(rabbitmq.server)
    with a_port_where_nobody_listens() as port:
        said = f"rabbitmq server main \\(127.0.0.1:{port}\\) refused the connection"
        server = replace(rabbitmq.server, options={"management_port": port})
        with pytest.raises(ServiceError, match=said):
            await Rabbitmq().provision(a_service(server))
        with pytest.raises(ServiceError, match=said):
            await Rabbitmq().verify(service, grant, {**credentials, "port": port})
