"""Ends of processes, as the daemon learns of them."""

import asyncio
import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux import processes
from reconciler.linux.child import Child
from reconciler.linux.processes import Command, Process, reap_killed, spawn
from reconciler.linux.tree_exec import be_marked
from tests.support.eventually import soon

_SEIZE = 0x4206  # PTRACE_SEIZE of <linux/ptrace.h>
_TRACER = f"""
import ctypes, sys, time
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
print(libc.ptrace({_SEIZE}, int(sys.argv[1]), None, None), flush=True)
time.sleep(600)
"""


@contextmanager
def traced() -> Iterator[subprocess.Popen[bytes]]:
    """A child that another process traces: once it has ended, only the tracer can learn how."""
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    tracer = subprocess.Popen([sys.executable, "-c", _TRACER, str(child.pid)], stdout=subprocess.PIPE)
    assert tracer.stdout is not None
    try:
        if tracer.stdout.readline() != b"0\n":
            pytest.skip("this host lets no process trace another")
        yield child
    finally:
        tracer.stdout.close()
        for each in (tracer, child):
            each.kill()
            each.wait()


def test_the_end_of_a_process_that_another_traces_is_noticed_and_not_waited_for() -> None:
    async def story(child: subprocess.Popen[bytes]) -> None:
        ended = asyncio.Event()
        process = Process(child.pid, os.pidfd_open(child.pid), child=True, ended=ended.set)
        process.signal(signal.SIGKILL)
        async with asyncio.timeout(60.0):
            await ended.wait()
        assert process.end == "ended"

    with traced() as child:
        asyncio.run(story(child))


@pytest.mark.parametrize(("handler", "told"), [("lambda *_: print('heard')", True), ("signal.SIG_DFL", False)])
def test_a_signal_that_a_process_does_not_catch_yet_is_not_sent(handler: str, told: bool) -> None:
    code = f"import signal; signal.signal(signal.SIGUSR1, {handler}); print('ready', flush=True); input()"

    async def story(child: subprocess.Popen[str]) -> None:
        process = Process(child.pid, os.pidfd_open(child.pid), child=False, ended=lambda: None)
        assert process.signal_if_caught(signal.SIGUSR1) is told
        output, _ = await asyncio.to_thread(child.communicate, "go on\n")
        assert (child.returncode, output) == (0, "heard\n" if told else "")
        assert process.signal_if_caught(signal.SIGUSR1)  # there is nobody left to tell
        process.forget()

    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        asyncio.run(story(child))


def test_a_killed_child_that_another_traces_is_not_waited_for_either() -> None:
    with traced() as child:
        child.kill()
        reap_killed(child.pid, at_most_s=0.05)
        assert os.path.exists(f"/proc/{child.pid}")  # noqa: PTH110


def test_a_killed_child_is_reaped() -> None:
    child = os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
    os.kill(child, signal.SIGKILL)
    reap_killed(child, at_most_s=30.0)
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


@pytest.mark.parametrize("how", ["child", "spawn"])
def test_a_child_that_cannot_be_watched_is_killed_and_reaped_without_blocking_the_loop(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    slept: list[float] = []
    really_sleep = time.sleep

    def refused(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        really_sleep(seconds)

    argv = ("sleep", "600")
    sleeper = Command(argv=("/bin/sleep", "600"), env={}, listener=None, output=tmp_path / "log")

    async def story() -> None:
        monkeypatch.setattr(os, "pidfd_open", refused)
        monkeypatch.setattr(time, "sleep", sleep)
        with pytest.raises(OSError, match="Too many open files"):
            _ = Child(argv) if how == "child" else spawn(sleeper, lambda: None)
        monkeypatch.undo()
        assert slept == []
        await soon(lambda: is_reaped(started[0]))

    asyncio.run(story())


def is_reaped(pid: int) -> bool:
    return not os.path.exists(f"/proc/{pid}")  # noqa: PTH110


@pytest.mark.parametrize("swapped", [False, True])
def test_two_listeners_and_a_report_are_descriptors_3_4_and_5_whatever_they_are_here(
    tmp_path: Path, *, swapped: bool
) -> None:
    script = "import os; [os.write(n, b'%d ' % n) for n in (3, 4, 5)]; open('/dev/null').close()"
    places = [tmp_path / name for name in ("first", "second", "report")]
    opened = [os.open(place, os.O_WRONLY | os.O_CREAT) for place in places]
    # As low as can be, and in the way of each other.
    given = [fcntl.fcntl(opened[0], fcntl.F_DUPFD_CLOEXEC, 4), fcntl.fcntl(opened[1], fcntl.F_DUPFD_CLOEXEC, 3)]
    first, beside = reversed(given) if swapped else given
    command = Command(
        argv=(sys.executable, "-I", "-S", "-c", script), env={}, output=tmp_path / "log", listener=first, beside=beside,
        report=opened[2],
    )  # fmt: skip
    assert command.reports_at == 5

    async def story() -> None:
        ended = asyncio.Event()
        process = spawn(command, ended.set)
        await ended.wait()
        assert process.end == "exited with 0", (tmp_path / "log").read_text()

    asyncio.run(story())
    for each in (*opened, *given):
        os.close(each)
    said = ["3 ", "4 ", "5 "]
    assert [place.read_text() for place in places] == ([said[1], said[0], said[2]] if swapped else said)


def test_a_process_that_has_ended_lets_go_of_whoever_waited_for_it_without_a_collection_of_garbage(
    tmp_path: Path,
) -> None:
    class Waits:
        process: Process
        ended = False

        def on_end(self) -> None:
            self.ended = True

    async def story() -> "weakref.ref[Waits]":
        waits = Waits()
        command = Command(argv=["/bin/true"], env={}, listener=None, output=tmp_path / "log")
        waits.process = spawn(command, waits.on_end)
        await soon(lambda: waits.ended)
        return weakref.ref(waits)

    async def outlived() -> bool:
        seen = await story()
        await asyncio.sleep(0)
        return seen() is not None

    gc.disable()
    try:
        assert not asyncio.run(outlived())
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "group", [None, pytest.param(4711, marks=pytest.mark.skipif(os.geteuid() != 0, reason="root"))]
)
def test_a_marked_orphan_of_any_group_is_killed_and_what_is_watched_is_not(group: int | None) -> None:
    options: dict[str, Any] = {} if group is None else {"group": group, "extra_groups": []}
    script = (
        f"import time; from {be_marked.__module__} import be_marked; be_marked(); print(flush=True); time.sleep(600)"
    )
    orphan, ours = (
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, **options) for _ in range(2)
    )
    try:
        for each in (orphan, ours):
            assert each.stdout is not None
            assert each.stdout.readline() == b"\n"
        processes._watched.add(ours.pid)
        assert processes._kill_marked_orphans()
        assert orphan.wait(60) == -signal.SIGKILL
        assert not processes._kill_marked_orphans()
        assert ours.poll() is None
    finally:
        processes._watched.discard(ours.pid)
        for each in (orphan, ours):
            each.kill()
            each.wait()
            assert each.stdout is not None
            each.stdout.close()
