"""The controller's promises to one app and to all of them: retry politely, look again, never be taken down."""

import asyncio
import errno
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.apps.actions import Action, ReadSource, Reap, Release, Stage, Start, Stop
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision import Recipe, Server
from tests.simulation.clock import run
from tests.world import FakeWorld, an_app, is_served, serving

APP = an_app()
SHOP = an_app(name="shop")
RESYNC_S = 600.0

Story = Callable[[Controller], Awaitable[None]]


def told(world: FakeWorld, story: Story) -> None:
    """Run a story beside a controller of this world, then end the controller as the daemon does."""

    async def daemon() -> None:
        async with asyncio.TaskGroup() as daemon:
            keeping = daemon.create_task(keep())
            await started.wait()
            await story(controllers[0])
            keeping.cancel()

    async def keep() -> None:
        async with asyncio.TaskGroup() as tasks:
            wakeups, backoff = WakeQueue(), Backoff()
            noise = random.Random(1)
            standing = StandingTasks(tasks, backoff=backoff, noise=noise)
            controllers.append(Controller(world, wakeups, standing, backoff=backoff, resync_s=RESYNC_S, noise=noise))
            world.rings = wakeups.wake
            started.set()
            await asyncio.Event().wait()

    controllers: list[Controller] = []
    started = asyncio.Event()
    run(daemon())


def refusing(*kinds: type) -> Callable[[str, Action], str | None]:
    return lambda _, action: "it is broken" if isinstance(action, kinds) else None


def tries(world: FakeWorld, kind: type, name: str = "blog") -> list[float]:
    """When actions of this kind were begun."""
    return [at for at, whose, action in world.begun if isinstance(action, kind) and whose == name]


def test_back_off_doubles_to_its_cap() -> None:
    assert [Backoff().delay_s(n, 0.5) for n in (1, 2, 3, 6, 7, 8, 10**6)] == [1, 2, 4, 32, 60, 60, 60]


@given(st.floats(0.01, 100), st.floats(0.01, 1000), st.integers(1, 10**9), st.floats(0, 1))
def test_no_back_off_is_over_its_jittered_cap(first_s: float, cap_s: float, count: int, noise: float) -> None:
    assert 0 < Backoff(first_s=first_s, cap_s=cap_s).delay_s(count, noise) <= cap_s * 1.25


def test_what_fails_is_tried_again_for_ever_ever_more_politely() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1000)
        times = tries(world, Stage)
        naps = [later - earlier for earlier, later in pairwise(times)]
        for nap, usual in zip(naps, (1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60), strict=False):
            assert usual * 0.75 <= nap <= usual * 1.25 + 0.01
        assert len(naps) >= 11

    told(world, story)


def test_a_failure_is_told_with_its_reason_and_its_next_try() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(0.1)
        said = world.told("blog")
        assert (said.state, said.message, said.failures) == ("failing", "it is broken", 1)
        assert said.wanted == APP.revision("c1").id
        assert said.next_try_at is not None
        assert 0 < said.next_try_at - world.now() < 1.25

    told(world, story)


def test_an_app_that_still_serves_while_its_next_action_fails_is_degraded() -> None:
    world = FakeWorld(seen={"blog": serving(APP)}, refuses=refusing(Start))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": replace(APP, server=Server(threads=2))})
        await asyncio.sleep(0.1)
        assert world.told("blog").state == "degraded"

    told(world, story)


def test_a_change_ends_a_nap() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        world.refuses = refusing()
        fixed = replace(APP, recipe=Recipe(runtime="3.12"))
        controller.replace({"blog": fixed})
        await asyncio.sleep(0.1)
        assert is_served(fixed, "c1", world.seen["blog"])

    told(world, story)


def test_a_wake_without_a_change_ends_no_nap() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        before, reports = len(world.begun), len(world.reports["blog"])
        for _ in range(100):
            world.rings("blog")
            await asyncio.sleep(0.1)
        assert len(world.begun) - before <= 1
        assert len(world.reports["blog"]) - reports <= 2

    told(world, story)


def test_an_edit_that_leaves_the_failed_action_first_ends_no_nap() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        before = len(world.begun)
        controller.replace({"blog": replace(APP, server=Server(workers=2))})
        await asyncio.sleep(0.1)
        assert len(world.begun) == before

    told(world, story)


def test_a_source_touched_but_not_changed_does_not_hurry_what_fails() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        before, failures = len(tries(world, Stage)), world.told("blog").failures
        for _ in range(10):
            world.touch("blog", "c1")
            world.rings("blog")
            await asyncio.sleep(1)
        assert len(tries(world, ReadSource)) == 11
        assert len(tries(world, Stage)) - before <= 1
        said = world.told("blog")
        assert (said.state, said.message) == ("failing", "it is broken")
        assert failures <= said.failures <= failures + 1
        assert said.next_try_at is not None
        assert said.next_try_at > world.now()

    told(world, story)


