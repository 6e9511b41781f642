"""What an instance leaves in a session of its own ends with it, and nothing else does."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator

import pytest

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
        leftovers = Leftovers(_STATE)
        leftovers.of_instance("a" * 12)
        leftovers.of_instance("c" * 12)
        await soon(lambda: left.poll() is not None and also.poll() is not None)

    asyncio.run(story())
    assert (left.poll(), also.poll(), other.poll()) == (-9, -9, None)


def test_of_an_app_that_is_removed_everything_is_ended_unless_it_is_started_again(start: Start) -> None:
    left, again = start("blog", "a" * 12), start("shop", "b" * 12)

    async def story() -> None:
        leftovers = Leftovers(_STATE)
        leftovers.of_app("blog")
        leftovers.of_app("shop")
        leftovers.keep("shop")
        await soon(lambda: left.poll() is not None)

    asyncio.run(story())
    assert (left.poll(), again.poll()) == (-9, None)
