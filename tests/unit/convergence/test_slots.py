"""How many instances start at the same time, and that a slow one keeps no other waiting."""

import asyncio

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


def test_what_has_slots_apart_keeps_nothing_else_waiting() -> None:
    async def story() -> tuple[bool, bool]:
        slots = Slots(1, 60.0)
        async with slots.apart.slot(), asyncio.timeout(60), slots.slot():
            return slots.apart.are_taken(), slots.are_taken()

    assert asyncio.run(story()) == (True, True)