def test_a_fix_undone_and_done_again_is_tried_at_once() -> None:
    world = FakeWorld(seen={"blog": serving(APP)}, refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        for content, failures in (("c2", 1), ("c1", 0), ("c2", 1)):
            world.touch("blog", content)
            world.rings("blog")
            await asyncio.sleep(0.1)
            assert world.told("blog").failures == failures

    told(world, story)


def test_after_a_change_the_count_of_tries_starts_anew() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        assert world.told("blog").failures > 5
        controller.replace({"blog": replace(APP, recipe=Recipe(runtime="3.12"))})
        await asyncio.sleep(0.1)
        assert world.told("blog").failures == 1

    told(world, story)


def test_when_one_action_works_at_last_the_count_of_the_next_starts_anew() -> None:
    """An hour without an index must not make the first failing start wait for a minute."""
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        world.refuses = refusing(Start)
        await asyncio.sleep(80)
        times = tries(world, Start)
        assert 0.75 <= times[1] - times[0] <= 1.25

    told(world, story)


def test_a_second_failure_later_on_starts_with_a_short_nap_again() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(500)
        world.refuses = refusing()
        await asyncio.sleep(80)
        assert is_served(APP, "c1", world.seen["blog"])
        world.refuses = refusing(Stage)
        world.touch("blog", "c2")
        world.rings("blog")
        await asyncio.sleep(0.1)
        assert world.told("blog").failures == 1

    told(world, story)


def test_a_crash_is_answered_at_once_when_it_is_told() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(100)
        world.crash("blog")
        world.rings("blog")
        await asyncio.sleep(0.1)
        assert is_served(APP, "c1", world.seen["blog"])
        assert len(tries(world, Reap)) == 1

    told(world, story)


def test_a_crash_of_which_nobody_told_is_answered_at_the_next_resync() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(100)
        world.crash("blog")
        await asyncio.sleep(RESYNC_S * 1.4)
        assert is_served(APP, "c1", world.seen["blog"])
        assert len(tries(world, Reap)) == 1

    told(world, story)


def test_a_crash_loop_is_started_again_when_its_delay_is_over_without_being_woken() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        for _ in range(4):
            await asyncio.sleep(20)
            assert is_served(APP, "c1", world.seen["blog"])
            world.crash("blog")
            world.rings("blog")
        await asyncio.sleep(0.1)
        assert world.told("blog").state == "failing"
        assert world.told("blog").next_try_at is not None

    told(world, story)


def test_at_rest_a_wake_looks_and_does_nothing() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1)
        tracker = world.tracker
        for _ in range(100):
            world.rings("blog")
            await asyncio.sleep(0.01)
        assert world.tracker - tracker <= 110
        assert world.begun == []

    told(world, story)


def test_at_rest_nothing_is_looked_at_more_often_than_resync_asks() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1)
        tracker = world.tracker
        await asyncio.sleep(RESYNC_S * 10)
        assert world.tracker - tracker <= 14 * 2

    told(world, story)


def test_every_name_is_looked_at_once_within_each_resync() -> None:
    names = [f"app{number}" for number in range(30)]
    apps = {name: an_app(name=name) for name in names}
    world = FakeWorld(seen={name: serving(app) for name, app in apps.items()})

    async def story(controller: Controller) -> None:
        controller.replace(apps)
        await asyncio.sleep(1)
        for name in names:
            world.crash(name)
        await asyncio.sleep(RESYNC_S)
        times = sorted(at for name in names for at in tries(world, Reap, name))
        assert len(times) == len(names)
        assert len({round(at) for at in times}) > 5  # a few at a time

    told(world, story)


def test_replacing_what_is_asked_by_the_same_wakes_nobody() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1)
        tracker = world.tracker
        controller.replace({"blog": an_app()})
        await asyncio.sleep(1)
        assert world.tracker == tracker

    told(world, story)


def names_of_tasks() -> set[str]:
    return {t.get_name() for t in asyncio.all_tasks() if t.get_name().startswith("keep ")}


def test_a_removed_app_goes_away_and_its_task_ends() -> None:
    world = FakeWorld()

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP, "shop": SHOP})
        await asyncio.sleep(1)
        controller.replace({"shop": SHOP})
        await asyncio.sleep(1)
        assert world.seen["blog"] == Observed()
        assert names_of_tasks() == {"keep shop"}

    told(world, story)


