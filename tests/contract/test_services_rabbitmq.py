"""RabbitMQ for real: a virtual host for each service, and users who may enter that one only."""

import asyncio
import struct
import traceback
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from reconciler.services.provisioner import Credentials, Grant, Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.services.types.rabbitmq import admin, provisioner
from reconciler.services.types.rabbitmq.admin import Administration
from reconciler.services.types.rabbitmq.amqp import Line, Login, Refused, let_in, short, table
from reconciler.services.types.rabbitmq.provisioner import Rabbitmq
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.asked import Killed, a_grant, a_service
from tests.servers.rabbitmq import RabbitmqServer
from tests.servers.rabbitmq import rabbitmq_server as running
from tests.servers.stories import a_port_that_says_nothing, a_port_where_nobody_listens, cut_short, fifty_at_once


@pytest.fixture(scope="module")
def main() -> Iterator[RabbitmqServer]:
    with running() as server:
        yield server


class _Counted:
    """An administration that ends before, or in, its so manieth call."""

    def __init__(self, broker: Administration, mortal: "Mortal") -> None:
        self._broker = broker
        self._mortal = mortal

    def __getattr__(self, name: str) -> Any:
        done = getattr(self._broker, name)

        async def once_more(*arguments: Any) -> Any:
            self._mortal.left -= 1
            if self._mortal.left == 0 and not self._mortal.cancelled:
                raise Killed
            if self._mortal.left == 0:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_later(0.001, task.cancel)
            return await done(*arguments)

        return once_more


class Mortal(Rabbitmq):
    """Dies before its so manieth call, or is cancelled while the server carries it out."""

    def __init__(self, dies_at: int, *, cancelled: bool = False) -> None:
        super().__init__()
        self.left = dies_at
        self.cancelled = cancelled

    @asynccontextmanager
    async def _administration(self, server: Server) -> AsyncIterator[Administration]:
        async with super()._administration(server) as broker:
            yield _Counted(broker, self)


def login(credentials: Credentials, **other: Any) -> Login:
    how = {name: credentials[name] for name in ("host", "port", "user", "password", "vhost")}
    return Login(**{**how, **other})


async def declare(line: Line, queue: str) -> None:
    """Open the channel and make a queue that outlives the server."""
    await line.say((20, 10), short(""), channel=1)
    await line.hear((20, 11))
    await line.say((50, 10), struct.pack(">H", 0) + short(queue) + b"\x02" + table(b""), channel=1)
    await line.hear((50, 11))


async def waiting(line: Line, queue: str) -> None:
    """See that a queue is there."""
    await line.say((20, 10), short(""), channel=1)
    await line.hear((20, 11))
    await line.say((50, 10), struct.pack(">H", 0) + short(queue) + b"\x01" + table(b""), channel=1)
    await line.hear((50, 11))


def made(main: RabbitmqServer, service: ServiceSpec) -> list[str]:
    return [each["name"] for each in main.ask("GET", "vhosts").json() if service.id in each["name"]]


def users(main: RabbitmqServer) -> list[str]:
    return [each["name"] for each in main.ask("GET", "users").json()]


async def bound(server: Server, name: str = "queue") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Rabbitmq().provision(service)
    return service, grant, await Rabbitmq().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(main: RabbitmqServer) -> None:
    service, grant, credentials = await bound(main.server)
    await Rabbitmq().provision(service)
    assert await Rabbitmq().bind(service, grant) == credentials
    name = f"queue_{service.id}"
    assert made(main, service) == [name]
    assert users(main).count(grant.user) == 1
    assert await Rabbitmq().verify(service, grant, credentials) is None
    assert await Rabbitmq().size_bytes(service) == 0
    password = grant.password.reveal()
    assert {key: told for key, told in credentials.items() if key not in {"uri", "url"}} == {
        "name": name,
        "vhost": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": main.port,
        "user": grant.user,
        "username": grant.user,
        "password": password,
        "pass": password,
    }
    assert credentials["uri"] == credentials["url"]


@pytest.mark.parametrize("cancelled", [False, True], ids=["killed", "cancelled"])
@on_the_loop
async def test_every_step_ends_well_wherever_it_was_interrupted(main: RabbitmqServer, cancelled: bool) -> None:
    for number in count(1):
        service, grant, mortal = a_service(main.server), a_grant(), Mortal(number, cancelled=cancelled)

        async def begins(kind: Rabbitmq, service: ServiceSpec, grant: Grant) -> Credentials:
            await kind.provision(service)
            return await kind.bind(service, grant)

        async def ends(kind: Rabbitmq, service: ServiceSpec, grant: Grant) -> None:
            await kind.unbind(service, grant)
            await kind.deprovision(service)

        await cut_short(begins(mortal, service, grant))
        credentials = await begins(Rabbitmq(), service, grant)
        assert made(main, service) == [credentials["vhost"]]
        async with let_in(login(credentials)) as line:
            await declare(line, "work")
        await cut_short(ends(mortal, service, grant))
        await ends(Rabbitmq(), service, grant)
        assert made(main, service) == []
        assert grant.user not in users(main)
        if mortal.left > 0:
            assert number > 5
            break


