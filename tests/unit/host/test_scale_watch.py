"""Look at apps with a range: seldom while nothing happens, soon while requests wait, and say what the limit is."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from reconciler.host.scale_watch import ScaleWatch
from reconciler.planning.apps.app import App
from reconciler.planning.scaling.brakes import HostRoom
from reconciler.planning.scaling.load import Look
from reconciler.planning.scaling.worker_range import WorkerRange
from tests.world import an_app

RANGED = replace(an_app(), worker_range=WorkerRange(least=1, most=4))


@dataclass
class Host:
    """What a watch is made of: what each app is like, and what was asked for and told."""

    looks: dict[str, Look] = field(default_factory=dict)
    looked: list[str] = field(default_factory=list)
    woken: list[str] = field(default_factory=list)
    expected: dict[str, Callable[[], None]] = field(default_factory=dict)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    gives: HostRoom = field(default_factory=HostRoom)
    asked: dict[str, int] = field(default_factory=dict)
    waiting: dict[str, int] = field(default_factory=dict)

    def record_event(self, *event: Any) -> None:
        self.events.append(event)

    def look_at(self, name: str, now: float) -> Look | None:
        self.looked.append(name)
        return replace(self.looks[name], at=now) if name in self.looks else None

    def held(self, app: App, _: float) -> int | None:
        return self.asked.get(app.name)

    def at_door(self, name: str) -> int:
        return self.waiting.get(name, 0)

    def room(self, _: str) -> HostRoom:
        return self.gives

    def cpu_s(self, _: str) -> float:
        return 0.0

    def watch(self, budget: int = 100, **apps: Any) -> ScaleWatch:
        host: Any = self
        watch = ScaleWatch(host, self.woken.append, host, expect=self.expected.__setitem__, budget=budget)
        watch.follow(apps)
        return watch


def busy(workers: int, queue: int = 9) -> Look:
    return Look(at=0.0, instance="i", workers=workers, in_flight=workers, queue=queue)


def test_without_an_app_that_has_a_range_nothing_is_ever_due() -> None:
    assert Host().watch(blog=an_app()).look(10.0) is None


def test_an_app_that_does_nothing_is_looked_at_once_in_a_while_and_when_a_client_connects() -> None:
    host = Host(looks={"blog": Look(at=0.0, instance="i", workers=1)})
    watch = host.watch(blog=RANGED)
    assert watch.look(100.0) == 0.25
    assert watch.look(100.25) == 0.25
    wait_s = watch.look(101.0)
    assert wait_s is not None
    assert 50 < wait_s <= 60
    assert (host.looked, host.woken, watch.wanted()) == (["blog"] * 3, ["blog"], {"blog": 1})
    assert watch.look(110.0) is not None
    assert host.looked == ["blog"] * 3
    host.expected["blog"]()
    assert watch.look(111.0) == 0.25
    assert host.looked == ["blog"] * 4


def test_an_app_that_is_asked_now_and_then_is_looked_at_until_a_second_after_the_last_request() -> None:
    host = Host(looks={"blog": Look(at=0.0, instance="i", workers=1)})
    watch = host.watch(blog=RANGED)
    watch.look(100.0)
    host.looks["blog"] = Look(at=0.0, instance="i", workers=1, answered=1, seconds=0.1)
    assert [watch.look(100.75 + n / 4) for n in range(4)] == [0.25] * 4
    assert not host.expected
    watch.look(101.75)
    assert list(host.expected) == ["blog"]


def test_requests_that_wait_are_looked_at_soon_and_get_workers() -> None:
    host = Host(looks={"blog": busy(1)})
    watch = host.watch(blog=RANGED)
    for at in (10.0, 10.25, 10.5):
        assert watch.look(at) == 0.25
    assert (watch.wanted(), host.woken) == ({"blog": 2}, ["blog", "blog"])


def test_after_a_minute_without_enough_workers_the_limit_is_told_once_and_forgotten_with_the_load() -> None:
    host = Host(looks={"blog": busy(4)})
    watch = host.watch(blog=RANGED)
    for quarter in range(4 * 63):
        watch.look(10 + quarter / 4)
    state = watch.state("blog")
    assert state is not None
    assert state.saturated == "waiting, not computing (database?)"
    assert [event[1:3] for event in host.events] == [
        ("saturated", "4 workers are not enough: waiting, not computing (database?)")
    ]
    host.looks["blog"] = Look(at=0.0, instance="i", workers=4)
    for second in range(40):
        watch.look(80.0 + second)
    state = watch.state("blog")
    assert state is not None
    assert state.saturated == ""


def test_memory_that_has_no_room_holds_back_and_is_what_the_limit_is() -> None:
    host = Host(looks={"blog": busy(1)}, gives=HostRoom(room=0, worker_bytes=85 << 20))
    watch = host.watch(blog=RANGED)
    for quarter in range(4 * 62):
        watch.look(10 + quarter / 4)
    assert watch.wanted() == {"blog": 1}
    assert [event[2] for event in host.events] == ["1 worker is not enough: memory: each worker takes 85 MB"]


def test_the_budget_is_of_all_apps_together_and_an_idle_one_gives() -> None:
    host = Host(looks={"idle": Look(at=0.0, instance="i", workers=4), "hungry": busy(1)})
    watch = host.watch(budget=5, idle=RANGED, hungry=RANGED)
    for quarter in range(5):
        watch.look(10 + quarter / 4)
    assert watch.wanted()["idle"] < 4
    assert watch.wanted()["hungry"] == 1
    host.looks["idle"] = Look(at=0.0, instance="i", workers=watch.wanted()["idle"])
    for quarter in range(40):
        watch.look(12 + quarter / 4)
    assert watch.wanted()["hungry"] == 2
    assert sum(watch.wanted().values()) <= 5


def test_a_worker_that_an_app_was_given_is_of_the_budget_before_a_look_sees_it() -> None:
    host = Host(looks={"eager": Look(at=0.0, instance="i", workers=1), "first": busy(1)})
    watch = host.watch(budget=3, eager=RANGED, first=RANGED)
    for quarter in range(5):
        watch.look(10 + quarter / 4)
    assert watch.wanted() == {"eager": 1, "first": 2}
    host.looks["eager"] = busy(1)
    watch.awake("eager")
    for quarter in range(12):
        watch.look(12 + quarter / 4)
    assert watch.wanted() == {"eager": 1, "first": 2}


def test_an_app_that_loses_its_range_or_its_manifest_is_forgotten() -> None:
    host = Host(looks={"blog": busy(1)})
    watch = host.watch(blog=RANGED)
    watch.look(10.0)
    watch.follow({"blog": an_app()})
    assert (watch.state("blog"), watch.look(11.0)) == (None, None)


def test_the_number_of_an_operator_takes_its_part_of_the_budget_and_the_load_has_the_word_again_afterwards() -> None:
    host = Host(looks={"held": busy(1), "hungry": busy(1)}, asked={"held": 6})
    watch = host.watch(budget=7, held=replace(RANGED, name="held"), hungry=replace(RANGED, name="hungry"))
    for quarter in range(5):
        watch.look(10 + quarter / 4)
    assert watch.wanted() == {"held": 6, "hungry": 1}
    host.asked.clear()
    host.looks["held"] = Look(at=0.0, instance="i", workers=6)
    watch.look(12.0)
    assert watch.wanted()["held"] == 4


def test_what_waits_at_the_door_of_a_sleeping_app_asks_for_workers_within_the_range_the_budget_and_the_pressure() -> (
    None
):
    host = Host(looks={"busy": Look(at=0.0, instance="i", workers=4, in_flight=2)})
    watch = host.watch(budget=7, sleepy=replace(RANGED, name="sleepy"), busy=replace(RANGED, name="busy"))
    watch.look(10.0)
    assert watch.state("sleepy") is None

    def asked() -> int:
        state = watch.state("sleepy")
        return 0 if state is None else state.at_door

    for host.waiting["sleepy"], workers in ((1, 1), (2, 2), (9, 3)):
        assert asked() == workers
    host.looks["busy"] = Look(at=0.0, instance="i", workers=1)
    watch.look(20.0)
    assert asked() == 4
    host.gives = HostRoom(pressure=0.9, most_pressure=0.4)
    assert asked() == 1


def test_after_a_sleep_the_load_of_before_counts_no_more_and_all_that_waits_is_worked_on_at_once() -> None:
    host = Host(looks={"blog": Look(at=0.0, instance="before", workers=1)})
    watch = host.watch(blog=RANGED)
    watch.look(10.0)
    host.looks["blog"] = replace(busy(1, queue=3), instance="after", woken_at=20.0)
    watch.awake("blog")
    for quarter in range(4):
        watch.look(21.0 + quarter / 4)
    assert watch.wanted() == {"blog": 4}