def test_an_app_asked_for_again_while_it_is_being_removed_comes_back() -> None:
    world = FakeWorld(takes={Stage: 5.0, Start: 5.0})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(20)
        controller.replace({})
        await asyncio.sleep(0)
        controller.replace({"blog": APP})
        await asyncio.sleep(20)
        assert is_served(APP, "c1", world.seen["blog"])

    told(world, story)


def test_what_an_earlier_daemon_left_of_an_app_nobody_asks_for_is_removed() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({}, also=frozenset({"blog"}))
        await asyncio.sleep(1)
        assert world.seen["blog"] == Observed()
        assert names_of_tasks() == set()

    told(world, story)


def test_apps_converge_and_fail_independently() -> None:
    world = FakeWorld(
        takes={Stage: 10.0}, refuses=lambda name, action: "broken" if (name, type(action)) == ("blog", Stage) else None
    )

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP, "shop": SHOP, "wiki": an_app(name="wiki")})
        await asyncio.sleep(10.1)
        assert is_served(SHOP, "c1", world.seen["shop"])
        assert world.told("wiki").state == "running"
        assert world.told("blog").state == "failing"

    told(world, story)


class Buggy(FakeWorld):
    """A World with a mistake in it: looking at, or reporting about, some names raises."""

    blind: frozenset[str] = frozenset()
    mute: frozenset[str] = frozenset()

    def observe(self, name: str) -> Observed:
        if name in self.blind:
            self.tracker += 1
            raise KeyError("a bug in observe")
        return super().observe(name)

    def report(self, name: str, report: Any) -> None:
        if name in self.mute:
            self.tracker += 1
            raise KeyError("a bug in report")
        super().report(name, report)


@pytest.mark.parametrize("where", ["blind", "mute"])
def test_a_bug_met_by_one_app_leaves_the_others_alone_and_is_survived(where: str) -> None:
    world = Buggy()
    shown: list[dict[str, Any]] = []

    async def story(controller: Controller) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: shown.append(context))
        setattr(world, where, frozenset({"blog"}))
        controller.replace({"blog": APP, "shop": SHOP})
        for _ in range(1000):
            world.rings("blog")
            await asyncio.sleep(0.1)
        assert is_served(SHOP, "c1", world.seen["shop"])
        assert 1 <= len(shown) <= 101
        assert isinstance(shown[0]["exception"], KeyError)
        setattr(world, where, frozenset())
        await asyncio.sleep(100)
        assert is_served(APP, "c1", world.seen["blog"])

    told(world, story)


def test_a_bug_is_told_as_such() -> None:
    world = Buggy()

    async def story(controller: Controller) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        world.blind = frozenset({"blog"})
        controller.replace({"blog": APP})
        await asyncio.sleep(0.1)
        assert world.told("blog").state == "failing"
        assert "a bug in observe" in world.told("blog").message

    told(world, story)


class Full(FakeWorld):
    """A World on a host that has no room for more open files until a time."""

    until = 0.0
    planning = False

    def observe(self, name: str) -> Observed:
        if self.planning and self.now() < self.until:
            self.tracker += 1
            raise OSError(errno.ENFILE, "Too many open files in system", "holding.html")
        return super().observe(name)

    async def do(self, name: str, action: Action) -> None:
        if not self.planning and isinstance(action, Stage) and self.now() < self.until:
            self.begun.append((self.now(), name, action))
            raise RuntimeError(f"cannot stage {name}") from OSError(errno.EMFILE, "Too many open files")
        await super().do(name, action)


@pytest.mark.parametrize("planning", [True, False])
def test_no_room_for_open_files_is_no_bug_and_is_tried_again_within_seconds(planning: bool) -> None:
    world = Full()
    shown: list[dict[str, Any]] = []

    async def story(controller: Controller) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: shown.append(context))
        world.planning, world.until = planning, world.now() + 1000
        controller.replace({"blog": APP})
        await asyncio.sleep(990)
        who = "host" if planning else "daemon"
        assert world.told("blog").reason == "no-files-left"
        assert world.told("blog").message.startswith(f"the {who} has no room for more open files")
        await asyncio.sleep(20)
        assert is_served(APP, "c1", world.seen["blog"])
        assert not shown

    told(world, story)


def test_a_bug_met_in_the_middle_of_an_action_is_survived_too() -> None:
    world = Buggy(takes={Stage: 10.0})

    async def story(controller: Controller) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        controller.replace({"blog": APP})
        await asyncio.sleep(5)
        world.blind = frozenset({"blog"})
        world.rings("blog")
        await asyncio.sleep(1)
        world.blind = frozenset()
        await asyncio.sleep(100)
        assert is_served(APP, "c1", world.seen["blog"])

    told(world, story)


def test_a_source_read_again_and_again_is_the_only_thing_read() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1)
        world.touch("blog", "c1")
        world.rings("blog")
        await asyncio.sleep(1)
        assert [type(a) for a in world.done] == [ReadSource]

    told(world, story)


