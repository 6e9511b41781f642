"""Redis for real: a user for each grant, who reaches the service's keys and channels and is told of no others."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from reconciler.services.provisioner import Credentials, Grant, Misconfigured, Server, ServiceSpec
from reconciler.services.types.redis import acl
from reconciler.services.types.redis.provisioner import Redis
from tests.contract.machine import on_the_loop
from tests.servers.adapter import Countdown, ever_later
from tests.servers.asked import a_grant, a_service
from tests.servers.redis import App, RedisServer, ask
from tests.servers.stories import (
    cut_short,
    every_step_says,
    said_by,
)


@pytest.fixture
def old(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The same server, taken for one that knows no users."""
    monkeypatch.setattr(acl, "ACL_SINCE", (99,))
    return redis_server.without_users


interrupted = pytest.mark.parametrize(
    "cancelled", [pytest.param(False, id="killed", marks=pytest.mark.nightly), pytest.param(True, id="cancelled")]
)


async def bound(server: Server, name: str = "cache") -> tuple[ServiceSpec, Grant, Credentials]:
    service, grant = a_service(server, name), a_grant()
    await Redis().provision(service)
    return service, grant, await Redis().bind(service, grant)


@on_the_loop
async def test_what_is_done_twice_is_there_once(redis_server: RedisServer) -> None:
    service, grant, credentials = await bound(redis_server.server)
    await Redis().provision(service)
    assert await Redis().bind(service, grant) == credentials
    assert redis_server.has_user(grant.user)
    assert await Redis().verify(service, grant, credentials) is None
    assert ask(credentials, "SET", "page", "1")
    assert {key: told for key, told in credentials.items() if key != "uri"} == {
        "name": f"cache_{service.id}",
        "hostname": "127.0.0.1",
        "host": "127.0.0.1",
        "port": redis_server.port,
        "db": 0,
        "user": grant.user,
        "username": grant.user,
        "password": grant.password.reveal(),
        "prefix": f"cache_{service.id}:",
    }


@on_the_loop
async def test_no_app_gets_at_another_ones_keys_or_is_told_of_them(redis_server: RedisServer) -> None:
    _, _, theirs = await bound(redis_server.server, "theirs")
    ask(theirs, "SET", "secret", "theirs")
    secret = f"{theirs['prefix']}secret"
    _, _, ours = await bound(redis_server.server, "ours")
    with App(ours) as app:
        app.do("SET", "mine", "1")
        app.do("RPUSH", "list", "secret")
        for command in (
            ("GET", secret),
            ("SET", secret, "x"),
            ("DEL", secret),
            ("DUMP", secret),
            ("OBJECT", "ENCODING", secret),
            ("COPY", secret, f"{app.prefix}copy"),
            ("RENAME", f"{app.prefix}mine", f"{theirs['prefix']}mine"),
            ("SORT", f"{app.prefix}list", "BY", "nosort", "GET", f"{theirs['prefix']}*"),
            ("EVAL", f"return redis.call('GET', '{secret}')", 0),
            ("EVAL", "return redis.call('GET', KEYS[1])", 1, secret),
            ("EVAL", "return redis.call('KEYS', '*')", 0),
            ("SUBSCRIBE", f"{theirs['prefix']}news"),
            ("PUBLISH", f"{theirs['prefix']}news", "x"),
            ("PSUBSCRIBE", "*"),
            ("KEYS", "*"),
            ("SCAN", 0),
            ("RANDOMKEY",),
            ("PUBSUB", "CHANNELS"),
            ("CLIENT", "TRACKING", "ON", "BCAST"),
            ("CLIENT", "LIST"),
            ("CLIENT", "KILL", "TYPE", "normal"),
            ("FLUSHDB",),
            ("FLUSHALL",),
            ("SWAPDB", 0, 1),
            ("SCRIPT", "FLUSH"),
            ("FUNCTION", "FLUSH"),
            ("MONITOR",),
            ("CONFIG", "GET", "*"),
            ("ACL", "LIST"),
            ("ACL", "SETUSER", "more"),
            ("SHUTDOWN",),
        ):
            with pytest.raises(redis.exceptions.ResponseError, match=r"permission|ACL|can't access|can't run"):
                app.redis.execute_command(*command)  # type: ignore[no-untyped-call]
        for database in (0, 1):
            app.redis.execute_command("SELECT", database)  # type: ignore[no-untyped-call]
            with pytest.raises(redis.exceptions.NoPermissionError):
                app.redis.get(secret)
    assert ask(theirs, "GET", "secret") == b"theirs"


