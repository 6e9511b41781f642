"""Open files that an app sends to a socket of the daemon, and that nothing waits for."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from reconciler.linux import passed_files
from reconciler.linux.listening_paths import listen_at
from reconciler.linux.passed_files import AppStream, Aside, FilesSent, connected_in_turn
from reconciler.linux.shared_listeners import close_shared
from reconciler.linux.unix_sockets import refuse_files
from reconciler.serving import keeper_main
from tests.contract.machine import on_the_loop
from tests.support.eventually import eventually, soon
from tests.support.lingering import give_away, lingering, passed

__all__ = ["passed"]


@contextmanager
def pair() -> Iterator[tuple[AppStream, socket.socket, Aside]]:
    """A stream, its other end, and what closes it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    aside = Aside()
    with theirs, AppStream(aside, ours.detach()) as stream:
        stream.setblocking(False)
        yield stream, theirs, aside


@pytest.mark.usefixtures("passed")
@pytest.mark.parametrize("flags", [0, socket.MSG_OOB], ids=["in order", "out of band"])
@on_the_loop
async def test_a_stream_is_not_read_where_files_come_and_closed_without_waiting(flags: int) -> None:
    with lingering() as given, pair() as (stream, theirs, aside):
        theirs.send(b"before")
        give_away(theirs, b"x", given, flags)
        theirs.send(b"after")
        for _ in range(2):
            with pytest.raises(FilesSent, match="it sent open files"):
                stream.recv(100)
        stream.close()
        await asyncio.sleep(0.05)
        assert aside.pending == 1  # the loop goes on, and the close still waits
    await soon(lambda: not aside.pending)
    assert stream.fileno() == -1


@pytest.mark.usefixtures("passed")
@pytest.mark.parametrize("is_read", [False, True], ids=["in its queue", "after what was read"])
@on_the_loop
async def test_a_stream_with_files_in_its_queue_is_closed_without_waiting(is_read: bool) -> None:
    with lingering() as given, pair() as (stream, theirs, aside):
        if is_read:
            theirs.send(b"before")
            buffer = bytearray(10)
            assert stream.recv_into(memoryview(buffer)) == 6
            assert buffer[:6] == b"before"
        give_away(theirs, b"x", given)
        theirs.close()
        stream.close()
        stream.close()
        await asyncio.sleep(0.05)
        assert aside.pending == 1
    await soon(lambda: not aside.pending)


@on_the_loop
async def test_a_stream_without_files_in_its_queue_is_closed_at_once() -> None:
    ends: list[Callable[[socket.socket], object]] = [lambda _: None, lambda line: line.close()]
    for end in ends:
        with pair() as (stream, theirs, aside):
            theirs.send(b"all")
            assert stream.recv(10) == b"all"
            theirs.send(bytes(100_000))
            end(theirs)
            stream.close()
            assert (stream.fileno(), aside.pending) == (-1, 0)
            with suppress(OSError):
                theirs.send(b"more")
    aside = Aside()
    never_connected = AppStream(aside)
    never_connected.close()
    assert (never_connected.fileno(), aside.pending) == (-1, 0)


@on_the_loop
async def test_a_kernel_that_can_refuses_files_to_a_stream() -> None:
    with lingering() as given, pair() as (stream, theirs, _):
        if stream.getsockopt(socket.SOL_SOCKET, 83) != 0:
            pytest.skip("Linux 6.16 or later only")
        with pytest.raises(PermissionError):
            socket.send_fds(theirs, [b"x"], [given.fileno()])
        refuse_files(stream)
        theirs.send(b"y")
        assert stream.recv(10) == b"y"


@pytest.mark.usefixtures("passed")
@on_the_loop
async def test_an_app_that_lets_no_connection_close_is_connected_to_only_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passed_files, "_MOST_CLOSING", 1)
    path = tmp_path / "app.sock"
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        stream = await connected_in_turn(path)
        accepted, _ = listening.accept()
        with accepted:
            give_away(accepted, b"x", given)
            stream.close()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await connected_in_turn(path)
        given_back = asyncio.create_task(connected_in_turn(path))
        assert not given_back.done()
    with pytest.raises(ConnectionRefusedError):
        await given_back


@on_the_loop
async def test_a_listener_is_closed_without_waiting_for_files_in_connections_that_nothing_has_accepted(
    tmp_path: Path,
) -> None:
    listening = listen_at(tmp_path / "app.sock", 5)
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "app.sock"))
        give_away(client, b"x", given)
        closed = asyncio.create_task(asyncio.to_thread(eventually, lambda: listening.fileno() == -1))
        close_shared(listening)
        await asyncio.sleep(0.05)
    await closed


def test_the_keeper_waits_for_no_file_either(tmp_path: Path) -> None:
    listening = listen_at(tmp_path / "app.sock", 5)
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(str(tmp_path / "app.sock"))
        give_away(client, b"x", given)
        keeper_main._close(listening.detach())
        eventually(lambda: given_up(client))


def given_up(client: socket.socket) -> bool:
    """Whether the other end of a connection is closed."""
    try:
        client.send(b"y")
    except ConnectionError:
        return True
    return False


@on_the_loop
async def test_what_waits_for_one_sender_is_done_in_order_and_what_follows_is_told_so() -> None:
    aside, done, goes_on = Aside(), list[int](), asyncio.Event()

    def fail() -> None:
        done.append(1)
        raise OSError

    aside.run(fail, lambda: done.append(2))
    aside.run(lambda: done.append(3), goes_on.set)
    await goes_on.wait()
    assert (done, aside.pending) == ([1, 2, 3], 0)


@on_the_loop
async def test_what_gets_no_thread_now_is_done_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passed_files, "_AGAIN_S", 0.01)
    aside, goes_on = Aside(), asyncio.Event()
    with monkeypatch.context() as patch:
        patch.setattr(passed_files._threads, "run", _no_thread)
        aside.run(lambda: None, goes_on.set)
        await asyncio.sleep(0.05)
        assert not goes_on.is_set()
    await goes_on.wait()


def _no_thread(work: Callable[[], object]) -> None:
    raise RuntimeError("can't start new thread")
