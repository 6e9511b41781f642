"""Converging one app: the first action of plan after plan, given up as soon as it is no longer the first."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler.convergence.converge import ActionFailed, Key, converge
from reconciler.convergence.world import Action, Plan
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import (
    Listen,
    ReadSource,
    RemoveBuild,
    ServeHoldingPage,
    Stage,
    Start,
    Stop,
    StopHoldingPage,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision import Recipe, Server
from tests.simulation.clock import run
from tests.world import FakeWorld, a_trouble, an_app, an_instance, is_served, serving, stage_of

APP = an_app()


class Desk:
    """One app's side, with what is asked of it left open to change."""

    def __init__(self, asked: App | None) -> None:
        self.asked = asked
        self.bell = asyncio.Event()
        self.subject = Key(name="blog", asked=lambda: self.asked, wakeup=self.bell)

    def ask(self, asked: App | None) -> None:
        self.asked = asked
        self.bell.set()


def nothing_held(_action: Action) -> None:
    """Nothing failed before."""


def not_retried(_planned: Plan) -> None:
    """Nothing is tried once more."""


def kinds(actions: Sequence[Action]) -> list[type]:
    return [type(a) for a in actions if not isinstance(a, ServeHoldingPage | StopHoldingPage)]


def test_nothing_becomes_what_was_asked_for_one_action_at_a_time() -> None:
    async def story() -> None:
        world = FakeWorld()
        last = await converge(Desk(APP).subject, world, nothing_held, not_retried)
        assert kinds(world.done) == [ReadSource, Listen, Stage, Start]
        assert is_served(APP, "c1", world.seen["blog"])
        assert (last.state, last.actions) == ("running", ())

    run(story())


def test_what_is_as_asked_is_left_alone() -> None:
    async def story() -> None:
        world = FakeWorld(seen={"blog": serving(APP)})
        await converge(Desk(APP).subject, world, nothing_held, not_retried)
        assert world.begun == []

    run(story())


def test_an_action_that_fails_ends_convergence_with_its_reason() -> None:
    async def story() -> None:
        world = FakeWorld(refuses=lambda _, action: "no space left" if isinstance(action, Stage) else None)
        with pytest.raises(ActionFailed, match="no space left") as failed:
            await converge(Desk(APP).subject, world, nothing_held, not_retried)
        assert failed.value.action == stage_of(APP.build("c1"), "")
        assert isinstance(failed.value.__cause__, OSError)

    run(story())


def test_a_failure_without_words_is_called_by_its_class() -> None:
    async def story() -> None:
        world = FakeWorld(refuses=lambda _, __: "")
        with pytest.raises(ActionFailed, match="OSError"):
            await converge(Desk(APP).subject, world, nothing_held, not_retried)

    run(story())


def test_what_a_starting_instance_says_is_reported_while_its_start_goes_on() -> None:
    async def story() -> None:
        starting = an_instance(APP.revision("c1"), ready_at=None)
        world = FakeWorld(seen={"blog": serving(APP, instances=(starting,))}, takes={Start: 100.0})
        desk = Desk(APP)

        def says() -> None:
            world.put("blog", serving(APP, instances=(replace(starting, note="GET /up answered 503"),)))
            desk.bell.set()

        for at in (10, 20):
            asyncio.get_running_loop().call_later(at, says)
        await converge(desk.subject, world, nothing_held, not_retried)
        told = [report.message for report in world.reports["blog"] if report.state == "starting"]
        assert told == ["the app was not running", "GET /up answered 503"]
        assert kinds([action for _, _, action in world.begun]) == [Start]

    run(story())


def test_an_edit_of_workers_does_not_restart_a_long_install() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Stage: 100.0})
        context = Desk(APP)
        edited = replace(APP, server=Server(workers=2))
        asyncio.get_running_loop().call_later(50, context.ask, edited)
        await converge(context.subject, world, nothing_held, not_retried)
        assert kinds(world.done) == [ReadSource, Listen, Stage, Start]
        assert is_served(edited, "c1", world.seen["blog"])
        assert world.now() < 1101

    run(story())


def test_an_edit_of_the_recipe_cancels_a_long_install() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Stage: 100.0})
        context = Desk(APP)
        edited = replace(APP, recipe=Recipe(runtime="3.12"))
        asyncio.get_running_loop().call_later(50, context.ask, edited)
        await converge(context.subject, world, nothing_held, not_retried)
        assert world.seen["blog"].builds == (edited.build("c1").id,)
        assert world.now() < 1151

    run(story())


def test_removing_an_app_cancels_its_install_and_leaves_nothing() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Stage: 100.0})
        context = Desk(APP)
        asyncio.get_running_loop().call_later(50, context.ask, None)
        await converge(context.subject, world, nothing_held, not_retried)
        assert world.seen["blog"] == Observed()
        assert world.now() < 1051

    run(story())


def test_a_bell_without_a_change_disturbs_no_action() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Stage: 100.0})
        context = Desk(APP)
        for second in range(1, 100):
            asyncio.get_running_loop().call_later(second, context.bell.set)
        await converge(context.subject, world, nothing_held, not_retried)
        begun = [action for _, _, action in world.begun if not isinstance(action, ServeHoldingPage | StopHoldingPage)]
        assert kinds(begun) == [ReadSource, Listen, Stage, Start]

    run(story())


