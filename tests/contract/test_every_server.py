"""What holds for services on every server: interrupted anywhere, at once, changed behind our back, or unreachable."""

import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.services.provisioner import Credentials, Grant, Misconfigured, Server, ServiceError, ServiceSpec
from reconciler.services.types.mysql import session as mysql_session
from reconciler.services.types.postgresql import session as postgresql_session
from reconciler.services.types.rabbitmq import admin as rabbitmq_admin
from reconciler.services.types.redis import session as redis_session
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.adapter import Adapter, Countdown, ever_later
from tests.servers.asked import a_grant, a_service
from tests.servers.mysql import ask as mysql_ask
from tests.servers.postgresql import ask as postgresql_ask
from tests.servers.stories import (
    a_dump_that_cannot_be_written_or_read_is_said_to_be,
    a_port_that_says_nothing,
    a_port_where_nobody_listens,
    cut_short,
    every_step_says,
    fifty_at_once,
    made_by_two_daemons_at_once,
)

_FIXTURES = ("mysql", "postgresql", "redis_server", "rabbitmq")


@pytest.fixture(params=_FIXTURES)
def running(request: pytest.FixtureRequest) -> Adapter:
    found: Adapter = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long for a server."""
    for module, name in (
        (mysql_session, "_CONNECT_S"),
        (postgresql_session, "_CONNECT_S"),
        (redis_session, "_CONNECT_S"),
        (rabbitmq_admin, "_ANSWER_S"),
    ):
        monkeypatch.setattr(module, name, 2)


# The tests of each type cancel every day what it alone does; what all do is killed every day and cancelled nightly.
interrupted = pytest.mark.parametrize(
    "cancelled", [pytest.param(False, id="killed"), pytest.param(True, id="cancelled", marks=pytest.mark.nightly)]
)


def an_admin(running: Adapter, *, cancelled: bool) -> Server:
    """The mightiest admin is killed, the least one is cancelled."""
    admins = tuple(running.admins.values())
    return admins[-1] if cancelled else admins[0]


async def bound(running: Adapter, server: Server) -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server), a_grant()
    await running.provisioner().provision(service)
    return service, grant, await running.provisioner().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(running: Adapter) -> None:
    for server in running.admins.values():
        service, grant, credentials = await bound(running, server)
        made = running.made(service)
        await running.provisioner().provision(service)
        assert await running.provisioner().bind(service, grant) == credentials
        assert running.made(service) == made
        assert running.has_user(grant.user)
        assert await running.provisioner().verify(service, grant, credentials) is None
        assert {"name", "hostname", "host", "port", "user", "username", "password", "uri"} <= credentials.keys()
        assert credentials["password"] == grant.password.reveal()
        assert credentials["port"] == running.port


@pytest.mark.parametrize("name", ["pg-db", "amq-gen", "mysql", "postgres", "9", "select", "x" * 63, "pg-" + "x" * 60])
@on_the_loop
async def test_a_service_may_have_any_name(running: Adapter, name: str) -> None:
    """Also one that begins with what the server keeps for itself, or that is a word of its language."""
    service, grant = a_service(running.server, name), a_grant()
    await running.provisioner().provision(service)
    credentials = await running.provisioner().bind(service, grant)
    assert await running.provisioner().verify(service, grant, credentials) is None
    await running.provisioner().unbind(service, grant)
    await running.provisioner().deprovision(service)


@interrupted
@on_the_loop
async def test_provision_and_bind_end_well_wherever_they_were_interrupted(running: Adapter, cancelled: bool) -> None:
    for number in ever_later():
        service, grant = a_service(an_admin(running, cancelled=cancelled)), a_grant()
        countdown = Countdown(number, cancelled=cancelled)
        mortal = running.mortal(countdown)
        await cut_short(mortal.provision(service))
        if countdown.left > 0:
            await cut_short(mortal.bind(service, grant))
        await running.provisioner().provision(service)
        credentials = await running.provisioner().bind(service, grant)
        assert running.has_user(grant.user)
        await running.store(credentials)
        if countdown.left > 0:
            assert number > running.requests
            break


@interrupted
@on_the_loop
async def test_unbind_and_deprovision_end_well_wherever_they_were_interrupted(
    running: Adapter, cancelled: bool
) -> None:
    for number in ever_later():
        service, grant, credentials = await bound(running, an_admin(running, cancelled=cancelled))
        await running.store(credentials)
        countdown = Countdown(number, cancelled=cancelled)
        mortal = running.mortal(countdown)
        await cut_short(mortal.unbind(service, grant))
        await running.provisioner().unbind(service, grant)
        assert not await running.opens(credentials)
        if countdown.left > 0:
            await cut_short(mortal.deprovision(service))
        await running.provisioner().deprovision(service)
        assert running.made(service) == []
        assert not running.has_user(grant.user)
        if countdown.left > 0:
            assert number > running.requests
            break


@on_the_loop
async def test_what_somebody_changed_is_noticed_and_set_right(running: Adapter) -> None:
    for server in running.admins.values():
        service, grant, credentials = await bound(running, server)
        kind = running.provisioner()
        for change in running.changes(grant, credentials):
            change()
            wrong = await kind.verify(service, grant, credentials)
            assert wrong is not None, change
            assert grant.password.reveal() not in wrong
            assert await kind.bind(service, grant) == credentials
            assert await kind.verify(service, grant, credentials) is None, change


@on_the_loop
async def test_fifty_at_once(running: Adapter) -> None:
    await fifty_at_once(running.provisioner(), running.server)


@on_the_loop
async def test_two_daemons_doing_the_same_at_once_make_one(running: Adapter) -> None:
    for server in running.admins.values():
        assert await running.opens(await made_by_two_daemons_at_once(running.provisioner, server))


@on_the_loop
async def test_a_server_that_is_down_is_said_to_be(running: Adapter) -> None:
    server = running.at_socket
    if server is None:
        pytest.skip("it listens at ports only, and starts slowly")
    service, grant, credentials = await bound(running, server)
    running.stop()
    kind = running.provisioner()
    try:
        down = f"{running.type} server main \\({server.host}.*\\) refused the connection"
        await every_step_says(down, kind, service, grant, credentials, sized=running.type != "redis")
    finally:
        running.start()
    assert await kind.verify(service, grant, credentials) is None


@on_the_loop
async def test_a_port_where_nobody_listens_is_said_to_refuse(running: Adapter) -> None:
    with (
        a_port_where_nobody_listens() as port,
        pytest.raises(ServiceError, match=f"{running.type} server main \\(127.0.0.1:{port}\\) refused the connection"),
    ):
        await running.provisioner().provision(a_service(running.at_port(port)))


@on_the_loop
@pytest.mark.usefixtures("hasty")
async def test_a_server_that_says_nothing_is_not_waited_for(running: Adapter) -> None:
    with a_port_that_says_nothing() as port, pytest.raises(ServiceError, match="did not answer"):
        await running.provisioner().provision(a_service(running.at_port(port)))


@on_the_loop
async def test_an_admin_who_is_rejected_is_told_so_without_the_password(running: Adapter) -> None:
    wrong = Secret("wrong-and-secret")
    with pytest.raises(ServiceError, match=running.rejected) as rejected:
        await running.provisioner().provision(a_service(replace(running.server, password=wrong)))
    assert wrong.reveal() not in "".join(traceback.format_exception(rejected.value))


@on_the_loop
async def test_the_servers_log_never_has_a_password(running: Adapter) -> None:
    service, grant, credentials = await bound(running, running.server)
    await running.store(credentials)
    await running.provisioner().bind(service, grant)
    log = running.log()
    if log is None:
        pytest.skip("it writes nothing down about users")
    assert grant.user in log
    assert grant.password.reveal() not in log
    assert grant.password.reveal()[:24] not in log


@interrupted
@on_the_loop
async def test_a_backup_is_verified_apart_from_the_data_and_nothing_of_it_stays(
    running: Adapter, tmp_path: Path, cancelled: bool
) -> None:
    if running.type == "rabbitmq":
        pytest.skip("it has no backups")
    service, _, credentials = await bound(running, an_admin(running, cancelled=cancelled))
    await running.store(credentials)
    if running.type == "postgresql":
        postgresql_ask(credentials, "INSERT INTO posts VALUES (1), (2)")
    elif running.type == "mysql":
        mysql_ask(credentials, "INSERT INTO posts VALUES (1), (2)")
    kind = running.provisioner()
    await kind.back_up(service, tmp_path / "dump")
    made = running.made(service)
    counted = await kind.verify_backup(service, tmp_path / "dump", scratch_in(tmp_path, 0))
    assert counted == ({"keys": 1} if running.type == "redis" else {"tables": 1, "rows": 2})
    assert running.made(service) == made
    for number in ever_later():
        countdown = Countdown(number, cancelled=cancelled)
        mortal = running.mortal(countdown)
        await cut_short(mortal.verify_backup(service, tmp_path / "dump", scratch_in(tmp_path, number)))
        await running.provisioner().remove_scratch(service)
        if running.type != "redis":  # there it expires
            assert running.made(service) == made
        assert await running.opens(credentials)
        if countdown.left > 0:
            break
    (tmp_path / "half").write_bytes((tmp_path / "dump").read_bytes()[: (tmp_path / "dump").stat().st_size // 2])
    with pytest.raises(ServiceError):
        await running.provisioner().verify_backup(service, tmp_path / "half", scratch_in(tmp_path, -1))
    assert await running.opens(credentials)


def scratch_in(directory: Path, number: int) -> Path:
    made = directory / f"scratch{number}"
    made.mkdir()
    return made


@on_the_loop
async def test_a_dump_that_cannot_be_written_or_read_is_said_to_be(running: Adapter, tmp_path: Path) -> None:
    service, _, credentials = await bound(running, running.server)
    if running.type == "rabbitmq":
        with pytest.raises(Misconfigured, match="messages"):
            await running.provisioner().back_up(service, tmp_path / "dump")
        return
    await a_dump_that_cannot_be_written_or_read_is_said_to_be(running.provisioner(), service, tmp_path)
    assert await running.opens(credentials)
