"""MariaDB for real: one database and one user however often it is interrupted, and nobody in another's."""

from dataclasses import replace
from pathlib import Path

import pymysql
import pytest

from reconciler.services.provisioner import Credentials, Grant, Server, ServiceError, ServiceSpec
from reconciler.services.types.mysql.provisioner import Mysql
from reconciler.vault.secret import Secret
from tests.contract.machine import on_the_loop
from tests.servers.adapter import Countdown, ever_later
from tests.servers.asked import a_grant, a_service
from tests.servers.mysql import MysqlServer, ask, connect, is_refused
from tests.servers.stories import (
    cut_short,
    said_by,
)


@pytest.fixture(params=["all", "least"])
def server(mysql: MysqlServer, request: pytest.FixtureRequest) -> Server:
    """The admin may do everything, or what the documentation says it must."""
    return mysql.admins[request.param]


interrupted = pytest.mark.parametrize(
    ("who", "cancelled"), [pytest.param("all", False, marks=pytest.mark.nightly), ("least", True)]
)


async def bound(server: Server, name: str = "blog-db") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Mysql().provision(service)
    return service, grant, await Mysql().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(mysql: MysqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    await Mysql().provision(service)
    assert await Mysql().bind(service, grant) == credentials
    name = f"blog_db_{service.id}"
    assert mysql.made(service) == [name]
    assert mysql.users(grant.user) == [(grant.user, "%")]
    assert ask(credentials, "SELECT database(), @@character_set_database") == [(name, "utf8mb4")]
    assert await Mysql().verify(service, grant, credentials) is None
    assert {key: told for key, told in credentials.items() if key != "uri"} == {
        "name": name,
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": mysql.port,
        "user": grant.user,
        "username": grant.user,
        "password": grant.password.reveal(),
    }


@interrupted
@on_the_loop
async def test_unbind_ends_well_wherever_it_was_interrupted(mysql: MysqlServer, who: str, cancelled: bool) -> None:
    service, _, stays = await bound(mysql.admins[who])
    for number in ever_later():
        grant, countdown = a_grant(), Countdown(number, cancelled=cancelled)
        leaves = await Mysql().bind(service, grant)
        inside = connect(leaves)
        await cut_short(mysql.mortal(countdown).unbind(service, grant))
        await Mysql().unbind(service, grant)
        with pytest.raises(pymysql.OperationalError):
            inside.query("SELECT 1")
        assert mysql.users(grant.user) == []
        assert is_refused(leaves)
        assert ask(stays, "SELECT 1") == [(1,)]
        if countdown.left > 0:
            assert number > 4
            break


@interrupted
@on_the_loop
async def test_a_restore_done_again_is_whole_wherever_it_was_interrupted(
    mysql: MysqlServer, who: str, tmp_path: Path, cancelled: bool
) -> None:
    service, _, credentials = await bound(mysql.admins[who])
    ask(credentials, "CREATE TABLE posts (said text)", "INSERT INTO posts VALUES ('hello')")
    await Mysql().back_up(service, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    for number in ever_later():
        countdown = Countdown(number, cancelled=cancelled)
        await cut_short(mysql.mortal(countdown).restore(service, tmp_path / "dump"))
        if countdown.left > 0:
            assert number > 10
            break
    assert ask(credentials, "SELECT said FROM posts") == [("hello",)]
    assert mysql.made(service) == [f"blog_db_{service.id}"]
    assert mysql.users(f"restore_{service.id}") == []
    assert [file.name for file in tmp_path.iterdir()] == ["dump"]


@on_the_loop
async def test_what_was_dumped_comes_back_in_another_service(
    mysql: MysqlServer, server: Server, tmp_path: Path
) -> None:
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
    definers = mysql.ask(f"SELECT definer FROM information_schema.views WHERE table_schema = '{again['name']}'")
    assert definers == [(f"restore_{other.id}@%",)]
    with pytest.raises(pymysql.OperationalError):
        mysql.connect(user=f"restore_{other.id}", password="")
    await Mysql().deprovision(other)
    assert mysql.users(f"restore_{other.id}") == []


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
async def test_no_app_gets_at_another_ones_data(mysql: MysqlServer, server: Server) -> None:
    _, _, theirs = await bound(server, "theirs")
    ask(theirs, "CREATE TABLE secrets (said text)", "INSERT INTO secrets VALUES ('theirs')")
    _, _, ours = await bound(server, "ours")
    # A grant on a name with bare underscores would open every database it matches as a pattern.
    similar = str(ours["name"]).replace("_", "x")
    mysql.ask(f"CREATE DATABASE {similar}")
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
async def test_a_rotation_loses_nothing_and_locks_the_first_out(mysql: MysqlServer, server: Server) -> None:
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
    assert mysql.users(first.user) == [(first.user, "%")]  # the view runs in its name
    ask(new, "CREATE OR REPLACE VIEW seen AS SELECT said FROM posts")
    await Mysql().unbind(service, first)
    assert mysql.users(first.user) == []


@on_the_loop
async def test_an_admin_who_may_not_is_told_so(mysql: MysqlServer) -> None:
    mysql.ask("CREATE USER nobody IDENTIFIED BY 'nobody'")
    with pytest.raises(ServiceError, match="denies user nobody access"):
        await Mysql().provision(a_service(replace(mysql.server, user="nobody", password=Secret("nobody"))))


@on_the_loop
async def test_the_client_and_the_size_tell_of_the_service(mysql: MysqlServer, server: Server) -> None:
    service, grant, credentials = await bound(server)
    ask(credentials, "CREATE TABLE posts (said text)")
    size = await Mysql().size_bytes(service)
    assert size is not None
    assert size > 1000
    said = said_by(Mysql().client(service, credentials), grant, "-BNe", "SELECT user(), database()")
    assert said.startswith(f"{grant.user}@")
    assert str(credentials["name"]) in said