def test_a_failure_of_what_was_just_given_up_is_not_reported_as_one() -> None:
    class Stubborn(FakeWorld):
        async def do(self, name: str, action: Any) -> None:
            try:
                await super().do(name, action)
            except asyncio.CancelledError:
                raise OSError("could not even be cancelled") from None

    async def story() -> None:
        world = Stubborn(takes={Stage: 100.0})
        context = Desk(APP)
        edited = replace(APP, recipe=Recipe(runtime="3.12"))
        asyncio.get_running_loop().call_later(50, context.ask, edited)
        await converge(context.subject, world, nothing_held, not_retried)
        assert is_served(edited, "c1", world.seen["blog"])

    run(story())


def test_an_action_that_works_and_changes_nothing_is_a_failure() -> None:
    """Otherwise it would be done again, and again, without a pause."""

    class Lying(FakeWorld):
        async def do(self, name: str, action: Any) -> None:
            if not isinstance(action, RemoveBuild):
                await super().do(name, action)

    async def story() -> None:
        builds = ("b1", "b2", APP.build("c1").id)
        world = Lying(seen={"blog": serving(APP, builds=builds)})
        with pytest.raises(ActionFailed, match="remove build b1 made no difference"):
            await converge(Desk(APP).subject, world, nothing_held, not_retried)

    run(story())


def test_of_an_app_that_is_gone_nothing_is_reported_any_more() -> None:
    """A report leaves a trace, which would have to be erased again."""

    async def story() -> None:
        world = FakeWorld(seen={"blog": serving(APP)})
        await converge(Desk(None).subject, world, nothing_held, not_retried)
        assert kinds(world.done)[0] is Stop
        assert world.seen["blog"] == Observed()
        assert {r.state for r in world.reports["blog"]} == {"stopping"}

    run(story())


def test_cancelling_convergence_cancels_the_action_under_way() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Stage: 100.0})
        task = asyncio.ensure_future(converge(Desk(APP).subject, world, nothing_held, not_retried))
        await asyncio.sleep(50)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(100)
        assert world.seen["blog"].builds == ()

    run(story())


def test_what_is_held_is_not_tried_and_fails_as_it_did() -> None:
    async def story() -> None:
        world = FakeWorld()
        failure = ActionFailed(stage_of(APP.build("c1"), ""), "no space left")
        with pytest.raises(ActionFailed) as failed:
            await converge(
                Desk(APP).subject, world, lambda action: failure if action == failure.action else None, not_retried
            )
        assert failed.value is failure
        assert kinds(world.done) == [ReadSource, Listen]

    run(story())


def test_a_revision_that_breaks_is_no_failure_of_its_start_but_a_fact_that_is_planned_with() -> None:
    async def story() -> None:
        world = FakeWorld(breaks=lambda _, __: "it does not import")
        last = await converge(Desk(APP).subject, world, nothing_held, not_retried)
        assert (last.state, last.first, last.failures) == ("failing", None, 2)
        assert kinds(world.done) == [ReadSource, Listen, Stage, Start, Start]
        report = world.told("blog")
        assert (report.failures, report.settled) == (2, False)
        assert report.message == "failed 2 times in a row, most recently: it does not import"
        assert report.next_try_at == last.recheck_at

    run(story())


def test_a_fallback_that_breaks_did_make_a_difference() -> None:
    """It is counted: saying that its start came to nothing would hide why."""

    async def story() -> None:
        v1, v2 = APP.revision("c1"), APP.revision("c2")
        bad = a_trouble(v2, count=9, last_at=1000.0)
        down = serving(APP, "c2", builds=(v1.build.id, v2.build.id), instances=(), known_good=(v1,), failures=(bad,))
        world = FakeWorld(seen={"blog": down}, breaks=lambda _, __: "it does not import")
        last = await converge(Desk(APP).subject, world, nothing_held, not_retried)
        assert (last.state, last.first) == ("failing", None)
        trouble = world.seen["blog"].failure_of(v1.id)
        assert trouble is not None
        assert trouble.count == 2

    run(story())


def test_the_daemon_answers_beside_a_long_start_and_steps_aside_when_an_instance_is_ready() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Start: 30.0})
        await converge(Desk(APP).subject, world, nothing_held, not_retried)
        times = {type(action): at for at, _, action in world.begun}
        opened = times[Listen]
        assert opened + APP.patience_s <= times[ServeHoldingPage] <= opened + APP.patience_s + 0.1
        assert times[StopHoldingPage] >= opened + 30
        assert len([a for a in world.done if isinstance(a, ServeHoldingPage | StopHoldingPage)]) == 2
        assert world.seen["blog"].holding == frozenset()

    run(story())


def test_a_start_whose_app_moves_meanwhile_is_given_up_even_when_time_alone_made_somebody_look() -> None:
    async def story() -> None:
        world = FakeWorld(takes={Start: 30.0})
        context = Desk(APP)
        moved = replace(APP, address=Address(host="127.0.0.1", port=8002))
        asyncio.get_running_loop().call_later(2, setattr, context, "asked", moved)  # nobody rings
        await converge(context.subject, world, nothing_held, not_retried)
        assert is_served(moved, "c1", world.seen["blog"])
        assert world.now() < 1000 + APP.patience_s + 31

    run(story())
