"""Work that outlives its caller, and work that is done once for all who want it."""

import asyncio
import gc
import threading
import weakref

import pytest

from reconciler.staging.concurrency import DetachedWork, SingleFlight, in_thread
from tests.support.collections import none_by_itself


class Work:
    """Work that ends when the test says so, and counts how often it was begun and cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.may_end = asyncio.Event()

    async def run(self) -> int:
        self.begun += 1
        try:
            await self.may_end.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.begun


def test_detached_work_survives_its_caller_and_is_joined_again() -> None:
    async def story() -> None:
        detached: DetachedWork[int] = DetachedWork()
        work = Work()
        caller = asyncio.create_task(detached.result("blog", "b1", work.run))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert detached.is_awaited("blog")
        caller.cancel()
        await asyncio.wait((caller,))
        assert not detached.is_awaited("blog")
        again = asyncio.create_task(detached.result("blog", "b1", work.run))
        work.may_end.set()
        assert await again == 1
        assert (work.begun, work.cancelled) == (1, 0)

    asyncio.run(story())


def test_detached_work_for_another_key_ends_the_work_before_it() -> None:
    async def story() -> None:
        detached: DetachedWork[int] = DetachedWork()
        old, new = Work(), Work()
        first = asyncio.create_task(detached.result("blog", "b1", old.run))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        new.may_end.set()
        assert await detached.result("blog", "b2", new.run) == 1
        assert old.cancelled == 1
        await asyncio.wait((first,))
        assert first.cancelled()

    asyncio.run(story())


def test_cancelling_all_detached_work_waits_until_it_has_ended() -> None:
    async def story() -> None:
        detached: DetachedWork[int] = DetachedWork()
        works = {name: Work() for name in ("blog", "shop")}
        callers = [asyncio.create_task(detached.result(name, "b1", work.run)) for name, work in works.items()]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await detached.cancel_all()
        assert [work.cancelled for work in works.values()] == [1, 1]
        await asyncio.wait(callers)

    asyncio.run(story())


def test_work_for_one_key_runs_once_at_a_time() -> None:
    async def story() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        work = Work()
        callers = [asyncio.create_task(flights.result("key", work.run)) for _ in range(5)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert flights.in_flight("key")
        work.may_end.set()
        assert [await caller for caller in callers] == [1] * 5
        assert not flights.in_flight("key")

    asyncio.run(story())


def test_a_caller_takes_over_when_the_one_that_works_is_cancelled() -> None:
    async def story() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        work = Work()
        first = asyncio.create_task(flights.result("key", work.run))
        await asyncio.sleep(0)
        second = asyncio.create_task(flights.result("key", work.run))
        await asyncio.sleep(0)
        first.cancel()
        work.may_end.set()
        assert await second == 2
        assert work.cancelled == 1

    asyncio.run(story())


def test_a_cancelled_thread_is_told_and_waited_for() -> None:
    async def story() -> None:
        loop, started, ended = asyncio.get_running_loop(), asyncio.Event(), []

        async def run() -> None:
            def blocking(should_continue: object) -> None:
                assert callable(should_continue)
                loop.call_soon_threadsafe(started.set)
                while should_continue():
                    pass
                ended.append(True)

            await in_thread(blocking)

        task = asyncio.create_task(run())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [True]

    asyncio.run(story())


def test_what_thousands_that_waited_for_the_same_work_make_then_is_collected_in_parts() -> None:
    async def story() -> None:
        flights: SingleFlight[str, int] = SingleFlight()
        work, kept, young = Work(), [[number] for number in range(200_000)], list[int]()

        async def call() -> None:
            await flights.result("key", work.run)
            del kept[-100:]
            kept[:0] = [[number] for number in range(100)]
            young.append(len(gc.get_objects(generation=0)))

        callers = [asyncio.create_task(call()) for _ in range(1_000)]
        while not flights.in_flight("key"):
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        work.may_end.set()
        await asyncio.wait(callers)
        assert max(young) < 20_000

    with none_by_itself():
        asyncio.run(story())


def test_what_thousands_make_after_work_in_threads_is_collected_in_parts() -> None:
    async def story() -> None:
        may_end, kept, young = threading.Event(), [[number] for number in range(200_000)], list[int]()

        async def call() -> None:
            await in_thread(lambda _: may_end.wait())
            del kept[-100:]
            kept[:0] = [[number] for number in range(100)]
            young.append(len(gc.get_objects(generation=0)))

        callers = [asyncio.create_task(call()) for _ in range(500)]
        await asyncio.sleep(0)
        gc.collect()
        may_end.set()
        await asyncio.wait(callers)
        assert max(young) < 20_000

    with none_by_itself():
        asyncio.run(story())


def test_an_error_that_is_kept_keeps_nothing_of_what_was_read() -> None:
    class Read:
        """What a reader holds, and loses with its frame."""

    held: list[weakref.ref[Read]] = []

    def read() -> None:
        content = Read()
        held.append(weakref.ref(content))
        try:
            raise OSError("it ends early")
        except OSError as error:
            raise ValueError("broken") from error

    with pytest.raises(ValueError, match="broken") as kept:
        asyncio.run(in_thread(lambda _: read()))
    assert isinstance(kept.value.__cause__, OSError)
    assert held[0]() is None
