"""The listeners of an app that passes from a port to a socket: no client of either is lost or answered too early."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.host.app_listeners import AppListeners
from reconciler.linux.listening_paths import listen_at
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Listen
from reconciler.planning.apps.observed import Instance
from reconciler.state.journal import EventKind
from tests.world import an_app

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Keeper:
    """Holds what it was given, until it is taken."""

    def __init__(self) -> None:
        self.held: list[tuple[str, Address, socket.socket]] = []

    def take(self) -> list[tuple[str, Address, socket.socket]]:
        return self.held

    def keep(self, name: str, address: Address, number: int) -> None:
        pass

    def drop(self, name: str, address: Address) -> None:
        pass


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper()
    port = socket.create_server(("127.0.0.1", 0))
    at_port = Address(host="127.0.0.1", port=port.getsockname()[1])
    path = tmp_path / "shop.sock"
    made.held = [("shop", at_port, port), ("shop", Address(host=str(path)), listen_at(path, 5))]
    yield made
    for _, _, each in made.held:
        each.close()


def listeners_of(
    keeper: Keeper,
    *directories: Path,
    newest: Instance | None = None,
    record: Callable[[str, EventKind, str, str, str], None] = lambda *_: None,
    wake: Callable[[str], None] = lambda _: None,
) -> AppListeners:
    found = () if newest is None else (newest,)
    lives = tuple(SimpleNamespace(record=each) for each in found)
    instances: Any = SimpleNamespace(
        of=lambda _: found, lives=lambda _: lives, apps=frozenset, processes=lambda _: (), wake=wake
    )
    kept: Any = keeper
    made = AppListeners(instances, kept, lambda _: None, directories, record)
    made.take_back()
    return made


def instance(address: Address) -> Instance:
    return Instance(id="1", revision="r", build="b", address=address, pid=1, started_at=1.0, workers=1, ready_at=2.0)


@contextlib.asynccontextmanager
async def served(listening: socket.socket) -> Any:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        writer.close()

    copied = socket.socket(fileno=os.dup(listening.fileno()))
    server = await (asyncio.start_unix_server if copied.family == socket.AF_UNIX else asyncio.start_server)(
        answer, sock=copied
    )
    async with server:
        yield


async def asked(listening: socket.socket) -> bytes:
    at = listening.getsockname()
    reader, writer = await (
        asyncio.open_connection(*at)
        if listening.family == socket.AF_INET
        else asyncio.open_unix_connection(at.removesuffix(".new"))
    )
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        async with asyncio.timeout(60):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize("serves", [1, 0], ids=["to a socket", "to a port"])
def test_a_daemon_that_starts_in_the_middle_of_a_passing_passes_on_again(
    keeper: Keeper, tmp_path: Path, serves: int
) -> None:
    async def story() -> bytes:
        at = keeper.held[serves]
        listeners = listeners_of(keeper, tmp_path, newest=instance(at[1]))
        async with served(at[2]):
            listeners.resume("shop")
            answer = await asked(keeper.held[1 - serves][2])
        listeners.close_all()
        return answer

    assert asyncio.run(story()) == OK


def test_an_address_that_is_passed_on_is_not_unserved_and_clients_of_a_crash_wait_as_long_as_ever(
    keeper: Keeper, tmp_path: Path
) -> None:
    async def story() -> None:
        (_, port, _), (_, at_socket, _) = keeper.held
        newest = instance(at_socket)
        listeners = listeners_of(keeper, tmp_path, newest=newest)
        listeners.follow({"shop": replace(an_app(), name="shop", address=at_socket)})
        listeners.resume("shop")
        assert listeners.unserved_since("shop", (newest,)) is None
        assert listeners.unserved_since("shop", ()) is not None  # crashed: from now on
        # The page of the daemon takes the place of what passed on.
        listeners.serve_holding_page(port, None)
        assert b" 503 " in (await asked(keeper.held[0][2])).partition(b"\r\n")[0]
        listeners.close_all()

    asyncio.run(story())


def test_its_own_address_counts_as_unserved_when_nothing_serves_where_it_is_passed_on(
    keeper: Keeper, tmp_path: Path
) -> None:
    async def story() -> None:
        (_, port, _), (_, at_socket, _) = keeper.held
        before = instance(port)
        listeners = listeners_of(keeper, tmp_path, newest=before)
        listeners.unlisten("shop", port)
        listeners.follow({"shop": replace(an_app(), name="shop", address=at_socket)})
        listeners.resume("shop")
        assert listeners.unserved_since("shop", (before,)) is None
        assert listeners.unserved_since("shop", ()) is not None
        listeners.close_all()

    asyncio.run(story())


def test_sockets_of_an_app_that_is_removed_go_wherever_they_are(tmp_path: Path) -> None:
    own, given = tmp_path / "own", tmp_path / "given"
    for directory in (own, given):
        directory.mkdir()
        listen_at(directory / "shop.sock", 1).close()
        with socket.socket(socket.AF_UNIX) as draft:
            draft.bind(str(directory / "shop.sock.new"))
    (given / "other.sock").write_text("")
    listeners = listeners_of(Keeper(), own, given)
    listeners.forget("shop")
    assert [each.name for each in (*own.iterdir(), *given.iterdir())] == ["other.sock"]


def test_a_listener_that_an_app_shuts_down_is_open_again_soon_and_that_is_told_once(
    keeper: Keeper, tmp_path: Path
) -> None:
    told: list[tuple[str, ...]] = []

    async def story() -> None:
        listeners = listeners_of(keeper, tmp_path, record=lambda *event: told.append(event))
        opened = keeper.held[0][2]
        for _ in range(2):
            with opened.dup() as of_the_app:
                of_the_app.shutdown(socket.SHUT_RDWR)
            with pytest.raises(ConnectionRefusedError):
                await asked(opened)
            async with asyncio.timeout(60):
                while not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    await asyncio.sleep(0.05)
            async with served(opened):
                assert await asked(opened) == OK
        listeners.close_all()

    asyncio.run(story())
    address = keeper.held[0][1]
    cause = "a process of the app had shut it down, for all others too"
    assert told == [("shop", "listening", f"listening on {address} again", cause, "not-listening")]


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_RDWR])
def test_a_socket_that_an_app_shuts_down_is_closed_and_a_new_one_opened_in_its_place(
    keeper: Keeper, tmp_path: Path, how: int
) -> None:
    told: list[str] = []
    woken: list[str] = []
    _, address, dead = keeper.held[1]

    async def story() -> None:
        listeners = listeners_of(keeper, tmp_path, record=lambda *event: told.append(event[2]), wake=woken.append)
        with dead.dup() as of_the_app:
            of_the_app.shutdown(how)
            with pytest.raises(ConnectionRefusedError):
                await asked(dead)
            async with asyncio.timeout(60):
                while not woken:
                    await asyncio.sleep(0.05)
            assert address not in listeners.of("shop")
            assert listeners.listen("shop", Listen(address=address, cause="")) == ""
        opened = socket.socket(fileno=os.dup(listeners.fd(address)))
        with opened:
            async with served(opened):
                assert await asked(opened) == OK
        listeners.close_all()

    asyncio.run(story())
    assert woken == ["shop"]
    assert told == [f"opening {address} again"]


def test_a_dead_socket_that_was_kept_is_not_taken_back(keeper: Keeper, tmp_path: Path) -> None:
    dead = keeper.held[1][2]
    dead.shutdown(socket.SHUT_RDWR)

    async def story() -> None:
        listeners = listeners_of(keeper, tmp_path)
        assert listeners.of("shop") == {keeper.held[0][1]}
        listeners.close_all()

    asyncio.run(story())
    assert dead.fileno() == -1