# What the plan waits for, the controller comes back for


def breaking(content: str) -> Callable[[str, Any], str | None]:
    return lambda _, action: "it does not import" if action.revision.build.content == content else None


def test_a_broken_revision_is_tried_again_ever_more_politely_while_the_one_before_serves() -> None:
    world = FakeWorld(seen={"blog": serving(APP)}, breaks=breaking("c2"))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(1)
        world.touch("blog", "c2")
        world.rings("blog")
        await asyncio.sleep(500)
        naps = [later - earlier for earlier, later in pairwise(tries(world, Start))]
        for nap, usual in zip(naps, (1, 2, 4, 8, 16, 32, 60, 60, 60, 60), strict=False):
            assert usual * 0.75 <= nap <= usual * 1.25 + 0.01
        assert len(naps) >= 9
        assert not [a for a in world.done if isinstance(a, Stop)]
        said = world.told("blog")
        assert (said.state, said.settled, said.failures) == ("degraded", False, len(naps) + 1)
        assert "it does not import" in said.message

    told(world, story)


def test_a_fix_of_a_broken_revision_is_tried_at_once() -> None:
    world = FakeWorld(seen={"blog": serving(APP)}, breaks=breaking("c2"))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        world.touch("blog", "c2")
        world.rings("blog")
        await asyncio.sleep(500)
        world.touch("blog", "c3")
        world.rings("blog")
        await asyncio.sleep(0.1)
        assert [i.revision for i in world.seen["blog"].instances] == [APP.revision("c3").id]
        await asyncio.sleep(APP.probation_s + 1)
        assert world.seen["blog"].known_good[0] == APP.revision("c3")

    told(world, story)


def test_what_dies_on_probation_is_followed_by_the_one_before_and_tried_again_by_hand_only() -> None:
    world = FakeWorld(seen={"blog": serving(APP)})

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        world.touch("blog", "c2")
        world.rings("blog")
        await asyncio.sleep(5)
        world.crash("blog")
        world.rings("blog")
        await asyncio.sleep(0.5)
        assert [i.revision for i in world.seen["blog"].instances] == [APP.revision("c1").id]
        assert world.told("blog").state == "degraded"
        await asyncio.sleep(100)
        assert [i.revision for i in world.seen["blog"].instances] == [APP.revision("c1").id]
        assert world.told("blog").next_try_at is None
        world.put("blog", replace(world.seen["blog"], failures=()))
        world.rings("blog")
        await asyncio.sleep(0.5)
        assert [i.revision for i in world.seen["blog"].instances] == [APP.revision("c2").id]

    told(world, story)


def test_an_app_falls_asleep_in_time_and_is_woken_by_a_knock() -> None:
    app = replace(APP, idle_after_s=60.0)
    world = FakeWorld()

    async def story(controller: Controller) -> None:
        controller.replace({"blog": app})
        await asyncio.sleep(59)
        assert is_served(app, "c1", world.seen["blog"])
        await asyncio.sleep(2)
        assert world.told("blog").state == "sleeping"
        assert world.seen["blog"].armed == {app.address}
        tracker = world.tracker
        await asyncio.sleep(RESYNC_S / 2)
        assert world.tracker - tracker <= 1  # a resync
        world.knock("blog")
        world.rings("blog")
        await asyncio.sleep(0.1)
        assert is_served(app, "c1", world.seen["blog"])

    told(world, story)


@pytest.mark.parametrize("lazy", [True, False])
def test_a_release_command_that_failed_is_not_run_again_before_an_edit(lazy: bool) -> None:
    app = replace(APP, lazy=lazy, release="migrate")
    world = FakeWorld(breaks=lambda _, __: "no such table")

    async def story(controller: Controller) -> None:
        controller.replace({"blog": app})
        await asyncio.sleep(100)
        assert len(tries(world, Release)) == 1
        assert world.told("blog").message.startswith("no such table; tried again after an edit")
        assert (world.told("blog").settled, world.told("blog").next_try_at) == (False, None)
        controller.replace({"blog": replace(app, env={"LEVEL": "info"})})
        await asyncio.sleep(100)
        assert len(tries(world, Release)) == 2

    told(world, story)


def test_clients_are_answered_while_an_action_keeps_failing() -> None:
    world = FakeWorld(refuses=refusing(Stage))

    async def story(controller: Controller) -> None:
        controller.replace({"blog": APP})
        await asyncio.sleep(APP.patience_s + 0.1)
        assert world.seen["blog"].holding == {APP.address}
        world.refuses = refusing()
        await asyncio.sleep(60)
        assert is_served(APP, "c1", world.seen["blog"])

    told(world, story)
