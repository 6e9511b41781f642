"""Child processes end when they are told to, with all they started, and whatever they have written meanwhile."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from reconciler.linux.child import Child
from reconciler.linux.child_processes import bound_to_us, bound_with_descendants, end, running, start
from tests.support.escaping import end as end_escaped
from tests.support.escaping import escaping, have_ended
from tests.support.eventually import eventually

_LONG_S = 60.0


async def child(script: str) -> Child:
    return await start(("sh", "-c", script), stdout=asyncio.subprocess.PIPE)


async def said(one: Child) -> str:
    assert one.stdout is not None
    return (await one.stdout.readline()).decode().strip()


async def flooding() -> Child:
    """One that has written more than asyncio takes in while nobody reads, so that the end of it is not seen."""
    flood = await child("yes")
    assert flood.stdout is not None
    await flood.stdout.read(65536)
    for _ in range(20):
        time.sleep(0.002)
        await asyncio.sleep(0)
    return flood


def test_one_that_writes_faster_than_anybody_reads_is_ended() -> None:
    async def story() -> None:
        async with asyncio.timeout(_LONG_S):
            flood = await flooding()
            await end(flood)
            assert flood.returncode == -9

    asyncio.run(story())


def test_one_that_ends_by_itself_is_gone_though_nobody_read_it() -> None:
    async def story() -> None:
        async with asyncio.timeout(_LONG_S):
            full = await child("yes | head -c 1000000; exit 3")
            assert full.stdout is not None
            left = 1_000_000
            while left > 300_000:
                left -= len(await full.stdout.read(65536))
            await asyncio.sleep(0)
            with suppress(ProcessLookupError):
                os.kill(full.pid, 15)
            await end(full)

    asyncio.run(story())


def test_what_it_started_ends_with_it() -> None:
    async def story() -> None:
        parent = await child("sleep 1000 & echo $!; wait")
        grandchild = int(await said(parent))
        await end(parent)
        eventually(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie")

    asyncio.run(story())


@pytest.mark.parametrize(("grace_s", "status"), [(_LONG_S, 7), (0.2, -9), (0.0, -9)])
def test_it_may_end_by_itself_while_the_grace_lasts(grace_s: float, status: int) -> None:
    obeys = "trap 'exit 7' TERM" if status == 7 else "trap '' TERM"

    async def story() -> None:
        one = await child(f"{obeys}; echo ready; while :; do sleep 0.01; done")
        assert await said(one) == "ready"
        await end(one, grace_s)
        assert one.returncode == status

    asyncio.run(story())


def test_a_cancelled_end_still_ends_it_and_is_cancelled() -> None:
    async def story() -> None:
        one = await child("trap '' TERM; echo ready; while :; do sleep 0.01; done")
        await said(one)
        ending = asyncio.ensure_future(end(one, _LONG_S))
        await asyncio.sleep(0.05)
        ending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ending
        assert one.returncode == -9

    asyncio.run(story())


def test_a_cancelled_start_leaves_nothing_running(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    async def story() -> None:
        starting = asyncio.ensure_future(child(f"echo $$ > {pid_file}; exec sleep 1000"))
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting

    asyncio.run(story())
    if pid_file.exists() and pid_file.read_text():  # it may have been killed before it could write
        assert not psutil.pid_exists(int(pid_file.read_text()))


@pytest.mark.parametrize("script", ["sleep 1000 & echo $!; exit 0", "sleep 1000 & echo $!; wait"])
def test_the_context_ends_the_whole_group_whether_its_leader_is_done_or_not(script: str) -> None:
    async def story() -> None:
        async with running(("sh", "-c", script), _LONG_S, stdout=asyncio.subprocess.PIPE) as one:
            grandchild = int(await said(one))
        eventually(lambda: not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie")

    asyncio.run(story())


def test_the_context_lasts_no_longer_than_its_time() -> None:
    async def story() -> Child:
        with pytest.raises(TimeoutError):
            async with running(("sleep", "1000"), 0.1) as one:
                await one.wait()
        return one

    assert asyncio.run(story()).returncode == -9


def test_a_program_that_does_not_exist_is_an_error_and_no_child() -> None:
    async def story() -> None:
        async with running(("/no/such/program",), _LONG_S):
            raise AssertionError("it was started")

    with pytest.raises(FileNotFoundError):
        asyncio.run(story())


# Starts a command that is bound to it, says which process that is, and is killed.
_KILLED = """
import asyncio, os, signal, sys
from reconciler.linux.child_processes import bound_to_us, start

