"""What a wake queue promises to those who wake and to the one who is woken."""

import asyncio

from reconciler.convergence.wake_queue import WakeQueue


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
