"""What a process says at its NOTIFY_SOCKET, and what its silence means."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from reconciler.linux import removals
from reconciler.linux.remove_tree import remove_tree
from reconciler.processes import notify
from reconciler.processes.notify import NotifySockets
from reconciler.serving.live_instance import LiveInstance
from tests.contract.machine import on_the_loop
from tests.support.eventually import soon
from tests.support.lingering import accept_files, give_away, lingering


def _live() -> LiveInstance:
    record = SimpleNamespace(id="a", key="shop/worker", pid=1, stopping_since=None)
    return cast("LiveInstance", SimpleNamespace(record=record, end=None, unhealthy=None, says_ready=False))


def _say(path: Path, text: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(text, str(path))


def _hung(tmp_path: Path, *said: bytes, says_ready: bool) -> str | None:
    """Why the instance counts as hung once it has changed, or after half a second."""

    async def story() -> str | None:
        changed = asyncio.Event()
        sockets, live = NotifySockets(lambda _: changed.set()), _live()
        path = tmp_path / "notify-1"
        sockets.listen(live, sockets.open(path), 0.1, says_ready=says_ready)
        for text in said:
            _say(path, text)
        until = asyncio.get_running_loop().time() + 0.5
        while cast("Any", live).unhealthy is None and asyncio.get_running_loop().time() < until:
            await asyncio.sleep(0.01)
        sockets.close("a")
        assert not path.exists()
        return live.unhealthy

    return asyncio.run(story())


def test_the_watchdog_of_one_that_says_when_it_is_ready_begins_then(tmp_path: Path) -> None:
    assert _hung(tmp_path, says_ready=True) is None
    assert _hung(tmp_path, b"READY=1\n", says_ready=True) == "it did not say WATCHDOG=1 for 0.1 s"


def test_the_watchdog_of_any_other_begins_with_it(tmp_path: Path) -> None:
    assert _hung(tmp_path, says_ready=False) == "it did not say WATCHDOG=1 for 0.1 s"


@on_the_loop
async def test_one_that_is_being_started_is_heard_at_one_socket_whatever_its_manifest_does_meanwhile(
    tmp_path: Path,
) -> None:
    sockets, path = NotifySockets(lambda _: None), tmp_path / "notify-1"
    opened = sockets.open(path)
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, env={"NOTIFY_SOCKET": str(path)}) as process:
        live = _live()
        cast("Any", live).record.pid = process.pid
        looks: list[Callable[[], object]] = []
        sockets._threads = cast("Any", SimpleNamespace(run=lambda work: _done(looks, work)))
        sockets.listen_again([(live, tmp_path, None)])
        sockets.listen(live, opened, None, says_ready=True)
        await soon(lambda: looks)
        await asyncio.sleep(0)
        _say(path, b"READY=1\n")
        await soon(lambda: live.says_ready)
        assert process.stdin is not None
        process.stdin.close()
    sockets.close("a")
    assert opened.fileno() == -1


def _done(looks: list[Callable[[], object]], work: Callable[[], Any]) -> "Future[Any]":
    done: Future[Any] = Future()
    done.set_result(work())
    looks.append(work)
    return done


_NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the processes of another user")
def test_a_process_of_another_user_is_heard_and_no_other_file_is_opened_to_it() -> None:
    scratch = Path(tempfile.mkdtemp())
    try:
        os.chown(scratch, _NOBODY, _NOBODY)
        with NotifySockets(lambda _: None).open(scratch / "notify-1") as opened:
            child = os.fork()
            if child == 0:
                os.setgid(_NOBODY)
                os.setuid(_NOBODY)
                try:
                    _say(scratch / "notify-1", b"READY=1")
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            opened.settimeout(0)
            assert opened.recv(100) == b"READY=1"
    finally:
        shutil.rmtree(scratch)


def test_an_instance_that_names_a_socket_elsewhere_is_not_heard_there(tmp_path: Path) -> None:
    elsewhere = tmp_path / "notify-1"
    elsewhere.touch()
    environment = {"NOTIFY_SOCKET": str(elsewhere)}
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], env=environment, stdin=subprocess.PIPE
    ) as program:
        record = SimpleNamespace(id="a", key="shop/worker", pid=program.pid, stopping_since=None)
        live = cast("LiveInstance", SimpleNamespace(record=record, end=None, unhealthy=None, says_ready=False))
        sockets = NotifySockets(lambda _: None)

        async def heard() -> bool:
            sockets.listen_again([(live, tmp_path / "scratch", None)])
            await soon(lambda: not sockets._looked_for)
            return elsewhere.is_socket()

        assert not asyncio.run(heard())
        program.communicate(b"")
    assert elsewhere.is_file()


@on_the_loop
async def test_an_instance_that_holds_up_whoever_reads_its_environment_holds_up_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, goes_on, reads = tmp_path / "notify-1", threading.Event(), list[list[str]]()

    def held(paths: list[str], kept: Callable[[bytes], bytes | None]) -> dict[str, bytes | None]:
        reads.append(paths)
        goes_on.wait()
        return {each: kept(b"A=1\0NOTIFY_SOCKET=%s\0B=2" % os.fsencode(path)) for each in paths}

    monkeypatch.setattr(notify, "contents", held)
    sockets, live = NotifySockets(lambda _: None), _live()
    for _ in range(2):
        sockets.listen_again([(live, tmp_path, None)])
    await soon(lambda: reads)
    assert not path.exists()
    goes_on.set()
    await soon(path.is_socket)
    _say(path, b"READY=1")
    await soon(lambda: live.says_ready)
    sockets.listen_again([(live, tmp_path, None)])
    assert reads == [["/proc/1/environ"]]
    sockets.close("a")


@on_the_loop
async def test_an_instance_that_has_ended_meanwhile_is_not_heard_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify-1"
    monkeypatch.setattr(notify, "contents", lambda paths, _: dict.fromkeys(paths, os.fsencode(path)))
    sockets, live = NotifySockets(lambda _: None), _live()
    sockets.listen_again([(live, tmp_path, None)])
    live.end = "exited with 1"
    await soon(lambda: not sockets._looked_for)
    assert not path.exists()


@on_the_loop
async def test_files_that_a_process_sends_hold_up_what_it_says_after_them_alone(tmp_path: Path) -> None:
    sockets, live = NotifySockets(lambda _: None), _live()
    path = tmp_path / "notify-1"
    opened = sockets.open(path)
    accept_files(opened)
    sockets.listen(live, opened, None, says_ready=True)
    aside = sockets._listening["a"].aside
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(path))
        give_away(client, b"STATUS=1", given)
        client.send(b"READY=1")
        await soon(lambda: aside.pending)
        await asyncio.sleep(0.05)
        assert aside.pending == 1  # the loop goes on, and the close still waits
        assert not live.says_ready
    await soon(lambda: live.says_ready)
    sockets.close("a")
    assert opened.fileno() == -1


@pytest.mark.parametrize("starts", [True, False])
@on_the_loop
async def test_a_socket_at_which_files_wait_is_closed_without_waiting(tmp_path: Path, starts: bool) -> None:
    sockets, path = NotifySockets(lambda _: None), tmp_path / "notify-1"
    opened = sockets.open(path)
    accept_files(opened)
    if starts:
        sockets.listen(_live(), opened, None, says_ready=True)
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(path))
        give_away(client, b"READY=1", given)
        if starts:
            sockets.close("a")
            assert not path.exists()
        else:
            sockets.discard(opened)
        with pytest.raises(ConnectionError):
            client.send(b"READY=1")
    await soon(lambda: opened.fileno() == -1)


@on_the_loop
async def test_a_kernel_that_can_refuses_files_to_a_process(tmp_path: Path) -> None:
    sockets, live = NotifySockets(lambda _: None), _live()
    opened = sockets.open(tmp_path / "notify-1")
    if opened.getsockopt(socket.SOL_SOCKET, 83) != 0:
        pytest.skip("Linux 6.16 or later only")
    sockets.listen(live, opened, None, says_ready=True)
    with lingering() as given, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.connect(str(tmp_path / "notify-1"))
        with pytest.raises(PermissionError):
            socket.send_fds(client, [b"READY=1"], [given.fileno()])
        client.send(b"READY=1")
        await soon(lambda: live.says_ready)
    sockets.close("a")


def test_what_an_app_put_in_the_place_of_a_socket_is_removed_beside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[threading.Thread] = []

    def removing(path: Path) -> None:
        if path.is_relative_to(tmp_path):  # what an earlier test left is removed in this process, too
            threads.append(threading.current_thread())
        remove_tree(path)

    monkeypatch.setattr(removals, "remove_tree", removing)

    async def story() -> None:
        sockets, live, path = NotifySockets(lambda _: None), _live(), tmp_path / "notify-1"
        path.write_text("large")
        sockets.listen(live, sockets.open(path), None)
        path.unlink()
        path.write_text("large")
        sockets.close("a")
        assert not path.exists()
        await soon(lambda: len(threads) == 2 and not list(tmp_path.iterdir()))

    asyncio.run(story())
    assert threading.main_thread() not in threads


def test_one_that_says_more_than_it_needs_to_is_heard_by_turns_with_all_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rests: list[float] = []

    class Resting:
        def after(self, took_s: float) -> float:
            rests.append(took_s)
            return 0.01

    monkeypatch.setattr(notify, "_resting", Resting())
    monkeypatch.setattr(notify, "_AT_ONCE", 2)

    async def story() -> None:
        sockets, live = NotifySockets(lambda _: None), _live()
        path = tmp_path / "notify-1"
        opened = sockets.open(path)
        sockets.listen(live, opened, None, says_ready=True)
        for text in (*[b"STATUS=busy"] * 6, b"READY=1"):
            _say(path, text)
        await soon(lambda: cast("Any", live).says_ready)
        assert len(rests) == 3
        sockets.close("a")
        await asyncio.sleep(0.02)  # a rest that ends then opens nothing again
        assert not path.exists()

    asyncio.run(story())
