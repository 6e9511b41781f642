"""What a wake queue promises to those who wake and to the one who is woken."""

import asyncio
import gc
from collections.abc import Callable

from reconciler.convergence.wake_queue import WakeQueue
from tests.support.collections import none_by_itself


class Started:
    """The names that were started, each with its event."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.events: dict[str, asyncio.Event] = {}

    def __call__(self, name: str, wakeup: asyncio.Event) -> None:
        self.names.append(name)
        self.events[name] = wakeup


def test_nothing_is_woken_before_the_queue_is_open_nor_after_it_is_closed() -> None:
    queue, started = WakeQueue(), Started()
    queue.wake("blog")
    assert not queue.is_served("blog")
    queue.open(started)
    assert started.names == []
    queue.close()
    queue.wake("blog")
    assert started.names == []


def test_many_wake_ups_of_a_name_start_it_once_and_set_its_event() -> None:
    queue, started = WakeQueue(), Started()
    queue.open(started)
    for name in ("blog", "shop", "blog"):
        queue.wake(name)
    assert started.names == ["blog", "shop"]
    assert started.events["blog"].is_set()
    started.events["blog"].clear()
    queue.wake("blog")
    assert started.names == ["blog", "shop"]
    assert started.events["blog"].is_set()


def test_a_name_that_was_released_is_started_again() -> None:
    queue, started = WakeQueue(), Started()
    queue.open(started)
    queue.wake("blog")
    queue.release("blog")
    assert not queue.is_served("blog")
    queue.wake("blog")
    assert started.names == ["blog", "blog"]


def test_what_is_ignored_is_not_woken_until_it_is_ignored_no_more() -> None:
    queue, started = WakeQueue(), Started()
    queue.open(started)
    queue.ignore(("blog",))
    queue.wake("blog")
    queue.wake("shop")
    assert started.names == ["shop"]
    queue.ignore(())
    queue.wake("blog")
    assert started.names == ["shop", "blog"]


class Looked:
    """A name of which is known whether it is unchanged, and how often that was asked."""

    def __init__(self, *, unchanged: bool) -> None:
        self.unchanged, self.times = unchanged, 0

    def __call__(self) -> bool:
        self.times += 1
        return self.unchanged


def waiting(is_unchanged: Callable[[], bool]) -> tuple[WakeQueue, Started]:
    """A queue of which `blog` was woken before, and waits for a wake-up that brings a change."""
    queue, started = WakeQueue(), Started()
    queue.open(started)
    queue.wake("blog")
    started.events["blog"].clear()
    queue.wake_unless("blog", is_unchanged)
    return queue, started


def test_a_name_of_which_nothing_has_changed_is_looked_at_once_for_many_wake_ups_and_not_woken() -> None:
    async def story() -> None:
        looked = Looked(unchanged=True)
        queue, started = waiting(looked)
        for _ in range(3):
            queue.wake("blog")
        await asyncio.sleep(0)
        assert (looked.times, started.events["blog"].is_set()) == (1, False)
        looked.unchanged = False
        queue.wake("blog")
        await asyncio.sleep(0)
        assert started.events["blog"].is_set()

    asyncio.run(story())


def test_a_wake_up_that_was_not_looked_at_yet_is_passed_on_when_the_name_is_always_woken_again() -> None:
    async def story() -> None:
        looked = Looked(unchanged=True)
        queue, started = waiting(looked)
        queue.wake("blog")
        queue.wake_always("blog")
        assert started.events["blog"].is_set()
        await asyncio.sleep(0)
        assert looked.times == 0

    asyncio.run(story())


def test_a_name_that_cannot_be_looked_at_is_woken_so_that_its_task_says_why() -> None:
    def broken() -> bool:
        raise RuntimeError("broken")

    async def story() -> None:
        queue, started = waiting(broken)
        queue.wake("blog")
        await asyncio.sleep(0)
        assert started.events["blog"].is_set()

    asyncio.run(story())


def test_nothing_is_looked_at_once_the_queue_is_closed() -> None:
    async def story() -> None:
        looked = Looked(unchanged=False)
        queue, started = waiting(looked)
        queue.wake("blog")
        queue.close()
        await asyncio.sleep(0)
        assert (looked.times, started.events["blog"].is_set()) == (0, False)

    asyncio.run(story())


def test_thousands_of_names_are_looked_at_a_few_at_a_time_so_that_others_come_in_between() -> None:
    async def story() -> None:
        queue, started, looked = WakeQueue(), Started(), Looked(unchanged=True)
        queue.open(started)
        for number in range(1_000):
            queue.wake(f"app-{number}")
            queue.wake_unless(f"app-{number}", looked)
        for number in range(1_000):
            queue.wake(f"app-{number}")
        between = []
        while looked.times < 1_000:
            await asyncio.sleep(0)
            between.append(looked.times)
        assert len(between) >= 5

    asyncio.run(story())


def test_what_work_on_thousands_of_names_renews_is_collected_in_parts() -> None:
    queue, kept = WakeQueue(), [[number] for number in range(100_000)]
    gc.collect()
    gc.disable()  # as where the interpreter sees as many objects go as come
    try:
        young = []
        for _ in range(1_000):
            del kept[-100:]
            kept[:0] = [[number] for number in range(100)]
            queue.count_work()
            young.append(len(gc.get_objects(generation=0)))
    finally:
        gc.enable()
    assert max(young) < 20_000


def test_what_thousands_of_names_renew_is_collected_in_parts() -> None:
    async def story() -> None:
        queue, renewed, young = WakeQueue(), list[object](), list[int]()

        def renews() -> bool:
            renewed.extend([each] for each in range(20))
            young.append(len(gc.get_objects(generation=0)) + len(gc.get_objects(generation=1)))
            return True

        queue.open(Started())
        for number in range(1_000):
            queue.wake(f"app-{number}")
            queue.wake_unless(f"app-{number}", renews)
            queue.wake(f"app-{number}")
        gc.collect()
        while len(young) < 1_000:
            await asyncio.sleep(0)
        assert max(young) < 10_000

    with none_by_itself():
        asyncio.run(story())


def test_what_rests_is_looked_at_again_only_where_it_has_changed_and_all_else_always() -> None:
    async def story() -> None:
        queue, started = WakeQueue(), Started()
        queue.open(started)
        for name in ("blog", "shop"):
            queue.wake(name)
            started.events[name].clear()
            queue.wake_unless(name, lambda: True)
        queue.rests = lambda name: name == "blog"
        for name in ("blog", "shop", "never served"):
            queue.look_again(name)
        await asyncio.sleep(0)
        assert not started.events["blog"].is_set()
        assert started.events["shop"].is_set()
        assert queue.served_names() == ("blog", "shop")

    asyncio.run(story())
