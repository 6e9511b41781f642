"""A loop goes on that accepts at a listener of an app, whatever the app does with that listener."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from reconciler.linux.listening_paths import listen_at
from reconciler.linux.shared_listeners import when_left_alone
from reconciler.planning.address import Address
from reconciler.serving.accepting import Accepting
from reconciler.serving.arrivals import Shutdowns
from reconciler.serving.holding import Holding
from reconciler.serving.relay import Relay
from tests.contract.machine import on_the_loop
from tests.support.eventually import soon
from tests.support.lingering import give_away, lingering, passed
from tests.support.shared_listener import listener, shared_with

__all__ = ["listener", "passed"]

# Takes each connection before another process does, and has that one wait for the next.
THIEF = """
import fcntl, os, socket, sys, threading
number = int(sys.argv[1])
listener = socket.socket(fileno=number)
def steal():
    while True:
        try:
            listener.accept()[0].close()
        except OSError:
            pass
blocking = fcntl.fcntl(number, fcntl.F_GETFL) & ~os.O_NONBLOCK
threading.Thread(target=steal, daemon=True).start()
print(flush=True)
while True:
    fcntl.fcntl(number, fcntl.F_SETFL, blocking)
"""


async def visit(listener: socket.socket, until: asyncio.Event) -> None:
    while not until.is_set():
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("passes_on", [False, True], ids=["holding page", "relay"])
def test_a_process_that_steals_connections_and_has_accept_wait_stops_nothing(
    listener: socket.socket, *, passes_on: bool
) -> None:
    pauses: list[float] = []

    async def story() -> None:
        is_told = asyncio.Event()

        def left_alone(pause_s: float) -> None:
            pauses.append(pause_s)
            is_told.set()

        when_left_alone(listener, left_alone)
        successor = Address(host="127.0.0.1", port=listener.getsockname()[1])
        accepting = Relay(listener, successor) if passes_on else Holding(listener, None)
        async with asyncio.TaskGroup() as visitors:
            for _ in range(4):
                visitors.create_task(visit(listener, is_told))
        for _ in range(100):  # the loop goes on
            await asyncio.sleep(0)
        accepting.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with shared_with(THIEF, listener):
        asyncio.run(story())
    assert pauses[0] == 1.0


class Counted(Accepting):
    """How often the kernel had it look."""

    looks = 0

    def take_some(self) -> None:
        self.looks += 1
        super().take_some()


def test_a_listener_that_is_shut_down_is_no_busy_loop(listener: socket.socket) -> None:
    async def story() -> int:
        accepting = Counted(listener, lambda connection: connection.close())
        accepting.begin()
        listener.shutdown(socket.SHUT_RDWR)
        await asyncio.sleep(0.5)
        accepting.stop()
        return accepting.looks

    assert 1 <= asyncio.run(story()) < 100


def test_connections_are_accepted_again_after_a_pause_and_none_after_the_end(listener: socket.socket) -> None:
    async def story() -> None:
        came = asyncio.Queue[socket.socket]()
        accepting = Accepting(listener, came.put_nowait)
        accepting.begin()
        listener.shutdown(socket.SHUT_RDWR)
        while accepting._reading:
            await asyncio.sleep(0.01)
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            async with asyncio.timeout(60):
                accepted = await came.get()
            with accepted:
                assert accepted.getpeername() == client.getsockname()
        accepting.stop()
        with socket.create_connection(listener.getsockname()):
            accepting.take_some()
            await asyncio.sleep(0.05)
        assert came.empty()

    asyncio.run(story())


def test_a_listener_that_is_shut_down_again_and_again_is_told_of_now_and_then(listener: socket.socket) -> None:
    async def story() -> int:
        told: list[None] = []
        shutdowns = Shutdowns()

        def again() -> None:
            told.append(None)
            listener.listen()
            listener.shutdown(socket.SHUT_RDWR)

        shutdowns.expect(listener.fileno(), again)
        listener.shutdown(socket.SHUT_RDWR)
        async with asyncio.timeout(60):
            while len(told) < 2:
                await asyncio.sleep(0.05)
        shutdowns.close()
        return len(told)

    assert asyncio.run(story()) == 2


@on_the_loop
async def test_the_holding_page_waits_for_no_file_that_a_client_of_a_unix_socket_sends(tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    with listen_at(path, 5) as listening:
        holding = Holding(listening, None)
        with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            give_away(client, b"GET / HTTP/1.1\r\n\r\n", given)
            await soon(lambda: holding._accepting._aside.pending)
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert (await reader.read(1 << 16)).startswith(b"HTTP/1.1 503")
            writer.close()
            assert holding._accepting._aside.pending == 1  # which still waits, and counts as one that is answered
            await soon(lambda: len(holding._answering) == 1)
        await soon(lambda: not holding._answering)
        holding.close()


@pytest.mark.usefixtures("passed")
@on_the_loop
async def test_a_relay_waits_for_no_file_that_a_client_of_a_unix_socket_sends(tmp_path: Path) -> None:
    path, to = tmp_path / "app.sock", Address(host=str(tmp_path / "to.sock"), port=0)
    with listen_at(path, 5) as listening, listen_at(Path(to.path), 5) as successor:
        relay = Relay(listening, to)
        successor.setblocking(False)
        with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            onward, _ = await asyncio.get_running_loop().sock_accept(successor)
            with onward:
                give_away(client, b"x", given)
                assert await asyncio.get_running_loop().sock_recv(onward, 10) == b""
            await soon(lambda: relay._accepting._aside.pending)
            await asyncio.sleep(0.05)
            assert relay._accepting._aside.pending == 1
        await soon(lambda: not relay._accepting._aside.pending)
        relay.close()


def test_the_last_connections_are_accepted_also_where_the_listener_is_left_alone(listener: socket.socket) -> None:
    async def story() -> int:
        came: list[socket.socket] = []
        is_told = asyncio.Event()
        when_left_alone(listener, lambda _: is_told.set())
        accepting = Accepting(listener, lambda connection: connection.close())
        accepting.begin()
        with shared_with(THIEF, listener):
            await visit(listener, is_told)
        accepting.stop()
        with contextlib.ExitStack() as clients:
            for _ in range(40):
                clients.enter_context(socket.create_connection(listener.getsockname()))
            last = Accepting(listener, came.append)
            last.begin()
            last.end()
            for each in came:
                each.close()
        return len(came)

    assert asyncio.run(story()) >= 40
