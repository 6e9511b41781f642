"""How many instances start at the same time, and that a slow one keeps no other waiting."""

import asyncio
from contextlib import suppress

import pytest

from reconciler.convergence.slots import Slots


def test_no_more_start_at_once_than_there_are_slots() -> None:
    started: list[int] = []

    async def start(slots: Slots, number: int, ending: asyncio.Event) -> None:
        async with slots.slot():
            started.append(number)
            await ending.wait()

    async def main() -> None:
        slots, ending = Slots(2, 60.0), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(start(slots, number, ending))
            for _ in range(5):
                await asyncio.sleep(0)
            assert started == [0, 1]
            ending.set()
        assert started == [0, 1, 2]

    asyncio.run(main())


def test_a_slow_start_gives_its_slot_up_and_gives_it_back_once() -> None:
    async def main() -> None:
        slots, entered = Slots(1, 0.01), 0
        async with slots.slot(), asyncio.timeout(60), slots.slot():  # the first one is slow
            entered += 1
        async with slots.slot():
            entered += 1
        assert entered == 2

    asyncio.run(main())


def test_the_first_that_waits_too_long_begins_without_a_slot_while_there_is_room() -> None:
    room = False

    async def story() -> None:
        nonlocal room
        slots, begun = Slots(1, 60.0, patience_s=0.01, has_room=lambda _: room), list[int]()
        ending = asyncio.Event()

        async def work(number: int) -> None:
            async with slots.slot():
                begun.append(number)
                await ending.wait()

        works = [asyncio.create_task(work(number)) for number in range(4)]
        await asyncio.sleep(0.05)
        assert begun == [0]
        works[1].cancel()
        room = True
        async with asyncio.timeout(60):
            while begun != [0, 2, 3]:
                await asyncio.sleep(0.01)
        assert slots.are_taken()
        ending.set()
        await asyncio.gather(*works, return_exceptions=True)
        async with slots.slot():
            assert slots.are_taken()
        assert not slots.are_taken()

    asyncio.run(story())


def test_what_waits_and_is_cancelled_gives_back_no_slot_that_it_never_had() -> None:
    async def story() -> None:
        slots = Slots(1, 60.0, patience_s=60.0)
        async with slots.slot():
            waits = asyncio.create_task(slots.slot().__aenter__())
            await asyncio.sleep(0)
            waits.cancel()
            await asyncio.gather(waits, return_exceptions=True)
            assert slots.are_taken()
        assert not slots.are_taken()

    asyncio.run(story())


def test_what_has_slots_apart_keeps_nothing_else_waiting() -> None:
    async def story() -> tuple[bool, bool]:
        slots = Slots(1, 60.0)
        async with slots.apart.slot(), asyncio.timeout(60), slots.slot():
            return slots.apart.are_taken(), slots.are_taken()

    assert asyncio.run(story()) == (True, True)


def test_what_goes_on_comes_before_what_begins_and_what_is_cancelled_takes_no_slot() -> None:
    done: list[str] = []

    async def work(slots: Slots, name: str, *, goes_on: bool) -> None:
        async with slots.slot(goes_on=goes_on):
            done.append(name)

    async def story() -> None:
        slots = Slots(1, 60.0)
        async with slots.slot():
            begins = [asyncio.create_task(work(slots, name, goes_on=False)) for name in ("one", "two")]
            going_on = [asyncio.create_task(work(slots, name, goes_on=True)) for name in ("gone", "first")]
            await asyncio.sleep(0)
            going_on[0].cancel()
        going_on[1].add_done_callback(lambda _: begins[0].cancel())  # who may have its turn by then
        await asyncio.gather(*begins, *going_on, return_exceptions=True)
        assert not slots.are_taken()

    asyncio.run(story())
    assert done[0] == "first"
    assert done[-1] == "two"


def test_who_was_slow_comes_after_others_until_it_was_quick_again_but_is_not_left_out() -> None:
    done: list[str] = []

    async def work(slots: Slots, name: str) -> None:
        async with slots.slot(goes_on=name == "slow", of=name):
            done.append(name)

    async def round_of(slots: Slots, *names: str) -> list[str]:
        done.clear()
        async with slots.slot():
            waiting = [asyncio.create_task(work(slots, name)) for name in names]
            await asyncio.sleep(0)
        await asyncio.gather(*waiting)
        return [*done]

    async def story() -> None:
        slots = Slots(1, 60.0, patience_s=0.01)
        async with slots.slot(of="slow"):
            await asyncio.sleep(0.02)
        slots._patience_s = 60.0
        with suppress(OSError):
            async with slots.slot(of="slow"):
                raise OSError("it fails, however soon")
        assert await round_of(slots, "slow", "one", "two") == ["one", "two", "slow"]
        assert await round_of(slots, "one", "slow", "two") == ["slow", "one", "two"]
        slots._slow["slow"] = None
        many = [str(number) for number in range(8)]
        assert "slow" in (await round_of(slots, "slow", *many))[:4]

    asyncio.run(story())


@pytest.mark.parametrize(
    ("available", "load", "more", "is_allowed"),
    [(50, 99.0, 2, True), (20, 0.0, 1, False), (50, 99.0, 3, False), (50, 3.9, 3, True), (20, 3.9, 3, False)],
)
def test_one_more_begins_while_there_is_memory_and_beyond_twice_as_many_while_processors_are_idle(
    monkeypatch: pytest.MonkeyPatch, available: int, load: float, more: int, is_allowed: bool
) -> None:
    monkeypatch.setattr("reconciler.convergence.slots.host_memory", lambda: (100, available))
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 2)

    async def story() -> bool:
        slots = Slots.patient(2, 60.0)
        slots._free = 1 - more
        return slots._may_be_more()

    assert asyncio.run(story()) == is_allowed