@on_the_loop
async def test_what_apps_commonly_do_is_allowed(redis_server: RedisServer) -> None:
    _, _, credentials = await bound(redis_server.server)
    with App(credentials) as app:
        for command, key, *more in (
            ("SET", "a", 1, "EX", 100),
            ("INCR", "a"),
            ("TTL", "a"),
            ("HSET", "h", "f", 1),
            ("HSCAN", "h", 0),
            ("ZADD", "z", 1, "m"),
            ("LPUSH", "l", 1),
            ("BRPOP", "l", 1),
            ("XADD", "x", "*", "f", 1),
            ("SORT", "z", "ALPHA"),
            ("PUBLISH", "news", "hello"),
            ("UNLINK", "a"),
        ):
            app.do(command, key, *more)
        assert app.redis.info()["redis_version"]
        script = app.redis.register_script("return redis.call('SET', KEYS[1], ARGV[1])")
        assert script(keys=[f"{app.prefix}s"], args=["1"])
        with app.redis.pipeline() as pipe:
            pipe.watch(f"{app.prefix}s")  # type: ignore[no-untyped-call]
            pipe.multi()
            pipe.get(f"{app.prefix}s")
            assert pipe.execute() == [b"1"]
        with app.redis.lock(f"{app.prefix}lock", timeout=5):
            pass
        listening = app.redis.pubsub()  # type: ignore[no-untyped-call]
        listening.psubscribe(f"{app.prefix}*")
        listening.close()


@on_the_loop
async def test_a_rotation_loses_nothing_and_locks_the_first_out(redis_server: RedisServer) -> None:
    service, first, before = await bound(redis_server.server)
    ask(before, "SET", "page", "1")
    after = await Redis().bind(service, a_grant())
    with App(before) as inside:
        assert inside.do("GET", "page") == ask(after, "GET", "page") == b"1"
        await Redis().unbind(service, first)
        with pytest.raises(redis.exceptions.ConnectionError):
            inside.do("GET", "page")
    with pytest.raises(redis.exceptions.AuthenticationError):
        ask(before, "GET", "page")
    assert ask(after, "GET", "page") == b"1"


@on_the_loop
async def test_users_outlive_the_server_and_a_server_that_is_down_is_said_to_be(redis_server: RedisServer) -> None:
    service, grant, credentials = await bound(replace(redis_server.server, host=str(redis_server.socket)))
    down = f"redis server main \\({redis_server.socket}\\) refused the connection"
    redis_server.stop()
    kind = Redis()
    try:
        await every_step_says(down, kind, service, grant, credentials, sized=False)
    finally:
        redis_server.start()
    assert await kind.verify(service, grant, credentials) is None
    assert ask(credentials, "SET", "page", "1")


@interrupted
@on_the_loop
async def test_a_dump_comes_back_wherever_the_restore_was_interrupted(
    redis_server: RedisServer, tmp_path: Path, cancelled: bool
) -> None:
    service, _, credentials = await bound(redis_server.server)
    with App(credentials) as app:
        app.do("SET", "page", b"\x00\xff")
        app.do("SET", "short", "1", "EX", 1000)
        app.do("HSET", "h", "f", "v")
        app.redis.execute_command("SELECT", 3)  # type: ignore[no-untyped-call]
        app.do("SET", "elsewhere", "3")
    await Redis().back_up(service, tmp_path / "dump")
    assert (tmp_path / "dump").stat().st_mode & 0o777 == 0o600
    await Redis().deprovision(service)
    other, _, again = await bound(redis_server.server)
    ask(again, "SET", "goes", "1")
    for number in ever_later():
        countdown = Countdown(number, cancelled=cancelled)
        await cut_short(redis_server.mortal(countdown).restore(other, tmp_path / "dump"))
        if countdown.left > 0:
            assert number > 6
            break
    with App(again) as app:
        assert app.do("GET", "page") == b"\x00\xff"
        assert 0 < app.do("TTL", "short") <= 1000
        assert app.do("HGET", "h", "f") == b"v"
        assert app.do("GET", "goes") is None
        app.redis.execute_command("SELECT", 3)  # type: ignore[no-untyped-call]
        assert app.do("GET", "elsewhere") == b"3"
    assert [file.name for file in tmp_path.iterdir()] == ["dump"]


