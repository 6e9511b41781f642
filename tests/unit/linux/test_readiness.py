"""Descriptors are waited for by epoll, and by poll where the kernel refuses more of that: nothing is lost between."""

import asyncio
import errno
import os
import select
import socket
from collections.abc import Iterator

import pytest

from reconciler.linux import loops, readiness
from reconciler.linux.readiness import Readiness
from reconciler.serving.arrivals import Arrivals

_WITHIN_S = 30.0


class Host:
    """A host whose kernel lets a user wait for `room` descriptors by epoll."""

    def __init__(self) -> None:
        self.room = 1000
        self.made: list[Epoll] = []
        self.epoll = select.epoll

    def used(self) -> int:
        return sum(len(each.numbers) for each in self.made)


class Epoll:
    """An epoll of that host."""

    def __init__(self, host: Host) -> None:
        self._host, self._epoll, self.numbers = host, host.epoll(), set[int]()
        self.poll, self.fileno, self.modify = self._epoll.poll, self._epoll.fileno, self._epoll.modify
        host.made.append(self)

    def register(self, number: int, events: int) -> None:
        if self._host.used() >= self._host.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._epoll.register(number, events)
        self.numbers.add(number)

    def unregister(self, number: int) -> None:
        self._epoll.unregister(number)
        self.numbers.discard(number)

    def close(self) -> None:
        self._epoll.close()
        self.numbers.clear()


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(select, "epoll", lambda: Epoll(made))
    return made


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    made = [socket.socketpair() for _ in range(4)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


def test_beyond_what_the_kernel_allows_it_polls_and_loses_nothing(
    host: Host, pairs: list[tuple[socket.socket, socket.socket]]
) -> None:
    host.room = 2
    waits = Readiness()
    for reads, _ in pairs:
        waits.register(reads.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
    assert waits.poll(0, 10) == []
    pairs[0][1].send(b"first")
    pairs[3][1].send(b"last")
    assert dict(waits.poll(1.0, 10)) == {pairs[n][0].fileno(): select.EPOLLIN for n in (0, 3)}
    assert len(waits.poll(None, 1)) == 1
    waits.modify(pairs[0][0].fileno(), select.EPOLLOUT)
    waits.unregister(pairs[3][0].fileno())
    assert waits.poll(-1, 10) == [(pairs[0][0].fileno(), select.EPOLLOUT)]
    pairs[1][1].close()
    waits.unregister(pairs[0][0].fileno())
    ((number, events),) = waits.poll(1.0, 10)
    assert number == pairs[1][0].fileno()
    assert events & select.EPOLLRDHUP
    waits.close()


def test_what_is_closed_is_forgotten_as_epoll_does(host: Host) -> None:
    host.room = 0
    waits = Readiness()
    reads, writes = os.pipe()
    waits.register(reads, select.EPOLLIN)
    os.close(reads)
    os.close(writes)
    assert waits.poll(0, 10) == []
    waits.unregister(reads)
    waits.close()


def test_it_waits_by_epoll_again_once_that_is_possible(
    host: Host, pairs: list[tuple[socket.socket, socket.socket]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "_AGAIN_S", 0.0)
    host.room = 1
    waits = Readiness()
    for reads, _ in pairs[:3]:
        waits.register(reads.fileno(), select.EPOLLIN)
    assert host.used() == 0  # none is waited for by both
    host.room = 10
    waits.register(pairs[3][0].fileno(), select.EPOLLIN)
    assert host.used() == 4
    pairs[0][1].send(b"x")
    assert waits.poll(1.0, 10) == [(pairs[0][0].fileno(), select.EPOLLIN)]
    waits.close()


def test_other_errors_are_those_of_epoll(pairs: list[tuple[socket.socket, socket.socket]]) -> None:
    waits = Readiness()
    waits.register(pairs[0][0].fileno(), select.EPOLLIN)
    with pytest.raises(FileExistsError):
        waits.register(pairs[0][0].fileno(), select.EPOLLIN)
    with pytest.raises(OSError, match="Bad file descriptor"):
        waits.register(12345, select.EPOLLIN)
    waits.close()


@pytest.mark.parametrize("room", [0, 1, 3])
def test_an_event_loop_begins_and_starts_programs_where_others_of_its_user_left_no_room(host: Host, room: int) -> None:
    host.room = room

    async def main() -> bytes:
        async with asyncio.timeout(_WITHIN_S):
            program = await asyncio.create_subprocess_exec("echo", "said", stdout=asyncio.subprocess.PIPE)
            said, _ = await program.communicate()
            await asyncio.sleep(0.001)
            return said

    assert loops.run(main()) == b"said\n"


def test_a_connection_is_noticed_where_there_is_no_room_for_its_listener(host: Host) -> None:
    host.room = 0

    async def main() -> None:
        arrivals, arrived = Arrivals(), asyncio.Event()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            arrivals.expect(listener.fileno(), arrived.set)
            arrivals.forget(listener.fileno())
            arrivals.expect(listener.fileno(), arrived.set)
            with socket.create_connection(listener.getsockname()):
                async with asyncio.timeout(_WITHIN_S):
                    await arrived.wait()
                arrived.clear()
                await asyncio.sleep(0.01)
                assert not arrived.is_set()  # once
            arrivals.expect(listener.fileno(), arrived.set)
            arrivals.close()

    loops.run(main())
