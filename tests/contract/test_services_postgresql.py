"""PostgreSQL for real: one database and one user however often it is interrupted, and nobody in another's."""

import asyncio
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceError, ServiceSpec
from reconciler.services.types.postgresql import session
from reconciler.services.types.postgresql.provisioner import Postgresql
from reconciler.services.types.postgresql.session import ConnectionParams, Row, Session, Statement, opened
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.asked import Killed, a_grant, a_service
from tests.servers.postgresql import PostgresqlServer
from tests.servers.postgresql import postgresql_server as running
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
def main() -> Iterator[PostgresqlServer]:
    with running() as server:
        server.ask("CREATE ROLE least LOGIN CREATEROLE CREATEDB PASSWORD 'least'")
        server.ask("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        server.ask("GRANT CONNECT ON DATABASE postgres TO least")
        yield server


@pytest.fixture(params=["superuser", "least"])
def server(main: PostgresqlServer, request: pytest.FixtureRequest) -> Server:
    """The admin is a superuser, or one who may make roles and databases."""
    return admin(main, request.param)


def admin(main: PostgresqlServer, name: str) -> Server:
    return main.server if name == "superuser" else replace(main.server, user="least", password=Secret("least"))


class Mortal(Postgresql):
    """Dies before its so manieth statement, or is cancelled while the server carries it out."""

    def __init__(self, dies_at: int, *, cancelled: bool = False) -> None:
        super().__init__()
        self.left = dies_at
        self.cancelled = cancelled

    @asynccontextmanager
    async def _opened(self, door: ConnectionParams) -> AsyncIterator[Session]:
        async with opened(door) as session:
            ask = session.ask

            async def once_more(statement: Statement, values: Mapping[str, object] | None = None) -> Sequence[Row]:
                self.left -= 1
                if self.left == 0 and not self.cancelled:
                    raise Killed
                if self.left == 0:
                    task = asyncio.current_task()
                    assert task is not None
                    asyncio.get_running_loop().call_soon(task.cancel)
                return await ask(statement, values)

            session.ask = once_more  # type: ignore[method-assign]
            yield session


def connect(credentials: Credentials, **other: Any) -> psycopg.Connection[tuple[Any, ...]]:
    """As an app does, by its uri."""
    return psycopg.connect(str(credentials["uri"]), autocommit=True, **other)


def ask(credentials: Credentials, statement: Any) -> list[tuple[Any, ...]]:
    with connect(credentials) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def is_refused(credentials: Credentials) -> bool:
    try:
        connect(credentials).close()
    except psycopg.OperationalError:
        return True
    return False


def made(main: PostgresqlServer, service: ServiceSpec) -> tuple[list[str], list[str]]:
    """The databases and the roles that have the service's id in their names."""
    like = f"%{service.id}%"
    databases = main.ask("SELECT datname FROM pg_database WHERE datname LIKE %s ORDER BY 1", like)
    roles = main.ask("SELECT rolname FROM pg_roles WHERE rolname LIKE %s ORDER BY 1", like)
    return [name for (name,) in databases], [name for (name,) in roles]


def users(main: PostgresqlServer, *grants: Grant) -> list[str]:
    found = main.ask("SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", [grant.user for grant in grants])
    return [name for (name,) in found]


async def bound(server: Server, name: str = "blog-db") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Postgresql().provision(service)
    return service, grant, await Postgresql().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(main: PostgresqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    await Postgresql().provision(service)
    assert await Postgresql().bind(service, grant) == credentials
    name = f"blog_db_{service.id}"
    assert made(main, service) == ([name], [name])
    assert users(main, grant) == [grant.user]
    assert ask(credentials, "SELECT current_user, current_database()") == [(name, name)]
    assert await Postgresql().verify(service, grant, credentials) is None
    assert {key: told for key, told in credentials.items() if key != "uri"} == {
        "name": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": main.port,
        "user": grant.user,
        "username": grant.user,
        "password": grant.password.reveal(),
    }


@on_the_loop
async def test_a_name_of_any_length_fits(server: Server) -> None:
    service, _, credentials = await bound(server, "9" + "-x" * 31)
    assert len(str(credentials["name"])) <= 63
    assert ask(credentials, "SELECT 1") == [(1,)]
    await Postgresql().deprovision(service)


interrupted = pytest.mark.parametrize(("who", "cancelled"), [("superuser", False), ("least", True)])


@interrupted
@on_the_loop
async def test_provision_and_bind_end_well_wherever_they_were_interrupted(
    main: PostgresqlServer, who: str, cancelled: bool
) -> None:
    server = admin(main, who)
    for number in count(1):
        service, grant, mortal = a_service(server), a_grant(), Mortal(number, cancelled=cancelled)

        async def story(mortal: Postgresql, service: ServiceSpec, grant: Grant) -> Credentials:
            await mortal.provision(service)
            return await mortal.bind(service, grant)

        await cut_short(story(mortal, service, grant))
        credentials = await story(Postgresql(), service, grant)
        name = f"blog_db_{service.id}"
        assert made(main, service) == ([name], [name])
        assert users(main, grant) == [grant.user]
        assert ask(credentials, "SELECT current_user") == [(name,)]
        if mortal.left > 0:
            assert number > 10
            break


@interrupted
@on_the_loop
async def test_unbind_ends_well_wherever_it_was_interrupted(main: PostgresqlServer, who: str, cancelled: bool) -> None:
    server = admin(main, who)
    service, _, stays = await bound(server)
    for number in count(1):
        grant, mortal = a_grant(), Mortal(number, cancelled=cancelled)
        leaves = await Postgresql().bind(service, grant)
        with connect(leaves) as inside:
            await cut_short(mortal.unbind(service, grant))
            await Postgresql().unbind(service, grant)
            with pytest.raises(psycopg.OperationalError):
                inside.execute("SELECT 1")
        assert users(main, grant) == []
        assert is_refused(leaves)
        assert ask(stays, "SELECT 1") == [(1,)]
        if mortal.left > 0:
            assert number > 4
            break


@interrupted
@on_the_loop
async def test_deprovision_ends_well_wherever_it_was_interrupted(
    main: PostgresqlServer, who: str, cancelled: bool
) -> None:
    server = admin(main, who)
    for number in count(1):
        mortal = Mortal(number, cancelled=cancelled)
        service, grant, credentials = await bound(server)
        with connect(credentials) as inside:
            inside.execute("CREATE TABLE posts (id int)")
            await cut_short(mortal.deprovision(service))
            await Postgresql().deprovision(service)
        assert made(main, service) == ([], [])
        assert users(main, grant) == []
        if mortal.left > 0:
            assert number > 10
            break


@interrupted
@on_the_loop
async def test_a_restore_leaves_the_old_or_the_new_wherever_it_was_interrupted(
    main: PostgresqlServer, who: str, tmp_path: Path, cancelled: bool
) -> None:
    server = admin(main, who)
    service, grant, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts AS SELECT 'new' AS said")
    await Postgresql().back_up(service, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    for number in count(1):
        mortal = Mortal(number, cancelled=cancelled)
        ask(credentials, "UPDATE posts SET said = 'old'")
        with connect(credentials):
            await cut_short(mortal.restore(service, tmp_path / "dump"))
        await Postgresql().bind(service, grant)  # as the daemon does when it examines the credentials
        ((said, acts_as),) = ask(credentials, "SELECT said, current_user FROM posts")
        assert said in {"old", "new"}
        assert acts_as == f"blog_db_{service.id}"
        if mortal.left > 0:
            assert number > 20
            assert said == "new"
            break
    assert made(main, service)[0] == [f"blog_db_{service.id}"]
    assert [file.name for file in tmp_path.iterdir()] == ["dump"]


@on_the_loop
async def test_what_was_dumped_comes_back_in_another_service(server: Server, tmp_path: Path) -> None:
    service, _, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts (id serial PRIMARY KEY, said text); COMMENT ON TABLE posts IS 'them'")
    ask(credentials, "INSERT INTO posts (said) VALUES ('hello')")
    await Postgresql().back_up(service, tmp_path / "dump")
    await Postgresql().deprovision(service)
    other, grant, again = await bound(server)
    await Postgresql().restore(other, tmp_path / "dump")
    assert ask(again, "INSERT INTO posts (said) VALUES ('more') RETURNING id") == [(2,)]
    ask(again, "ALTER TABLE posts ADD at timestamptz")
    assert await Postgresql().verify(other, grant, again) is None


@on_the_loop
async def test_a_dump_that_is_none_changes_nothing(main: PostgresqlServer, server: Server, tmp_path: Path) -> None:
    service, _, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts AS SELECT 1 AS id")
    (tmp_path / "dump").write_text("no dump")
    with pytest.raises(ServiceError, match="pg_restore failed"):
        await Postgresql().restore(service, tmp_path / "dump")
    assert ask(credentials, "SELECT id FROM posts") == [(1,)]


@on_the_loop
async def test_no_app_gets_at_another_ones_data(main: PostgresqlServer, server: Server) -> None:
    _, _, theirs = await bound(server, "theirs")
    ask(theirs, "CREATE TABLE secrets AS SELECT 'theirs' AS said")
    _, _, ours = await bound(server, "ours")
    for database in (theirs["name"], "postgres", "template1"):
        with pytest.raises(psycopg.OperationalError):
            connect(ours, dbname=database)
    assert ask(ours, "SELECT 1 FROM information_schema.tables WHERE table_name = 'secrets'") == []
    with connect(theirs) as inside:
        pid = inside.info.backend_pid
        for statement in (
            "CREATE DATABASE more",
            "CREATE ROLE more",
            f"SET ROLE {theirs['name']}",
            f"SET ROLE {theirs['user']}",
            f"SET SESSION AUTHORIZATION {theirs['user']}",
            f"ALTER ROLE {theirs['user']} PASSWORD 'mine'",
            f"ALTER DATABASE {theirs['name']} OWNER TO {ours['name']}",
            f"DROP DATABASE {theirs['name']}",
            f"GRANT {theirs['name']} TO {ours['user']}",
            f"GRANT {ours['name']} TO {theirs['user']}",
            f"GRANT CONNECT ON DATABASE {theirs['name']} TO {ours['user']}",
            "SELECT rolpassword FROM pg_authid",
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO PROGRAM 'true'",
            "CREATE EXTENSION dblink",
            "ALTER SYSTEM SET log_statement = 'none'",
            f"SELECT pg_terminate_backend({pid})",
        ):
            with pytest.raises(psycopg.Error):
                ask(ours, statement)
        assert inside.execute("SELECT said FROM secrets").fetchall() == [("theirs",)]


@on_the_loop
async def test_a_rotation_loses_nothing_and_locks_the_first_out(main: PostgresqlServer, server: Server) -> None:
    service, first, old = await bound(server)
    ask(old, "CREATE TABLE posts (said text); INSERT INTO posts VALUES ('hello')")
    ask(old, "CREATE SCHEMA inner_things; CREATE TABLE inner_things.more AS SELECT 1 AS id")
    new = await Postgresql().bind(service, a_grant())
    assert ask(old, "SELECT said FROM posts") == ask(new, "SELECT said FROM posts") == [("hello",)]
    with connect(old) as inside:
        await Postgresql().unbind(service, first)
        with pytest.raises(psycopg.OperationalError):
            inside.execute("SELECT 1")
    assert is_refused(old)
    ask(new, "ALTER TABLE posts ADD at timestamptz; DROP SCHEMA inner_things CASCADE")
    assert ask(new, "SELECT said FROM posts") == [("hello",)]
    await Postgresql().unbind(service, first)


@on_the_loop
async def test_what_a_user_made_as_itself_stays_with_the_owner(main: PostgresqlServer, server: Server) -> None:
    service, first, old = await bound(server)
    ask(old, f"GRANT CREATE ON SCHEMA public TO {first.user}")
    with connect(old) as inside:
        inside.execute("SET ROLE NONE")
        inside.execute("CREATE TABLE mine AS SELECT 1 AS id")
    new = await Postgresql().bind(service, a_grant())
    main.ask(f"ALTER DATABASE {old['name']} ALLOW_CONNECTIONS false")  # as a restore does that is interrupted
    await Postgresql().unbind(service, first)
    assert users(main, first) == []
    assert ask(new, "SELECT id FROM mine") == [(1,)]


@on_the_loop
async def test_what_somebody_changed_is_noticed_and_set_right(main: PostgresqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    name = str(credentials["name"])
    for change, said in (
        (f"ALTER ROLE {grant.user} PASSWORD 'another'", "password"),
        (f"ALTER ROLE {grant.user} NOLOGIN", "may not log in"),
        (f"ALTER ROLE {grant.user} VALID UNTIL '2001-01-01'", "may not log in"),
        (f"REVOKE {name} FROM {grant.user}", "no right"),
        (f"ALTER ROLE {grant.user} IN DATABASE {name} RESET role", "does not act as"),
        (f"DROP OWNED BY {grant.user}; DROP ROLE {grant.user}", "does not exist"),
        (f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "is closed"),
        (f"DROP DATABASE {name}", "does not exist"),
    ):
        main.ask(change)
        wrong = await Postgresql().verify(service, grant, credentials)
        assert wrong is not None, change
        assert said in wrong
        assert await Postgresql().bind(service, grant) == credentials
        assert await Postgresql().verify(service, grant, credentials) is None, change
    main.ask(f"GRANT ALL ON DATABASE {name} TO PUBLIC")
    await Postgresql().provision(service)
    _, _, others = await bound(server)
    with pytest.raises(psycopg.OperationalError):
        connect(others, dbname=name)


@on_the_loop
async def test_fifty_at_once(main: PostgresqlServer) -> None:
    await fifty_at_once(Postgresql(), main.server)


@on_the_loop
async def test_two_daemons_doing_the_same_at_once_make_one(main: PostgresqlServer, server: Server) -> None:
    made_once = await made_by_two_daemons_at_once(Postgresql, server)
    assert ask(made_once, "SELECT 1") == [(1,)]


@on_the_loop
async def test_a_server_that_is_down_is_said_to_be(main: PostgresqlServer) -> None:
    service, grant, credentials = await bound(replace(main.server, host=str(main.place.directory)))
    down = f"postgresql server main \\({main.place.directory}:{main.port}\\) refused the connection"
    main.stop()
    kind = Postgresql()
    try:
        await every_step_says(down, kind, service, grant, credentials)
    finally:
        main.start()
    assert await Postgresql().verify(service, grant, credentials) is None


@on_the_loop
async def test_a_port_where_nobody_listens_is_said_to_refuse(main: PostgresqlServer) -> None:
    with (
        a_port_where_nobody_listens() as port,
        pytest.raises(ServiceError, match=f"postgresql server main \\(127.0.0.1:{port}\\) refused the connection"),
    ):
        await Postgresql().provision(a_service(replace(main.server, port=port)))


@on_the_loop
async def test_a_server_that_says_nothing_is_not_waited_for(
    main: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_CONNECT_S", 2)
    with a_port_that_says_nothing() as port:
        server = replace(main.server, port=port)
        with pytest.raises(ServiceError, match="did not answer within 2 s"):
            await Postgresql().provision(a_service(server))


@on_the_loop
async def test_an_admin_who_is_refused_or_may_not_is_told_so_without_the_password(main: PostgresqlServer) -> None:
    wrong = Secret("wrong-and-secret")
    with pytest.raises(ServiceError, match="does not let user admin in") as refused:
        await Postgresql().provision(a_service(replace(main.server, password=wrong)))
    assert wrong.reveal() not in "".join(traceback.format_exception(refused.value))
    main.ask("CREATE ROLE nobody LOGIN PASSWORD 'nobody'")
    main.ask("GRANT CONNECT ON DATABASE postgres TO nobody")
    may_not = replace(main.server, user="nobody", password=Secret("nobody"))
    with pytest.raises(ServiceError, match="does not allow this to user nobody: permission denied to create role"):
        await Postgresql().provision(a_service(may_not))


@on_the_loop
async def test_the_servers_log_never_has_a_password(main: PostgresqlServer) -> None:
    service, grant, credentials = await bound(main.server)
    ask(credentials, "SELECT 1")
    await Postgresql().bind(service, grant)
    log = main.place.log.read_text()
    assert f'ALTER ROLE "{grant.user}"' in log
    assert grant.password.reveal() not in log
    assert grant.password.reveal()[:24] not in log


@on_the_loop
async def test_a_socket_is_as_good_as_a_port(main: PostgresqlServer) -> None:
    directory = str(main.place.directory)
    service, grant, credentials = await bound(replace(main.server, host=directory))
    assert credentials["host"] == directory
    assert ask(credentials, "SELECT inet_server_addr()") == [(None,)]
    assert await Postgresql().verify(service, grant, credentials) is None


@on_the_loop
async def test_psql_and_the_size_tell_of_the_service(main: PostgresqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    size = await Postgresql().size_bytes(service)
    assert size is not None
    assert size > 1_000_000
    assert said_by(Postgresql().client(service, credentials), grant, "-Atc", "SELECT session_user") == grant.user


@on_the_loop
async def test_a_dump_that_cannot_be_written_or_read_is_said_to_be(main: PostgresqlServer, tmp_path: Path) -> None:
    service, _, credentials = await bound(main.server)
    await a_dump_that_cannot_be_written_or_read_is_said_to_be(Postgresql(), service, tmp_path)
    assert ask(credentials, "SELECT 1") == [(1,)]
