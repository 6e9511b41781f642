"""MariaDB for real: one database and one user however often it is interrupted, and nobody in another's."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
import pytest

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceError, ServiceSpec
from reconciler.services.types.mysql import session
from reconciler.services.types.mysql.provisioner import Mysql
from reconciler.services.types.mysql.session import ConnectionParams, Row, Session, opened
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.asked import Killed, a_grant, a_service
from tests.servers.mysql import MysqlServer
from tests.servers.mysql import mysql_server as running
from tests.servers.stories import (
    a_dump_that_cannot_be_written_or_read_is_said_to_be,
    a_port_that_says_nothing,
    a_port_where_nobody_listens,
    cut_short,
    every_step_says,
    fifty_at_once,
    made_by_two_daemons_at_once,
    said_by,
)


@pytest.fixture(scope="module")
def main() -> Iterator[MysqlServer]:
    with running() as server:
        yield server


@pytest.fixture(params=["all", "least"])
def server(main: MysqlServer, request: pytest.FixtureRequest) -> Server:
    """The admin may do everything, or what the documentation says it must."""
    return admin(main, request.param)


def admin(main: MysqlServer, name: str) -> Server:
    return main.server if name == "all" else replace(main.server, user="least", password=Secret("least"))


class Mortal(Mysql):
    """Dies before its so manieth statement, or is cancelled while the server carries it out."""

    def __init__(self, dies_at: int, *, cancelled: bool = False) -> None:
        super().__init__()
        self.left = dies_at
        self.cancelled = cancelled

    @asynccontextmanager
    async def _opened(self, door: ConnectionParams) -> AsyncIterator[Session]:
        async with opened(door) as session:
            ask = session.ask

            async def once_more(statement: str, *values: object) -> Sequence[Row]:
                self.left -= 1
                if self.left == 0 and not self.cancelled:
                    raise Killed
                if self.left == 0:
                    task = asyncio.current_task()
                    assert task is not None
                    asyncio.get_running_loop().call_soon(task.cancel)
                return await ask(statement, *values)

            session.ask = once_more  # type: ignore[method-assign]
            yield session


interrupted = pytest.mark.parametrize(("who", "cancelled"), [("all", False), ("least", True)])


def connect(credentials: Credentials, **other: Any) -> "pymysql.Connection[Any]":
    """As an app does, by its uri."""
    uri = urlsplit(str(credentials["uri"]))
    how: dict[str, Any] = {
        "host": uri.hostname,
        "port": uri.port or 3306,
        "user": unquote(uri.username or ""),
        "password": unquote(uri.password or ""),
        "database": uri.path[1:],
        "autocommit": True,
    }
    if uri.query:
        how["unix_socket"] = unquote(uri.query.removeprefix("unix_socket="))
    return pymysql.connect(**{**how, **other})


def ask(credentials: Credentials, *statements: str, **other: Any) -> list[tuple[Any, ...]]:
    with connect(credentials, **other) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return list(cursor.fetchall())


def is_refused(credentials: Credentials) -> bool:
    try:
        connect(credentials).close()
    except pymysql.OperationalError:
        return True
    return False


def made(main: MysqlServer, service: ServiceSpec) -> list[str]:
    return [name for (name,) in main.ask(f"SHOW DATABASES LIKE '%{service.id}%'")]


def users(main: MysqlServer, *names: str) -> list[tuple[str, str]]:
    listed = ", ".join(f"'{name}'" for name in names)
    return main.ask(f"SELECT user, host FROM mysql.user WHERE user IN ({listed})")


async def bound(server: Server, name: str = "blog-db") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Mysql().provision(service)
    return service, grant, await Mysql().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(main: MysqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    await Mysql().provision(service)
    assert await Mysql().bind(service, grant) == credentials
    name = f"blog_db_{service.id}"
    assert made(main, service) == [name]
    assert users(main, grant.user) == [(grant.user, "%")]
    assert ask(credentials, "SELECT database(), @@character_set_database") == [(name, "utf8mb4")]
    assert await Mysql().verify(service, grant, credentials) is None
    assert {key: told for key, told in credentials.items() if key != "uri"} == {
        "name": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": main.port,
        "user": grant.user,
        "username": grant.user,
        "password": grant.password.reveal(),
    }


@interrupted
@on_the_loop
async def test_provision_and_bind_end_well_wherever_they_were_interrupted(
    main: MysqlServer, who: str, cancelled: bool
) -> None:
    server = admin(main, who)
    for number in count(1):
        service, grant, mortal = a_service(server), a_grant(), Mortal(number, cancelled=cancelled)

        async def story(mortal: Mysql, service: ServiceSpec, grant: Grant) -> Credentials:
            await mortal.provision(service)
            return await mortal.bind(service, grant)

        await cut_short(story(mortal, service, grant))
        credentials = await story(Mysql(), service, grant)
        assert made(main, service) == [f"blog_db_{service.id}"]
        assert users(main, grant.user) == [(grant.user, "%")]
        ask(credentials, "CREATE TABLE posts (id int)")
        if mortal.left > 0:
            assert number > 6
            break


@interrupted
@on_the_loop
async def test_unbind_ends_well_wherever_it_was_interrupted(main: MysqlServer, who: str, cancelled: bool) -> None:
    service, _, stays = await bound(admin(main, who))
    for number in count(1):
        grant, mortal = a_grant(), Mortal(number, cancelled=cancelled)
        leaves = await Mysql().bind(service, grant)
        inside = connect(leaves)
        await cut_short(mortal.unbind(service, grant))
        await Mysql().unbind(service, grant)
        with pytest.raises(pymysql.OperationalError):
            inside.query("SELECT 1")
        assert users(main, grant.user) == []
        assert is_refused(leaves)
        assert ask(stays, "SELECT 1") == [(1,)]
        if mortal.left > 0:
            assert number > 4
            break


@interrupted
@on_the_loop
async def test_deprovision_ends_well_wherever_it_was_interrupted(main: MysqlServer, who: str, cancelled: bool) -> None:
    for number in count(1):
        mortal = Mortal(number, cancelled=cancelled)
        service, grant, credentials = await bound(admin(main, who))
        ask(credentials, "CREATE TABLE posts (id int)", "CREATE VIEW seen AS SELECT id FROM posts")
        await Mysql().unbind(service, grant)
        assert is_refused(credentials)
        await cut_short(mortal.deprovision(service))
        await Mysql().deprovision(service)
        assert made(main, service) == []
        assert users(main, grant.user, f"restore_{service.id}") == []
        if mortal.left > 0:
            assert number > 4
            break


@interrupted
@on_the_loop
async def test_a_restore_done_again_is_whole_wherever_it_was_interrupted(
    main: MysqlServer, who: str, tmp_path: Path, cancelled: bool
) -> None:
    service, _, credentials = await bound(admin(main, who))
    ask(credentials, "CREATE TABLE posts (said text)", "INSERT INTO posts VALUES ('hello')")
    await Mysql().back_up(service, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    for number in count(1):
        mortal = Mortal(number, cancelled=cancelled)
        await cut_short(mortal.restore(service, tmp_path / "dump"))
        if mortal.left > 0:
            assert number > 10
            break
    assert ask(credentials, "SELECT said FROM posts") == [("hello",)]
    assert made(main, service) == [f"blog_db_{service.id}"]
    assert users(main, f"restore_{service.id}") == []
    assert [file.name for file in tmp_path.iterdir()] == ["dump"]


@on_the_loop
async def test_what_was_dumped_comes_back_in_another_service(main: MysqlServer, server: Server, tmp_path: Path) -> None:
    service, _, credentials = await bound(server)
    ask(
        credentials,
        "CREATE TABLE posts (id int AUTO_INCREMENT PRIMARY KEY, said text)",
        "INSERT INTO posts (said) VALUES ('/*!50013 DEFINER=`a`@`b` */ \\nCREATE DEFINER=`a`@`b` \U0001f600')",
        "CREATE VIEW seen AS SELECT said FROM posts",
        "CREATE TRIGGER loud BEFORE INSERT ON posts FOR EACH ROW SET NEW.said = upper(NEW.said)",
        "CREATE PROCEDURE clear() DELETE FROM posts",
        "CREATE EVENT later ON SCHEDULE AT '2030-01-01' DO DELETE FROM posts",
    )
    kept = ask(credentials, "SELECT said FROM seen")
    await Mysql().back_up(service, tmp_path / "dump")
    await Mysql().deprovision(service)
    other, _, again = await bound(server)
    await Mysql().restore(other, tmp_path / "dump")
    assert ask(again, "SELECT said FROM seen") == kept
    assert ask(again, "INSERT INTO posts (said) VALUES ('more')", "SELECT said FROM posts WHERE id = 2") == [("MORE",)]
    ask(again, "ALTER TABLE posts ADD at datetime")
    ask(again, "CALL clear()")
    definers = main.ask(f"SELECT definer FROM information_schema.views WHERE table_schema = '{again['name']}'")
    assert definers == [(f"restore_{other.id}@%",)]
    with pytest.raises(pymysql.OperationalError):
        main.connect(user=f"restore_{other.id}", password="")
    await Mysql().deprovision(other)
    assert users(main, f"restore_{other.id}") == []


@on_the_loop
async def test_a_dump_that_is_none_or_does_more_changes_nothing(server: Server, tmp_path: Path) -> None:
    service, _, credentials = await bound(server)
    _, _, theirs = await bound(server)
    ask(credentials, "CREATE TABLE posts (said text)")
    for dump in ("no dump", "CREATE USER more", f"USE {theirs['name']};", f"\\! touch {tmp_path}/touched\n"):
        (tmp_path / "dump").write_text(dump)
        with pytest.raises(ServiceError, match="failed"):
            await Mysql().restore(service, tmp_path / "dump")
        assert ask(credentials, "SELECT said FROM posts") == []
    assert not (tmp_path / "touched").exists()


@on_the_loop
async def test_no_app_gets_at_another_ones_data(main: MysqlServer, server: Server) -> None:
    _, _, theirs = await bound(server, "theirs")
    ask(theirs, "CREATE TABLE secrets (said text)", "INSERT INTO secrets VALUES ('theirs')")
    _, _, ours = await bound(server, "ours")
    # A grant on a name with bare underscores would open every database it matches as a pattern.
    similar = str(ours["name"]).replace("_", "x")
    main.ask(f"CREATE DATABASE {similar}")
    for database in (theirs["name"], similar, "mysql"):
        with pytest.raises(pymysql.OperationalError):
            connect(ours, database=database)
    assert ask(ours, "SELECT 1 FROM information_schema.tables WHERE table_name = 'secrets'") == []
    assert [name for (name,) in ask(ours, "SHOW DATABASES")] == ["information_schema", ours["name"]]
    with connect(theirs) as inside, inside.cursor() as cursor:
        cursor.execute("SELECT connection_id()")
        ((number,),) = cursor.fetchall()
        for statement in (
            "CREATE DATABASE more",
            "CREATE USER more",
            f"SELECT * FROM {theirs['name']}.secrets",
            f"DROP DATABASE {theirs['name']}",
            f"ALTER USER `{theirs['user']}`@`%` IDENTIFIED BY 'mine'",
            f"GRANT ALL ON {ours['name']}.* TO `{theirs['user']}`@`%`",
            f"SHOW GRANTS FOR `{theirs['user']}`@`%`",
            "SELECT user FROM mysql.user",
            "SELECT 1 INTO OUTFILE '/tmp/reconciler-outfile'",
            "SET GLOBAL max_connections = 1",
            "CREATE DEFINER=`admin`@`%` VIEW more AS SELECT 1",
            f"KILL {number}",
        ):
            with pytest.raises(pymysql.Error):
                ask(ours, statement)
        inside.query("SELECT 1")


@on_the_loop
async def test_a_rotation_loses_nothing_and_locks_the_first_out(main: MysqlServer, server: Server) -> None:
    service, first, old = await bound(server)
    ask(old, "CREATE TABLE posts (said text)", "INSERT INTO posts VALUES ('hello')")
    ask(old, "CREATE VIEW seen AS SELECT said FROM posts")
    second = a_grant()
    new = await Mysql().bind(service, second)
    inside = connect(old)
    await Mysql().unbind(service, first)
    with pytest.raises(pymysql.OperationalError):
        inside.query("SELECT 1")
    assert is_refused(old)
    ask(new, "ALTER TABLE posts ADD at datetime")
    assert ask(new, "SELECT said FROM seen") == [("hello",)]
    await Mysql().unbind(service, first)
    assert users(main, first.user) == [(first.user, "%")]  # the view runs in its name
    ask(new, "CREATE OR REPLACE VIEW seen AS SELECT said FROM posts")
    await Mysql().unbind(service, first)
    assert users(main, first.user) == []


@on_the_loop
async def test_what_somebody_changed_is_noticed_and_set_right(main: MysqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    name, user = str(credentials["name"]), f"`{grant.user}`@`%`"
    granted = name.replace("_", "\\_")
    for change in (
        f"ALTER USER {user} IDENTIFIED BY 'another'",
        f"ALTER USER {user} ACCOUNT LOCK",
        f"REVOKE ALL PRIVILEGES ON `{granted}`.* FROM {user}",
        f"DROP USER {user}",
        f"DROP DATABASE {name}",
    ):
        main.ask(change)
        wrong = await Mysql().verify(service, grant, credentials)
        assert wrong is not None, change
        assert grant.user in wrong
        assert grant.password.reveal() not in wrong
        assert await Mysql().bind(service, grant) == credentials
        assert await Mysql().verify(service, grant, credentials) is None, change


@on_the_loop
async def test_fifty_at_once(main: MysqlServer) -> None:
    await fifty_at_once(Mysql(), main.server)


@on_the_loop
async def test_two_daemons_doing_the_same_at_once_make_one(main: MysqlServer, server: Server) -> None:
    made_once = await made_by_two_daemons_at_once(Mysql, server)
    assert ask(made_once, "SELECT 1") == [(1,)]


@on_the_loop
async def test_a_server_that_is_down_is_said_to_be(main: MysqlServer) -> None:
    service, grant, credentials = await bound(replace(main.server, host=str(main.socket)))
    down = f"mysql server main \\({main.socket}\\) refused the connection"
    main.stop()
    kind = Mysql()
    try:
        await every_step_says(down, kind, service, grant, credentials)
    finally:
        main.start()
    assert await Mysql().verify(service, grant, credentials) is None


@on_the_loop
async def test_a_port_where_nobody_listens_is_said_to_refuse(main: MysqlServer) -> None:
    with (
        a_port_where_nobody_listens() as port,
        pytest.raises(ServiceError, match=f"mysql server main \\(127.0.0.1:{port}\\) refused the connection"),
    ):
        await Mysql().provision(a_service(replace(main.server, port=port)))


@on_the_loop
async def test_a_server_that_says_nothing_is_not_waited_for(main: MysqlServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_CONNECT_S", 1)
    with a_port_that_says_nothing() as port:
        server = replace(main.server, port=port)
        with pytest.raises(ServiceError, match="did not answer within 1 s"):
            await Mysql().provision(a_service(server))


@on_the_loop
async def test_an_admin_who_is_refused_or_may_not_is_told_so_without_the_password(main: MysqlServer) -> None:
    wrong = Secret("wrong-and-secret")
    with pytest.raises(ServiceError, match="does not allow this to user admin") as refused:
        await Mysql().provision(a_service(replace(main.server, password=wrong)))
    assert wrong.reveal() not in "".join(traceback.format_exception(refused.value))
    main.ask("CREATE USER nobody IDENTIFIED BY 'nobody'")
    with pytest.raises(ServiceError, match="does not allow this to user nobody"):
        await Mysql().provision(a_service(replace(main.server, user="nobody", password=Secret("nobody"))))


@on_the_loop
async def test_the_servers_log_never_has_a_password(main: MysqlServer) -> None:
    _, grant, credentials = await bound(main.server)
    ask(credentials, "SELECT 1")
    log = main.general_log.read_text(errors="replace")
    assert f"ALTER USER `{grant.user}`@`%`" in log
    assert grant.password.reveal()[:24] not in log


@on_the_loop
async def test_the_client_and_the_size_tell_of_the_service(main: MysqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts (said text)")
    size = await Mysql().size_bytes(service)
    assert size is not None
    assert size > 1000
    said = said_by(Mysql().client(service, credentials), grant, "-BNe", "SELECT user(), database()")
    assert said.startswith(f"{grant.user}@")
    assert str(credentials["name"]) in said


@on_the_loop
async def test_a_dump_that_cannot_be_written_or_read_is_said_to_be(main: MysqlServer, tmp_path: Path) -> None:
    service, _, credentials = await bound(main.server)
    await a_dump_that_cannot_be_written_or_read_is_said_to_be(Mysql(), service, tmp_path)
    assert ask(credentials, "SELECT 1") == [(1,)]
