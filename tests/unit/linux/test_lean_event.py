"""A lean event is an event: it wakes all that wait for it, and keeps nothing of one that waits no more."""

import asyncio

from reconciler.linux.lean_event import LeanEvent


def test_all_that_wait_go_on_when_it_happens() -> None:
    async def story() -> None:
        event = LeanEvent()
        waiting = [asyncio.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(each.done() for each in waiting)
        event.set()
        assert await asyncio.gather(*waiting) == [True] * 3
        assert event.is_set()
        assert await event.wait()

    asyncio.run(story())


def test_what_is_cleared_is_waited_for_again_and_who_was_woken_stays_so() -> None:
    async def story() -> None:
        event = LeanEvent()
        first = asyncio.create_task(event.wait())
        await asyncio.sleep(0)
        event.set()
        event.clear()
        second = asyncio.create_task(event.wait())
        assert await first
        assert not event.is_set()
        assert not second.done()
        event.set()
        assert await second

    asyncio.run(story())


def test_one_that_is_cancelled_waits_no_more_and_the_others_do() -> None:
    async def story() -> None:
        event = LeanEvent()
        ended, other = (asyncio.create_task(event.wait()) for _ in range(2))
        await asyncio.sleep(0)
        assert repr(event) == "<LeanEvent unset, waited for by 2>"
        ended.cancel()
        await asyncio.wait((ended,))
        assert repr(event) == "<LeanEvent unset, waited for by 1>"
        event.set()
        assert await other
        assert repr(event) == "<LeanEvent set, waited for by 0>"

    asyncio.run(story())
