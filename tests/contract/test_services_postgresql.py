"""PostgreSQL for real: one database and one user however often it is interrupted, and nobody in another's."""

from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceError, ServiceSpec
from reconciler.services.types.postgresql.provisioner import Postgresql
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.adapter import Countdown, ever_later
from tests.servers.asked import a_grant, a_service
from tests.servers.postgresql import PostgresqlServer, ask, connect, is_refused
from tests.servers.stories import (
    cut_short,
    said_by,
)


@pytest.fixture(params=["superuser", "least"])
def server(postgresql: PostgresqlServer, request: pytest.FixtureRequest) -> Server:
    """The admin is a superuser, or one who may make roles and databases."""
    return postgresql.admins[request.param]


async def bound(server: Server, name: str = "blog-db") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Postgresql().provision(service)
    return service, grant, await Postgresql().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(postgresql: PostgresqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    await Postgresql().provision(service)
    assert await Postgresql().bind(service, grant) == credentials
    name = f"blog_db_{service.id}"
    assert postgresql.made(service) == [name]
    assert postgresql.has_user(grant.user)
    assert ask(credentials, "SELECT current_user, current_database()") == [(name, name)]
    assert await Postgresql().verify(service, grant, credentials) is None
    assert {key: told for key, told in credentials.items() if key != "uri"} == {
        "name": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": postgresql.port,
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


interrupted = pytest.mark.parametrize(
    ("who", "cancelled"), [pytest.param("superuser", False, marks=pytest.mark.nightly), ("least", True)]
)


@interrupted
@on_the_loop
async def test_unbind_ends_well_wherever_it_was_interrupted(
    postgresql: PostgresqlServer, who: str, cancelled: bool
) -> None:
    server = postgresql.admins[who]
    service, _, stays = await bound(server)
    for number in ever_later():
        grant, countdown = a_grant(), Countdown(number, cancelled=cancelled)
        leaves = await Postgresql().bind(service, grant)
        with connect(leaves) as inside:
            await cut_short(postgresql.mortal(countdown).unbind(service, grant))
            await Postgresql().unbind(service, grant)
            with pytest.raises(psycopg.OperationalError):
                inside.execute("SELECT 1")
        assert not postgresql.has_user(grant.user)
        assert is_refused(leaves)
        assert ask(stays, "SELECT 1") == [(1,)]
        if countdown.left > 0:
            assert number > 4
            break


@interrupted
@on_the_loop
async def test_deprovision_ends_well_wherever_it_was_interrupted(
    postgresql: PostgresqlServer, who: str, cancelled: bool
) -> None:
    server = postgresql.admins[who]
    for number in ever_later():
        countdown = Countdown(number, cancelled=cancelled)
        service, grant, credentials = await bound(server)
        with connect(credentials) as inside:
            inside.execute("CREATE TABLE posts (id int)")
            await cut_short(postgresql.mortal(countdown).deprovision(service))
            await Postgresql().deprovision(service)
        assert postgresql.made(service) == []
        assert not postgresql.has_user(grant.user)
        if countdown.left > 0:
            assert number > 10
            break


@interrupted
@on_the_loop
async def test_a_restore_leaves_the_old_or_the_new_wherever_it_was_interrupted(
    postgresql: PostgresqlServer, who: str, tmp_path: Path, cancelled: bool
) -> None:
    server = postgresql.admins[who]
    service, grant, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts AS SELECT 'new' AS said")
    await Postgresql().back_up(service, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    for number in ever_later():
        countdown = Countdown(number, cancelled=cancelled)
        ask(credentials, "UPDATE posts SET said = 'old'")
        with connect(credentials):
            await cut_short(postgresql.mortal(countdown).restore(service, tmp_path / "dump"))
        await Postgresql().bind(service, grant)  # as the daemon does when it examines the credentials
        ((said, acts_as),) = ask(credentials, "SELECT said, current_user FROM posts")
        assert said in {"old", "new"}
        assert acts_as == f"blog_db_{service.id}"
        if countdown.left > 0:
            assert number > 20
            assert said == "new"
            break
    assert postgresql.databases(service) == [f"blog_db_{service.id}"]
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
async def test_a_dump_that_is_none_changes_nothing(
    postgresql: PostgresqlServer, server: Server, tmp_path: Path
) -> None:
    service, _, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts AS SELECT 1 AS id")
    (tmp_path / "dump").write_text("no dump")
    with pytest.raises(ServiceError, match="pg_restore failed"):
        await Postgresql().restore(service, tmp_path / "dump")
    assert ask(credentials, "SELECT id FROM posts") == [(1,)]


@on_the_loop
async def test_no_app_gets_at_another_ones_data(postgresql: PostgresqlServer, server: Server) -> None:
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
async def test_a_rotation_loses_nothing_and_locks_the_first_out(postgresql: PostgresqlServer, server: Server) -> None:
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
async def test_what_a_user_made_as_itself_stays_with_the_owner(postgresql: PostgresqlServer, server: Server) -> None:
    service, first, old = await bound(server)
    ask(old, f"GRANT CREATE ON SCHEMA public TO {first.user}")
    with connect(old) as inside:
        inside.execute("SET ROLE NONE")
        inside.execute("CREATE TABLE mine AS SELECT 1 AS id")
    new = await Postgresql().bind(service, a_grant())
    postgresql.ask(f"ALTER DATABASE {old['name']} ALLOW_CONNECTIONS false")  # as a restore does that is interrupted
    await Postgresql().unbind(service, first)
    assert not postgresql.has_user(first.user)
    assert ask(new, "SELECT id FROM mine") == [(1,)]


@on_the_loop
async def test_what_somebody_changed_is_told_in_words_and_set_right(
    postgresql: PostgresqlServer, server: Server
) -> None:
    service, grant, credentials = await bound(server)
    name = str(credentials["name"])
    for change, said in (
        (f"ALTER ROLE {grant.user} PASSWORD 'another'", "password"),
        (f"ALTER ROLE {grant.user} NOLOGIN", "may not log in"),
        (f"ALTER ROLE {grant.user} VALID UNTIL '2001-01-01'", "may not log in"),
        (f"REVOKE {name} FROM {grant.user}", "no access"),
        (f"ALTER ROLE {grant.user} IN DATABASE {name} RESET role", "does not act as"),
        (f"DROP OWNED BY {grant.user}; DROP ROLE {grant.user}", "does not exist"),
        (f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", "accepts no connections"),
        (f"DROP DATABASE {name}", "does not exist"),
    ):
        postgresql.ask(change)
        wrong = await Postgresql().verify(service, grant, credentials)
        assert wrong is not None, change
        assert said in wrong
        assert await Postgresql().bind(service, grant) == credentials
        assert await Postgresql().verify(service, grant, credentials) is None, change
    postgresql.ask(f"GRANT ALL ON DATABASE {name} TO PUBLIC")
    await Postgresql().provision(service)
    _, _, others = await bound(server)
    with pytest.raises(psycopg.OperationalError):
        connect(others, dbname=name)


@on_the_loop
async def test_an_admin_who_may_not_is_told_so(postgresql: PostgresqlServer) -> None:
    postgresql.ask("CREATE ROLE nobody LOGIN PASSWORD 'nobody'")
    postgresql.ask("GRANT CONNECT ON DATABASE postgres TO nobody")
    may_not = replace(postgresql.server, user="nobody", password=Secret("nobody"))
    with pytest.raises(ServiceError, match="denies user nobody access: permission denied to create role"):
        await Postgresql().provision(a_service(may_not))


@on_the_loop
async def test_a_socket_is_as_good_as_a_port(postgresql: PostgresqlServer) -> None:
    directory = str(postgresql.place.directory)
    service, grant, credentials = await bound(replace(postgresql.server, host=directory))
    assert credentials["host"] == directory
    assert ask(credentials, "SELECT inet_server_addr()") == [(None,)]
    assert await Postgresql().verify(service, grant, credentials) is None


@on_the_loop
async def test_psql_and_the_size_tell_of_the_service(postgresql: PostgresqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    size = await Postgresql().size_bytes(service)
    assert size is not None
    assert size > 1_000_000
    assert said_by(Postgresql().client(service, credentials), grant, "-Atc", "SELECT session_user") == grant.user
