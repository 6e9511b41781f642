"""What an instance leaves in a session of its own ends with it, and nothing else does."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.linux.removals import Removals
from reconciler.serving.leftovers import Leftovers
from reconciler.serving.marks import APP_MARK, INSTANCE_MARK, STATE_MARK
from tests.support.eventually import soon

_STATE = "5eaf" * 4
Start = Callable[[str, str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a process of an app and an instance, in a session of its own."""
    started = []

    def begin(app: str, instance: str) -> "subprocess.Popen[bytes]":
        env = {STATE_MARK: _STATE, APP_MARK: app, INSTANCE_MARK: instance}
        started.append(subprocess.Popen(["/bin/sleep", "600"], env=env, start_new_session=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_what_an_instance_left_is_ended_and_what_another_started_is_not(start: Start) -> None:
    left, also, other = start("blog", "a" * 12), start("shop", "c" * 12), start("blog", "b" * 12)

    async def story() -> None:
        leftovers = Leftovers(_STATE, Removals())
        leftovers.of_instance("a" * 12, started_here=False)
        leftovers.of_instance("c" * 12, started_here=True)
        await soon(lambda: left.poll() is not None and also.poll() is not None)

    asyncio.run(story())
    assert (left.poll(), also.poll(), other.poll()) == (-9, -9, None)


def test_of_an_app_that_is_removed_everything_is_ended_unless_it_is_started_again(start: Start) -> None:
    left, again = start("blog", "a" * 12), start("shop", "b" * 12)

    async def story() -> None:
        leftovers = Leftovers(_STATE, Removals())
        leftovers.of_app("blog")
        leftovers.of_app("shop")
        leftovers.keep("shop")
        await soon(lambda: left.poll() is not None)

    asyncio.run(story())
    assert (left.poll(), again.poll()) == (-9, None)


_ORPHAN = """
import asyncio, os, subprocess, sys
from reconciler.linux.processes import adopt_orphans
from reconciler.linux.removals import Removals
from reconciler.serving.leftovers import Leftovers
from tests.support.eventually import soon

adopt_orphans()
master = "setsid sleep 600 > /dev/null 2>&1 & echo $!"
env = dict(os.environ, **dict(mark.split("=") for mark in sys.argv[3:]))
left = int(subprocess.run(["/bin/sh", "-c", master], env=env, stdout=subprocess.PIPE, check=True).stdout)

async def story():
    Leftovers(sys.argv[1], Removals()).of_instance(sys.argv[2], started_here=True)
    await soon(lambda: open(f"/proc/{left}/stat").read().rpartition(")")[2].split()[0] == "Z")

asyncio.run(story())
"""


def test_what_an_instance_left_that_this_process_started_is_looked_for_below_it_only() -> None:
    state = secrets.token_hex(8)
    marks = {STATE_MARK: state, APP_MARK: "blog", INSTANCE_MARK: "a" * 12}
    elsewhere = subprocess.Popen(["/bin/sleep", "600"], env=marks)
    try:
        given = [f"{mark}={value}" for mark, value in marks.items()]
        subprocess.run([sys.executable, "-c", _ORPHAN, state, "a" * 12, *given], check=True, timeout=60)
        assert elsewhere.poll() is None
    finally:
        elsewhere.kill()
        elsewhere.wait()


def test_a_directory_that_nothing_uses_is_removed_soon(tmp_path: Path) -> None:
    directory, other = tmp_path / ("a" * 12), tmp_path / ("b" * 12)
    for each in (directory, other):
        each.mkdir()

    async def story() -> None:
        leftovers = Leftovers(_STATE, Removals())
        leftovers.remove(directory)
        assert leftovers.directories_in(tmp_path) == {directory.name}
        assert directory.exists()
        await soon(lambda: list(tmp_path.iterdir()) == [other])
        assert leftovers.directories_in(tmp_path) == frozenset()

    asyncio.run(story())