async def main():
    command = bound_to_us(("sh", "-c", "echo ready; exec sleep 1000"), nice=3)
    child = await start(command, stdout=asyncio.subprocess.PIPE)
    await child.stdout.readline()
    niceness = [os.getpriority(os.PRIO_PROCESS, pid) for pid in (child.pid, 0)]
    print(child.pid, niceness[0] - niceness[1], flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def test_a_bound_child_is_killed_with_its_parent() -> None:
    run = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False)
    pid, nicer = map(int, run.stdout.split())
    assert (run.returncode, nicer) == (-9, 3)
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_the_bound_command_that_does_not_exist_says_so() -> None:
    async def story() -> tuple[int | None, bytes]:
        async with running(bound_to_us(("/no/such/program",)), _LONG_S, stderr=asyncio.subprocess.PIPE) as one:
            _, said = await one.communicate()
        return one.returncode, said

    assert asyncio.run(story()) == (1, b"cannot run /no/such/program: No such file or directory\n")


# Has a process of a session of its own trace it, tells that one's pid, and goes on with `then`.
_TRACED = """
import ctypes, os, sys, time

libc, traced, (reading, writing) = ctypes.CDLL(None, use_errno=True), os.getpid(), os.pipe()
if (tracer := os.fork()) == 0:
    os.setsid()
    for standard in (0, 1, 2):
        os.close(standard)
    refused = libc.ptrace({seize}, traced, None, None) and ctypes.get_errno()
    os.write(writing, bytes([refused]))
    while True:
        time.sleep(1000)
refused = os.read(reading, 1)[0]
print(f"refused: {{os.strerror(refused)}}" if refused else tracer, flush=True)
{then}
"""
_PTRACE_SEIZE = 0x4206  # linux/ptrace.h


def traced(then: str) -> tuple[str, ...]:
    return (sys.executable, "-c", _TRACED.format(seize=_PTRACE_SEIZE, then=then))


async def tracer_of(one: Child) -> int:
    told = await said(one)
    if told.startswith("refused"):
        await end(one)
        pytest.skip(f"this kernel lets no process trace its parent: {told}")
    return int(told)


@pytest.mark.parametrize("then", ["os._exit(3)", "time.sleep(1000)"])
def test_one_that_is_traced_when_it_ends_keeps_nobody_waiting(then: str) -> None:
    async def story() -> None:
        one = await start(traced(then), stdout=asyncio.subprocess.PIPE)
        tracer = psutil.Process(await tracer_of(one))
        try:
            async with asyncio.timeout(_LONG_S):
                if then.startswith("os"):
                    await one.wait()  # its tracer knows its code, and does not tell
                await end(one)
            assert tracer.is_running()
            assert one.returncode == 255
        finally:
            tracer.kill()
            eventually(lambda: os.waitpid(one.pid, os.WNOHANG)[0] == one.pid)

    asyncio.run(story())


def test_one_whose_tracer_lets_it_go_in_time_tells_its_code() -> None:
    async def story() -> None:
        one = await start(traced("os.kill(tracer, 9); os._exit(3)"), stdout=asyncio.subprocess.PIPE)
        await tracer_of(one)
        assert await one.wait() == 3
        await end(one)

    asyncio.run(story())


def test_a_tracer_ends_with_the_command_that_it_traces() -> None:
    async def story() -> None:
        one = await start(bound_with_descendants(traced("os._exit(3)")), stdout=asyncio.subprocess.PIPE)
        tracer = await tracer_of(one)
        await end(one, _LONG_S)
        assert one.returncode == -9
        assert gone(tracer)

    asyncio.run(story())


async def leaving(then: str) -> tuple[Child, list[int]]:
    """Start a command that starts two processes in sessions of their own; once they run, it goes on with `then`."""
    script = f"setsid sh -c 'echo $$; exec sleep 1000' & setsid sh -c 'setsid sleep 1000 & echo $!'; read go; {then}"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    one = await start(bound_with_descendants(("sh", "-c", script)), **pipes)
    left = [int(await said(one)), int(await said(one))]
    assert one.stdin is not None
    one.stdin.write(b"\n")
    return one, left


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie"