@on_the_loop
async def test_no_app_gets_into_another_ones_vhost(main: RabbitmqServer) -> None:
    _, _, theirs = await bound(main.server, "theirs")
    _, grant, ours = await bound(main.server, "ours")
    for vhost in (theirs["vhost"], "/"):
        with pytest.raises(Refused, match="refused"):
            async with let_in(login(ours, vhost=vhost)):
                pass
    for path in ("whoami", "users", "vhosts", f"queues/{theirs['vhost']}"):
        answer = httpx.get(
            f"http://127.0.0.1:{main.management_port}/api/{path}",
            auth=(grant.user, grant.password.reveal()),
            trust_env=False,
        )
        assert answer.status_code == 401


@on_the_loop
async def test_a_rotation_loses_nothing_and_locks_the_first_out(main: RabbitmqServer) -> None:
    service, first, before = await bound(main.server)
    after = await Rabbitmq().bind(service, a_grant())
    async with let_in(login(after)) as stays:
        with suppress(Refused):  # it cannot say goodbye
            async with asyncio.timeout(60), let_in(login(before)) as inside:
                await declare(inside, "work")
                await Rabbitmq().unbind(service, first)
                with pytest.raises(Refused):
                    await inside.hear()
        with pytest.raises(Refused, match="ACCESS_REFUSED"):
            async with let_in(login(before)):
                pass
        await waiting(stays, "work")


@on_the_loop
async def test_what_somebody_changed_is_noticed_and_set_right(main: RabbitmqServer) -> None:
    service, grant, credentials = await bound(main.server)
    vhost = credentials["vhost"]
    for method, path, body in (
        ("PUT", f"users/{grant.user}", {"password": "another", "tags": ""}),
        ("DELETE", f"users/{grant.user}", None),
        ("DELETE", f"permissions/{vhost}/{grant.user}", None),
        ("DELETE", f"vhosts/{vhost}", None),
    ):
        assert main.ask(method, path, body).is_success
        wrong = await Rabbitmq().verify(service, grant, credentials)
        assert wrong is not None, path
        assert grant.user in wrong
        assert await Rabbitmq().bind(service, grant) == credentials
        assert await Rabbitmq().verify(service, grant, credentials) is None, path


@on_the_loop
async def test_fifty_at_once(main: RabbitmqServer) -> None:
    await fifty_at_once(Rabbitmq(), main.server)


@on_the_loop
async def test_rabbitmqctl_does_the_same(main: RabbitmqServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (*main.environment.items(), ("HOME", str(main.place.directory))):
        monkeypatch.setenv(name, value)
    options = {
        "rabbitmqctl": "/usr/lib/rabbitmq/bin/rabbitmqctl",
        "node": main.environment["RABBITMQ_NODENAME"],
    }
    server = replace(main.server, user=None, password=None, options=options)
    service, grant, credentials = await bound(server)
    assert await Rabbitmq().verify(service, grant, credentials) is None
    assert await Rabbitmq().size_bytes(service) == 0
    await Rabbitmq().unbind(service, grant)
    assert grant.user not in users(main)
    await Rabbitmq().unbind(service, grant)
    await Rabbitmq().deprovision(service)
    assert made(main, service) == []
    await Rabbitmq().deprovision(service)


@on_the_loop
async def test_an_admin_who_is_refused_is_told_so_without_the_password(main: RabbitmqServer) -> None:
    wrong = Secret("wrong-and-secret")
    with pytest.raises(ServiceError, match="does not let user admin administer it") as refused:
        await Rabbitmq().provision(a_service(replace(main.server, password=wrong)))
    assert wrong.reveal() not in "".join(traceback.format_exception(refused.value))


@on_the_loop
async def test_the_servers_log_never_has_a_password(main: RabbitmqServer) -> None:
    _, grant, credentials = await bound(main.server)
    async with let_in(login(credentials)):
        pass
    log = main.place.log.read_text(errors="replace")
    assert grant.user in log
    assert grant.password.reveal()[:24] not in log


@on_the_loop
async def test_what_it_cannot_do_it_says(main: RabbitmqServer, tmp_path: Path) -> None:
    service, _, credentials = await bound(main.server)
    with pytest.raises(Misconfigured, match="messages"):
        await Rabbitmq().back_up(service, tmp_path / "dump")
    with pytest.raises(Misconfigured, match="messages"):
        await Rabbitmq().restore(service, tmp_path / "dump")
    with pytest.raises(Misconfigured, match="no client"):
        Rabbitmq().client(service, credentials)


@on_the_loop
async def test_a_port_where_nobody_listens_is_said_to_refuse(main: RabbitmqServer) -> None:
    service, grant, credentials = await bound(main.server)
    with a_port_where_nobody_listens() as port:
        said = f"rabbitmq server main \\(127.0.0.1:{port}\\) refused the connection"
        server = replace(main.server, options={"management_port": port})
        with pytest.raises(ServiceError, match=said):
            await Rabbitmq().provision(a_service(server))
        with pytest.raises(ServiceError, match=said):
            await Rabbitmq().verify(service, grant, {**credentials, "port": port})


@on_the_loop
async def test_a_server_that_says_nothing_is_not_waited_for(
    main: RabbitmqServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioner, "_CONNECT_S", 0.5)
    monkeypatch.setattr(admin, "_ANSWER_S", 0.5)
    service, grant, credentials = await bound(main.server)
    with a_port_that_says_nothing() as port:
        with pytest.raises(ServiceError, match="did not answer"):
            await Rabbitmq().provision(a_service(replace(main.server, options={"management_port": port})))
        with pytest.raises(ServiceError, match="did not answer"):
            await Rabbitmq().verify(service, grant, {**credentials, "port": port})
