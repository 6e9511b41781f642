"""What an action of one app means for another, and what is on record at which moment."""

import asyncio
import signal
from dataclasses import replace
from typing import Any

import pytest

from reconciler.planning.apps.actions import (
    ArmActivation,
    Listen,
    ServeHoldingPage,
    Sleep,
    Start,
    Stop,
    StopHoldingPage,
    Unlisten,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import SleepState
from tests.contract.machine import Machine, a_life, burial, on_the_loop, start_of
from tests.support.eventually import soon
from tests.support.site import Site, get, is_busy
from tests.world import address_of

WHY = "the test says so"


def dependencies(machine: Machine) -> tuple[App, App]:
    """A shop, and a blog that depends on it; both known to the host."""
    shop = machine.app("shop")
    blog = machine.app("blog", depends_on=("shop",))
    machine.follow(shop, blog)
    return shop, blog


def woken(machine: Machine) -> set[str]:
    """Who was woken since the last time this was asked."""
    names = set(machine.wakeups.names)
    machine.wakeups.names.clear()
    return names


def start(machine: Machine, app: App) -> Start:
    return start_of(app.revision(machine.content(app.name)), app.workers)


# Who is woken


@on_the_loop
async def test_an_app_that_sleeps_ready_to_be_woken_wakes_those_that_wait_for_it(site: Site) -> None:
    with a_life(site) as machine:
        shop, _ = dependencies(machine)
        await machine.do(Listen(address=address_of(shop), cause=WHY), "shop")
        assert machine.seen("blog").unmet_dependencies == ("shop",)
        woken(machine)
        await machine.do(ArmActivation(address=address_of(shop), cause=WHY), "shop")
        assert woken(machine) == {"blog"}
        assert machine.seen("blog").unmet_dependencies == ()


@on_the_loop
async def test_an_app_that_serves_wakes_those_that_wait_for_it(site: Site) -> None:
    with a_life(site) as machine:
        shop, _ = dependencies(machine)
        await machine.staged(shop)
        woken(machine)
        await machine.do(start(machine, shop), "shop")
        assert "blog" in woken(machine)
        assert machine.seen("blog").unmet_dependencies == ()


@pytest.mark.parametrize("end", ["stop", "bury", "unlisten"])
@on_the_loop
async def test_an_app_that_ends_wakes_those_that_may_only_end_after_it(site: Site, end: str) -> None:
    with a_life(site) as machine:
        _, blog = dependencies(machine)
        await machine.staged(blog)
        await machine.do(start(machine, blog))
        machine.follow()
        assert machine.seen("shop").stopping_dependents == ("blog",)
        if end == "bury":
            next(machine.instances.processes("blog"))[1].signal(signal.SIGKILL)
            await soon(lambda: machine.only().end is not None)
        if end == "unlisten":
            await machine.do(Stop(instance=machine.only().id, cause=WHY))
        woken(machine)
        match end:
            case "stop":
                await machine.do(Stop(instance=machine.only().id, cause=WHY))
            case "bury":
                await machine.do(burial(machine))
            case "unlisten":
                await machine.do(Unlisten(address=address_of(blog), cause=WHY))
        assert "shop" in woken(machine)
        assert machine.seen("shop").stopping_dependents == ()


@on_the_loop
async def test_an_app_that_answers_its_last_request_still_needs_what_it_depends_on(site: Site) -> None:
    with a_life(site) as machine:
        _, blog = dependencies(machine)
        await machine.staged(blog)
        await machine.do(start(machine, blog))
        machine.follow()
        asked = asyncio.create_task(asyncio.to_thread(get, address_of(blog).port, "/slow?2"))
        await soon(lambda: "established" if is_busy(address_of(blog).port) else "")
        stopping = asyncio.create_task(machine.do(Stop(instance=machine.only().id, cause=WHY)))
        await soon(lambda: machine.only().stopping_since is not None)
        assert machine.seen("shop").stopping_dependents == ("blog",)
        await stopping
        assert await asked == "1"


@on_the_loop
async def test_a_knock_wakes_the_app_once_and_is_remembered(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(Listen(address=address_of(app), cause=WHY))
        await machine.do(ArmActivation(address=address_of(app), cause=WHY))
        woken(machine)
        _, writer = await asyncio.open_connection("127.0.0.1", address_of(app).port)
        await soon(lambda: machine.seen().sleep_state.activated_at is not None)
        assert (machine.wakeups.names, machine.seen().armed) == (["blog"], frozenset())
        writer.close()


# Who may be started beside what runs


async def starting(machine: Machine, **different: Any) -> tuple[App, Start, str]:
    """An app that serves, the action that started it, and its instance."""
    app = machine.app(**different)
    await machine.staged(app)
    action = start(machine, app)
    await machine.do(action)
    return app, action, machine.only().id


@on_the_loop
async def test_a_start_is_content_with_the_instance_that_is_there(site: Site) -> None:
    with a_life(site) as machine:
        _, action, before = await starting(machine)
        await machine.do(action)
        assert machine.only().id == before


@on_the_loop
async def test_a_start_after_a_restart_was_asked_for_waits_for_no_older_instance(site: Site) -> None:
    with a_life(site) as machine:
        _, action, before = await starting(machine)
        machine.host.request("blog", "restart")
        await machine.do(action)
        old, new = machine.seen().instances
        assert (old.id, new.id != before) == (before, True)
        assert new.started_at >= machine.seen().restart_before > old.started_at
        await machine.do(action)  # the new one is what was asked for
        assert [i.id for i in machine.seen().instances] == [before, new.id]


@on_the_loop
async def test_a_start_beside_an_unwell_instance_does_not_wait_for_that(site: Site) -> None:
    with a_life(site) as machine:
        _, action, before = await starting(machine)
        machine.instances.mark_unhealthy("blog", before, "it answers 500")
        await machine.do(action)
        assert [i.id == before for i in machine.seen().instances] == [True, False]
        machine.instances.mark_unhealthy("blog", before, None)
        assert machine.seen().instances[0].unhealthy is None


# Sleep


@on_the_loop
async def test_rest_is_on_record_before_the_instance_is_told_to_stop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        app, _, instance = await starting(machine, idle_after_s=60.0)
        revision = machine.only().revision
        recorded: list[dict[tuple[str, str], str]] = []
        ((_, process),) = machine.instances.processes("blog")
        signalled = type(process).signal

        def signal_and_look(self: Any, number: int) -> None:
            recorded.append(machine.records.histories())
            signalled(self, number)

        monkeypatch.setattr(type(process), "signal", signal_and_look)
        await machine.do(Sleep(instance=instance, revision=revision, cause=WHY))
        assert recorded[0]["blog", "rest"] == f'"{revision}"'
        assert machine.seen().sleep_state == SleepState(gate_passed=revision)
        assert machine.seen().instances == ()
        assert app.may_sleep


@on_the_loop
async def test_an_app_that_may_no_longer_sleep_forgets_that_it_did_and_waits_for_no_knock(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(idle_after_s=60.0)
        machine.follow(app)
        await machine.do(Listen(address=address_of(app), cause=WHY))
        machine.host._history.set_sleep_state("blog", SleepState(gate_passed="abc"))
        await machine.do(ArmActivation(address=address_of(app), cause=WHY))
        machine.follow(app)
        assert machine.seen().sleep_state.gate_passed == "abc"
        assert machine.seen().armed == {app.address}
        machine.follow(replace(app, idle_after_s=None))
        assert (machine.seen().sleep_state, machine.seen().armed) == (SleepState(), frozenset())
    with a_life(site) as machine:
        assert machine.seen().sleep_state == SleepState()


# The daemon's own answer


@on_the_loop
async def test_who_is_answered_for_is_not_waited_for_and_a_knock_is_heard_again_afterwards(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(Listen(address=address_of(app), cause=WHY))
        await machine.do(ArmActivation(address=address_of(app), cause=WHY))
        await machine.holds(ServeHoldingPage(address=address_of(app), page=None, cause=WHY))
        await machine.holds(StopHoldingPage(address=address_of(app), cause=WHY))
        await machine.holds(ArmActivation(address=address_of(app), cause=WHY))
        _, writer = await asyncio.open_connection("127.0.0.1", address_of(app).port)
        await soon(lambda: machine.seen().sleep_state.activated_at is not None)
        writer.close()


@on_the_loop
async def test_another_page_and_another_content_of_it_are_answered_with_at_once(site: Site) -> None:
    pages = [site.root / name for name in ("one.html", "two.html")]
    for page in pages:
        page.write_text(page.name)
    with a_life(site) as machine:
        app = machine.app(holding_page=str(pages[0]))
        machine.follow(app)
        await machine.do(Listen(address=address_of(app), cause=WHY))
        await machine.do(ServeHoldingPage(address=address_of(app), page=str(pages[0]), cause=WHY))
        assert "one.html" in await answer(app)
        site.save(pages[0], "one, edited")
        assert "one, edited" in await answer(app)
        machine.follow(replace(app, holding_page=str(pages[1])))
        assert "two.html" in await answer(app)
        machine.follow(replace(app, holding_page=None))
        assert "Back in a moment" in await answer(app)
        await machine.do(StopHoldingPage(address=address_of(app), cause=WHY))


async def answer(app: App) -> str:
    with pytest.raises(AssertionError) as refused:
        await asyncio.to_thread(get, address_of(app).port)
    return str(refused.value)
