"""Few apps are half staged at once, and one that waits for an environment holds up none but those like it."""

import asyncio
from collections.abc import Hashable
from contextlib import suppress

from reconciler.convergence.slots import Slots
from reconciler.staging.entrance import Entrance
from reconciler.staging.progress import ENVIRONMENT_OF_ANOTHER, Phase

_TURNS = 20


class Story:
    """Apps that are staged until the test says so, behind an entrance for two at once."""

    def __init__(self) -> None:
        self.entrance = Entrance(Slots(2, 60.0))
        self.inside: list[str] = []
        self.told: dict[str, Phase] = {}
        self._may_end: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def begin(self, name: str, made_of: Hashable) -> None:
        self._may_end[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._staged(name, made_of))
        await self._settled()

    async def end(self, *names: str, cancelled: bool = False) -> None:
        for name in names:
            if cancelled:
                self._tasks[name].cancel()
            self._may_end[name].set()
            with suppress(asyncio.CancelledError):
                await self._tasks[name]
        await self._settled()

    async def wait(self, name: str) -> None:
        self.entrance.waits(name)
        await self._settled()

    async def _staged(self, name: str, made_of: Hashable) -> None:
        def tell(phase: Phase) -> None:
            self.told[name] = phase

        async with self.entrance.inside(name, made_of, tell):
            self.inside.append(name)
            try:
                await self._may_end[name].wait()
            finally:
                self.inside.remove(name)

    async def _settled(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)


async def in_which_three_stays_outside_as_two_waits() -> Story:
    here = Story()
    for name in ("one", "two"):
        await here.begin(name, "the same")
    await here.wait("two")
    await here.begin("three", "the same")
    return here


def test_no_more_apps_are_half_staged_than_the_entrance_lets_in() -> None:
    async def story() -> None:
        here = Story()
        for name in ("blog", "shop", "wiki"):
            await here.begin(name, name)
        assert here.inside == ["blog", "shop"]
        assert str(here.told["wiki"]) == "waiting until other apps are staged"
        await here.end("blog")
        assert here.inside == ["shop", "wiki"]
        await here.end("shop", "wiki")
        assert not here.inside

    asyncio.run(story())


def test_apps_that_wait_for_an_environment_hold_up_no_other() -> None:
    async def story() -> None:
        here = Story()
        for name in ("blog", "shop"):
            await here.begin(name, name)
            await here.wait(name)
        for name in ("wiki", "news"):
            await here.begin(name, name)
        assert here.inside == ["blog", "shop", "wiki", "news"]
        await here.end(*here.inside[:])

    asyncio.run(story())


def test_apps_like_one_that_waits_stay_outside_until_it_ends_and_others_pass_them() -> None:
    async def story() -> None:
        here = Story()
        for name in ("one", "two", "three", "four"):
            await here.begin(name, "the same")
        await here.wait("two")
        assert here.inside == ["one", "two"]
        assert here.told["three"] == ENVIRONMENT_OF_ANOTHER
        await here.begin("blog", "another")
        assert here.inside == ["one", "two", "blog"]
        await here.end("blog", "one", "two")
        assert here.inside == ["three", "four"]
        await here.end("three", "four")

    asyncio.run(story())


def test_apps_like_one_that_waited_are_let_in_as_soon_as_it_goes_on() -> None:
    async def story() -> None:
        here = await in_which_three_stays_outside_as_two_waits()
        here.entrance.goes_on("one")  # which makes what the others wait for
        await here.begin("four", "the same")
        assert here.inside == ["one", "two"]
        here.entrance.goes_on("two")
        await here.begin("blog", "another")
        assert here.inside == ["one", "two", "three"]
        await here.end("one")
        assert here.inside == ["two", "three", "four"]
        await here.end("two", "three")
        await here.end("four", "blog")

    asyncio.run(story())


def test_those_outside_go_on_when_what_they_wait_for_is_cancelled() -> None:
    async def story() -> None:
        here = await in_which_three_stays_outside_as_two_waits()
        await here.begin("four", "the same")
        await here.end("three", cancelled=True)
        await here.end("one", "two", cancelled=True)
        assert here.inside == ["four"]
        await here.end("four")
        here.entrance.waits("four")  # it is over: nobody is held up by that
        await here.begin("five", "the same")
        assert here.inside == ["five"]
        await here.end("five")

    asyncio.run(story())
