"""Child processes end when they are told to, with all they started, and whatever they have written meanwhile."""

import asyncio
import time
from pathlib import Path

import psutil
import pytest

from reconciler.linux.child_processes import Child, end, gone, started
from tests.support.eventually import eventually

_LONG_S = 60.0


async def child(script: str) -> Child:
    return await started(
        asyncio.create_subprocess_exec("sh", "-c", script, stdout=asyncio.subprocess.PIPE, start_new_session=True)
    )


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
            full.send_signal(15)
            await gone(full)

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