@pytest.mark.parametrize(
    ("then", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", -9), ("kill -SEGV $$", -11)]
)
def test_what_a_command_started_ends_with_it_and_its_status_is_the_commands(then: str, code: int) -> None:
    async def story() -> None:
        one, left = await leaving(then)
        assert await one.wait() == code
        assert all(gone(pid) for pid in left)
        await end(one)

    asyncio.run(story())


def test_what_a_command_started_ends_when_it_is_ended_though_it_takes_no_notice() -> None:
    async def story() -> None:
        one, left = await leaving("trap '' TERM; while :; do sleep 1000; done")
        await end(one, _LONG_S)
        assert all(gone(pid) for pid in left)

    asyncio.run(story())


def test_a_descriptor_stays_with_the_command_until_its_last_descendant_has_ended() -> None:
    async def story() -> None:
        reading, writing = os.pipe()
        script = "ls /proc/$$/fd; setsid sh -c 'ls /proc/$$/fd' & wait"
        command = bound_with_descendants(("sh", "-c", script))
        one = await start(command, stdout=asyncio.subprocess.PIPE, pass_fds=(writing,))
        os.close(writing)
        printed, _ = await one.communicate()
        assert str(writing).encode() not in printed.split()
        assert os.read(reading, 1) == b""  # the last copy of the other end is closed
        os.close(reading)

    asyncio.run(story())


_KILLED_WITH_ALL = (
    _KILLED.replace("bound_to_us", "bound_with_descendants")
    .replace('"echo ready; exec sleep 1000"', '"setsid sleep 1000 & echo $!; wait"')
    .replace("await child.stdout.readline()", "left = int(await child.stdout.readline())")
    .replace("print(child.pid, niceness[0] - niceness[1], flush=True)", "print(child.pid, left, flush=True)")
)


def test_what_a_command_started_ends_with_the_process_that_started_the_command() -> None:
    run = subprocess.run([sys.executable, "-c", _KILLED_WITH_ALL], capture_output=True, text=True, check=False)
    pids = [int(pid) for pid in run.stdout.split()]
    assert (run.returncode, len(pids)) == (-9, 2)
    eventually(lambda: all(gone(pid) for pid in pids))


_ESCAPED = """
import asyncio, subprocess, sys
from reconciler.linux.child_processes import bound_with_descendants, start
from reconciler.linux.processes import adopt_orphans

adopt_orphans()

async def story():
    one = await start(bound_with_descendants(sys.argv[1:]), stdout=asyncio.subprocess.PIPE)
    await one.wait()
    printed, _ = await one.communicate()  # to the end: none of them holds the pipe open
    print(one.returncode, printed)

other = subprocess.Popen(["sleep", "1000"])
asyncio.run(story())
print(other.poll())
other.kill()
"""


def test_what_a_command_started_ends_though_it_kills_what_was_to_end_it(tmp_path: Path) -> None:
    words, left = escaping(tmp_path)
    try:
        run = subprocess.run(
            [sys.executable, "-c", _ESCAPED, *words], capture_output=True, text=True, check=False, timeout=_LONG_S
        )
        assert (run.stdout, run.stderr) == ("-9 b''\nNone\n", "")
        assert have_ended(left)
    finally:
        end_escaped(left)


_FORKS = """
import os, time
from reconciler.linux.processes import Orphans, adopt_orphans

adopt_orphans()
orphans = Orphans()
assert not orphans.reap()
last, held = os.pipe()
for _ in range(300):
    if os.fork() == 0:
        os.fork()
        os._exit(0)
    os.wait()
os.close(held)
os.read(last, 1)  # until all of them have ended
calls = 0
while True:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        break
    orphans.reap()
    calls += 1
assert not orphans.reap()
print(calls)
"""


def test_any_number_of_orphans_is_reaped_in_a_few_looks() -> None:
    found = subprocess.run([sys.executable, "-c", _FORKS], capture_output=True, text=True, check=False, timeout=_LONG_S)
    assert found.stderr == ""
    assert int(found.stdout) < 50


_THREADED = """
import subprocess, sys, threading
from reconciler.linux.processes import adopt_orphans, descendants

assert descendants() is None
adopt_orphans()
started, over = [], threading.Event()

def begin():
    started.append(subprocess.Popen([sys.executable, "-c", _BELOW], stdin=subprocess.PIPE, stdout=subprocess.PIPE))
    over.wait()

thread = threading.Thread(target=begin)
thread.start()
while not started:
    pass
below = int(started[0].stdout.readline())
assert descendants() == {started[0].pid, below}, (descendants(), started[0].pid, below)
started[0].communicate()
over.set()
"""
_BELOW = """
import subprocess, sys
child = subprocess.Popen(["cat"], stdin=0)
print(child.pid, flush=True)
child.wait()
"""


def test_descendants_are_those_of_every_thread_at_any_depth() -> None:
    script = f"_BELOW = {_BELOW!r}\n{_THREADED}"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=_LONG_S)
    assert (found.returncode, found.stderr) == (0, "")