@on_the_loop
async def test_half_a_dump_changes_nothing(redis_server: RedisServer, tmp_path: Path) -> None:
    service, _, credentials = await bound(redis_server.server)
    ask(credentials, "SET", "page", "1")
    await Redis().back_up(service, tmp_path / "dump")
    lines = (tmp_path / "dump").read_text().splitlines()
    for half in ("", "no dump", "\n".join(lines[:-1]), "\n".join((lines[0], lines[-1])), json.dumps({"keys": 0})):
        (tmp_path / "half").write_text(half)
        with pytest.raises(Misconfigured, match="not a complete dump"):
            await Redis().restore(service, tmp_path / "half")
    assert ask(credentials, "GET", "page") == b"1"


@on_the_loop
async def test_a_server_that_asks_nobody_for_a_password_is_refused(redis_server: RedisServer) -> None:
    with redis_server.connect() as admin:
        kept = admin.execute_command("ACL LIST")
        admin.execute_command("ACL SETUSER", "default", "nopass")
        try:
            with pytest.raises(Misconfigured, match="accepts connections without a password"):
                await Redis().provision(a_service(redis_server.server))
            await Redis().provision(a_service(replace(redis_server.server, options={"open": True})))
        finally:
            default = next(line for line in kept if line.startswith("user default"))
            admin.execute_command("ACL SETUSER", "default", "reset", *default.split()[2:])


@on_the_loop
async def test_redis_cli_opens_the_service(redis_server: RedisServer) -> None:
    service, grant, credentials = await bound(redis_server.server)
    assert said_by(Redis().client(service, credentials), grant, "ACL", "WHOAMI") == grant.user


@interrupted
@on_the_loop
async def test_an_old_server_gives_each_service_a_number(
    redis_server: RedisServer, old: Server, tmp_path: Path, cancelled: bool
) -> None:
    other, _, theirs = await bound(old)
    ask(theirs, "SET", "page", "theirs")
    for number in ever_later():
        service, grant, countdown = a_service(old), a_grant(), Countdown(number, cancelled=cancelled)
        await cut_short(redis_server.mortal(countdown).bind(service, grant))
        credentials = await Redis().bind(service, grant)
        assert credentials["db"] != theirs["db"]
        assert ask(credentials, "GET", "page") is None
        ask(credentials, "SET", "page", "ours")
        assert await Redis().verify(service, grant, credentials) is None
        await Redis().back_up(service, tmp_path / f"{number}")
        await Redis().restore(service, tmp_path / f"{number}")
        assert ask(credentials, "GET", "page") == b"ours"
        await cut_short(redis_server.mortal(countdown).deprovision(service))
        await Redis().deprovision(service)
        with redis_server.connect() as admin:
            assert admin.hgetall("reconciler:databases") == {str(theirs["db"]).encode(): other.id.encode()}
        if countdown.left > 0:
            assert number > 5
            break
    assert ask(theirs, "GET", "page") == b"theirs"
    await Redis().deprovision(other)


@on_the_loop
async def test_an_old_server_that_is_full_says_so(redis_server: RedisServer, old: Server) -> None:
    services = [a_service(old) for _ in range(20)]
    said = await asyncio.gather(*map(Redis().provision, services), return_exceptions=True)
    try:
        refused = [str(error) for error in said if error is not None]
        assert 0 < len(refused) < len(services)
        assert all("no database of the redis server is free" in words for words in refused)
    finally:
        for service in services:
            await Redis().deprovision(service)
