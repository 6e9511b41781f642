"""The plan for every situation, as text; and what holds of the plan for any situation whatever."""

from dataclasses import replace
from textwrap import dedent

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.actions import Bury, Discard, Erase, Listen, ReadSource, Start, Stop, Unlisten
from reconciler.desired import Address, App, CrashPolicy, Server, Source
from reconciler.observed import Crashes, Instance, Observed
from reconciler.plan import Plan, crash_delay_s, plan, state_when_failing
from tests.world import (
    ADDRESS,
    CONTENTS,
    NOW,
    a_look,
    after,
    an_app,
    an_instance,
    anything_observed,
    apps,
    as_text,
    is_served,
    serving,
)

APP = an_app()
V1, V2 = APP.revision("c1"), APP.revision("c2")
B1, B2, B3 = (APP.build(c) for c in CONTENTS)
DOOR_2 = Address(host="127.0.0.1", port=8002)


def planned(app: App | None, observed: Observed, *, now: float = NOW) -> str:
    """The plan as text: revisions are v1 and v2 (v2 also of an edited app), builds b1 to b3."""
    decided = plan(app, observed, now)
    edited = app.revision("c1") if app is not None and app.revision("c1") != V1 else V2
    return as_text(decided, v1=V1, v2=edited, b1=B1, b2=B2, b3=B3)


def lines(text: str) -> str:
    return dedent(text).strip()


# Deploying


def test_an_app_never_seen_is_read_first() -> None:
    assert planned(APP, Observed()) == "read source /apps/blog: it was not read yet"


def test_the_first_deploy_stages_listens_and_starts() -> None:
    assert planned(APP, Observed(source=a_look(APP))) == lines("""
        stage build b1: it was never staged
        listen on 127.0.0.1:8001: 127.0.0.1:8001 is not open
        start revision v1: nothing of it runs
    """)


def test_an_app_as_asked_has_nothing_to_do() -> None:
    decided = plan(APP, serving(APP), NOW)
    assert (decided.actions, decided.state, decided.message) == ((), "running", "")
    assert (decided.wanted, decided.look_again_at) == (V1.id, None)


def test_changed_code_is_staged_and_takes_over_before_the_old_instance_stops() -> None:
    assert planned(APP, serving(APP, source=a_look(APP, "c2"))) == lines("""
        stage build b2: its source or the way it is built changed
        start revision v2: its code changed
        stop instance i1: its successor serves
    """)


@pytest.mark.parametrize(
    "edited",
    [
        pytest.param(replace(APP, env={"LOG_LEVEL": "debug"}), id="env"),
        pytest.param(replace(APP, server=Server(workers=2)), id="workers"),
    ],
)
def test_an_edited_configuration_is_started_from_the_build_that_is_there(edited: App) -> None:
    assert planned(edited, serving(APP)) == lines("""
        start revision v2: its configuration changed
        stop instance i1: its successor serves
    """)


def test_a_changed_port_is_opened_first_and_the_old_one_closed_last() -> None:
    assert planned(replace(APP, address=DOOR_2), serving(APP)) == lines("""
        listen on 127.0.0.1:8002: 127.0.0.1:8002 is not open
        start revision v2: its configuration changed
        stop instance i1: its successor serves
        close 127.0.0.1:8001: it listens on 127.0.0.1:8002 now
    """)


def test_an_edit_while_a_start_is_under_way_ends_the_half_started_one_and_keeps_what_serves() -> None:
    starting = serving(APP, instances=(an_instance(V1), an_instance(V2, "i2", ready=False)), builds=(B1.id, B2.id))
    edited = replace(APP, server=Server(workers=2))
    assert planned(edited, starting) == lines("""
        stop instance i2: it is neither wanted nor of use any more
        start revision v2: its configuration changed
        stop instance i1: its successor serves
    """)


def test_an_edit_while_the_old_one_is_being_retired_lets_it_go_first() -> None:
    retiring = serving(
        APP, "c2", instances=(an_instance(V1, stopping_since=NOW - 1), an_instance(V2, "i2")), builds=(B1.id, B2.id)
    )
    edited = replace(APP, server=Server(workers=2))
    assert planned(edited, retiring).splitlines()[:3] == [
        "stage build " + edited.build("c2").id + ": x" if edited.build("c2") != B2 else "stop instance i1: it is "
        "neither wanted nor of use any more",
        f"start revision {edited.revision('c2').id}: its configuration changed",
        "stop instance i2: its successor serves",
    ]


def test_an_edit_undone_while_the_old_one_is_being_retired_starts_it_anew() -> None:
    retiring = serving(
        APP, "c1", instances=(an_instance(V1, stopping_since=NOW - 1), an_instance(V2, "i2")), builds=(B1.id, B2.id)
    )
    assert planned(APP, retiring) == lines("""
        stop instance i1: it is neither wanted nor of use any more
        start revision v1: its configuration changed
        stop instance i2: its successor serves
    """)


def test_a_fix_pushed_while_a_start_keeps_failing_goes_first() -> None:
    broken = serving(APP, source=a_look(APP, "c2", stale=True), builds=(B1.id, B2.id), changes=7)
    assert planned(APP, broken) == "read source /apps/blog: it changed"


# Finishing what was begun


def test_an_instance_found_not_ready_is_waited_for() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, ready=False),))) == "start revision v1: nothing of it runs"


def test_of_two_instances_of_the_wanted_revision_the_readiest_stays() -> None:
    twins = serving(APP, instances=(an_instance(V1, ready=False, started_at=NOW - 200), an_instance(V1, "i2")))
    assert planned(APP, twins) == "stop instance i1: its successor serves"


def test_an_old_instance_told_to_stop_is_seen_off() -> None:
    retiring = serving(APP, instances=(an_instance(V2, stopping_since=NOW - 1), an_instance(V1, "i2")))
    assert planned(APP, retiring) == "stop instance i1: its successor serves"
    assert plan(APP, retiring, NOW).state == "starting"


def test_the_newest_build_beside_the_wanted_one_is_kept_and_older_ones_go() -> None:
    assert planned(APP, serving(APP, "c3", builds=(B1.id, B2.id, B3.id))) == (
        "discard build b1: newer builds took its place"
    )


def test_a_listener_that_could_not_be_fetched_back_gets_a_successor() -> None:
    assert planned(APP, serving(APP, instances=(an_instance(V1, stranded=True),))) == lines("""
        start revision v1: the listener of the running instance could not be fetched back
        stop instance i1: its successor serves
    """)


def test_of_a_crowd_of_old_generations_only_the_newest_that_serves_stays_while_the_new_one_starts() -> None:
    other = an_app(env={"A": "1"}).revision("c1")
    crowd = serving(
        APP,
        "c2",
        builds=(B1.id, B2.id),
        instances=(
            an_instance(V1, "old"),
            an_instance(other, "newer", started_at=NOW - 30),
            an_instance(V1, "starting", ready=False),
        ),
    )
    assert planned(APP, crowd) == lines("""
        stop instance starting: it is neither wanted nor of use any more
        stop instance old: it is neither wanted nor of use any more
        start revision v2: its code changed
        stop instance newer: its successor serves
    """)


# Crashing


def dead(**different: object) -> Instance:
    return an_instance(V1, end="was killed by SIGKILL", **different)


def crashed(count: int, at: float = NOW - 0.5) -> Crashes:
    return Crashes(revision=V1.id, count=count, last_at=at, end="exited with 3")


def test_a_crash_is_cleaned_up_and_started_again_at_once() -> None:
    assert planned(APP, serving(APP, instances=(dead(),))) == lines("""
        clean up after instance i1: gunicorn 4242 was killed by SIGKILL
        start revision v1: nothing of it runs
    """)


def test_the_first_restart_does_not_wait() -> None:
    assert planned(APP, serving(APP, instances=(), crashes=crashed(1, NOW))) == "start revision v1: its last instance exited with 3"


def test_a_crash_loop_waits_and_says_until_when_and_why() -> None:
    looping = serving(APP, instances=(), crashes=crashed(5))
    decided = plan(APP, looping, NOW)
    assert decided == Plan(
        actions=(),
        state="failing",
        message="died 5 times in a row, the last time it exited with 3",
        wanted=V1.id,
        look_again_at=NOW - 0.5 + crash_delay_s(APP.crash, crashed(5), "blog"),
    )
    assert planned(APP, looping, now=decided.look_again_at or 0) == "start revision v1: its last instance exited with 3"


def test_a_crash_loop_of_another_revision_delays_nothing() -> None:
    looping = serving(APP, "c2", builds=(B1.id, B2.id), instances=(), crashes=crashed(9))
    assert planned(APP, looping) == "start revision v2: nothing of it runs"


def test_what_still_serves_stays_while_a_crash_loop_waits() -> None:
    looping = serving(APP, instances=(an_instance(V2),), crashes=crashed(5))
    assert planned(APP, looping) == ""
    assert plan(APP, looping, NOW).state == "degraded"


def test_an_unreadable_source_is_read_again_even_while_a_crash_loop_waits() -> None:
    looping = serving(
        APP,
        source=a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 20),
        instances=(),
        crashes=crashed(40, NOW),
    )
    assert plan(APP, looping, NOW).look_again_at == NOW + 10


# Stopping and removing


def test_a_stopped_app_ends_and_its_port_is_closed_but_its_builds_stay() -> None:
    assert planned(replace(APP, state="stopped"), serving(APP)) == lines("""
        stop instance i1: its manifest says state: stopped
        close 127.0.0.1:8001: its manifest says state: stopped
    """)


def test_a_stopped_app_stays_stopped() -> None:
    decided = plan(replace(APP, state="stopped"), serving(APP, instances=(), listeners=frozenset()), NOW)
    assert (decided.actions, decided.state) == ((), "stopped")


def test_a_removed_app_goes_away_with_all_it_left() -> None:
    left = serving(
        APP,
        builds=(B1.id, B2.id),
        listeners=frozenset({ADDRESS, DOOR_2}),
        instances=(an_instance(V1), an_instance(V2, "i2", end="exited with 0"), an_instance(V2, "i3", ready=False)),
    )
    assert planned(None, left) == lines("""
        clean up after instance i2: gunicorn 4242 exited with 0
        stop instance i1: no manifest asks for it any more
        stop instance i3: no manifest asks for it any more
        close 127.0.0.1:8001: no manifest asks for it any more
        close 127.0.0.1:8002: no manifest asks for it any more
        discard build b1: no manifest asks for it any more
        discard build b2: no manifest asks for it any more
        forget the app: no manifest asks for it any more
    """)


def test_a_removed_app_of_which_only_traces_are_left_is_forgotten() -> None:
    assert planned(None, Observed(traces=True)) == "forget the app: no manifest asks for it any more"


def test_of_an_app_that_nobody_asks_for_and_that_left_nothing_there_is_nothing_to_do() -> None:
    assert planned(None, Observed()) == ""


# Reading the source


def test_a_source_that_moved_is_read() -> None:
    moved = replace(APP, source=Source(path="/apps/moved"))
    assert planned(moved, serving(APP)) == "read source /apps/moved: it changed"


def test_the_dead_are_buried_before_a_source_is_read() -> None:
    stale = serving(APP, source=a_look(APP, stale=True), instances=(dead(),))
    assert planned(APP, stale) == lines("""
        clean up after instance i1: gunicorn 4242 was killed by SIGKILL
        read source /apps/blog: it changed
    """)


def test_an_unreadable_source_leaves_the_last_build_serving_and_is_tried_again_later() -> None:
    unreadable = serving(APP, source=a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 10))
    decided = plan(APP, unreadable, NOW)
    assert (decided.actions, decided.state, decided.look_again_at) == ((), "degraded", NOW + 20)
    assert decided.message == "its last build serves, but it is gone"
    assert planned(APP, unreadable, now=NOW + 20) == "read source /apps/blog: it changed"


def test_an_instance_that_dies_while_the_source_is_unreadable_is_started_again_from_the_last_build() -> None:
    unreadable = serving(
        APP, source=a_look(APP, stale=True, problem="it is gone", tried_at=NOW - 10), instances=(dead(),)
    )
    assert planned(APP, unreadable).splitlines()[-1] == "start revision v1: nothing of it runs"


@pytest.mark.parametrize(
    ("instances", "state"),
    [((an_instance(V2),), "degraded"), ((an_instance(V2, ready=False),), "failing"), ((), "failing")],
)
def test_an_app_whose_next_action_fails_is_degraded_while_anything_of_it_serves(
    instances: tuple[Instance, ...], state: str
) -> None:
    assert state_when_failing(serving(APP, instances=instances)) == state


# Crash delays


@pytest.mark.parametrize(
    ("count", "around"), [(1, 0.0), (2, 1.0), (3, 2.0), (4, 4.0), (7, 32.0), (8, 60.0), (100, 60.0), (10**6, 60.0)]
)
def test_crash_delays_double_to_the_cap(count: int, around: float) -> None:
    assert around * 0.75 <= crash_delay_s(CrashPolicy(), crashed(count), "blog") <= around * 1.25


_policies = st.builds(CrashPolicy, first_s=st.floats(0.01, 100), cap_s=st.floats(0.01, 1000))


@given(_policies, st.integers(0, 10**9), st.text())
def test_no_crash_delay_is_over_its_jittered_cap(policy: CrashPolicy, count: int, name: str) -> None:
    assert 0 <= crash_delay_s(policy, crashed(count), name) <= policy.cap_s * 1.25


@given(_policies, st.integers(1, 60), st.text())
def test_before_jitter_no_crash_delay_is_shorter_than_the_one_before(
    policy: CrashPolicy, count: int, name: str
) -> None:
    delays = [crash_delay_s(policy, crashed(c), name) for c in (count, count + 1)]
    assert delays[1] / 1.25 >= delays[0] / 1.25 * 0.6 - 1e-9


def test_apps_that_died_together_come_back_apart() -> None:
    assert len({crash_delay_s(CrashPolicy(), crashed(8), f"app-{n}") for n in range(100)}) == 100


# Anything, whatever was found


@st.composite
def situations(draw: st.DrawFn) -> tuple[App | None, Observed]:
    app = draw(apps)
    return draw(st.sampled_from((app, app, app, app, None))), draw(anything_observed(app))


_MANY = 40


def _story(app: App | None, observed: Observed, content: str) -> list[tuple[Plan, Observed, float]]:
    """Doing the first action again and again, each of which works, and waiting where there is something to wait for."""
    now, story = NOW, []
    for step in range(_MANY):
        decided = plan(app, observed, now)
        story.append((decided, observed, now))
        if decided.first is not None:
            observed = after(observed, decided.first, now, content=content, newborn=f"n{step}")
        elif decided.look_again_at is not None:
            assert decided.look_again_at > now, "it would look again and again at the same instant"
            now = decided.look_again_at
        else:
            return story
        now += 0.01
    raise AssertionError(f"no end after {_MANY} steps: " + "; ".join(str(p.first) for p, _, _ in story[-4:]))


@given(situations(), st.sampled_from(CONTENTS))
def test_every_story_ends_with_what_was_asked_for(situation: tuple[App | None, Observed], content: str) -> None:
    app, observed = situation
    story = _story(app, observed, content)
    last, end, _ = story[-1]
    event(f"{len(story)} steps")
    if app is None:
        assert end == Observed(changes=end.changes, crashes=end.crashes, source=end.source)
        assert not any(isinstance(p.first, Erase) for p, _, _ in story) or end == Observed()
    elif app.state == "stopped":
        assert last.state == "stopped"
        assert (end.instances, end.listeners) == ((), frozenset())
    else:
        assert end.source is not None
        assert last.state == "running"
        assert is_served(app, end.source.content, end)
        assert len(end.builds) <= 2


@given(situations(), st.sampled_from(CONTENTS))
def test_what_serves_is_never_stopped_before_another_one_does(
    situation: tuple[App | None, Observed], content: str
) -> None:
    app, observed = situation
    if app is None or app.state == "stopped":
        return
    for decided, seen, _ in _story(app, observed, content):
        if isinstance(decided.first, Stop):
            (stopped,) = (i for i in seen.instances if i.id == decided.first.instance)
            assert not stopped.serves or any(i.serves for i in seen.instances if i is not stopped)


@given(situations(), st.sampled_from(CONTENTS))
def test_no_build_or_listener_is_taken_from_under_an_instance(
    situation: tuple[App | None, Observed], content: str
) -> None:
    for decided, seen, _ in _story(*situation, content):
        alive = [i for i in seen.instances if i.end is None]
        match decided.first:
            case Discard(build=build):
                assert build not in {i.build for i in alive}
            case Unlisten(address=address):
                assert address not in {i.address for i in alive}
            case Erase():
                assert (alive, seen.builds, seen.listeners) == ([], (), frozenset())
            case _:
                pass


@given(situations(), st.sampled_from(CONTENTS))
def test_no_third_generation_is_started_and_nothing_without_build_listener_or_burial(
    situation: tuple[App | None, Observed], content: str
) -> None:
    for decided, seen, _ in _story(*situation, content):
        if isinstance(decided.first, Start):
            wanted = decided.first.revision
            assert all(i.end is None for i in seen.instances)
            assert len([i for i in seen.instances if i.revision != wanted.id or i.stopping_since or i.stranded]) <= 1
            assert wanted.build.id in seen.builds
            assert wanted.address in seen.listeners


@given(situations())
def test_planning_is_a_function_and_what_is_planned_is_planned_once(situation: tuple[App | None, Observed]) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    assert decided == plan(app, observed, NOW)
    assert len({str(a) for a in decided.actions}) == len(decided.actions)


@given(situations(), st.sampled_from(CONTENTS))
def test_what_a_plan_foresees_is_what_is_done(situation: tuple[App | None, Observed], content: str) -> None:
    """Except after reading a source, which may have changed, and after a burial, which may call for a wait."""
    app, observed = situation
    decided = plan(app, observed, NOW)
    while decided.first is not None and not isinstance(decided.first, ReadSource | Bury):
        observed = after(observed, decided.first, NOW, content=content)
        foreseen = decided.actions[1:]
        decided = plan(app, observed, NOW)
        assert decided.actions == foreseen


@given(situations())
def test_an_app_that_is_as_asked_has_no_second_look_due_unless_something_is_being_waited_for(
    situation: tuple[App | None, Observed],
) -> None:
    decided = plan(*situation, NOW)
    if not decided.actions and decided.state == "running":
        assert decided.look_again_at is None


@given(situations())
def test_a_running_app_has_nothing_left_to_do(situation: tuple[App | None, Observed]) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    if decided.state == "running" and not any(isinstance(a, ReadSource) for a in decided.actions):
        assert decided.actions == ()
        assert app is not None
        assert observed.source is not None
        assert is_served(app, observed.source.content, observed)


@given(situations())
def test_every_action_has_a_cause(situation: tuple[App | None, Observed]) -> None:
    assert all(action.cause for action in plan(*situation, NOW).actions)


def test_a_listener_is_opened_only_where_the_app_is_asked_to_listen() -> None:
    opened = [a for a in plan(APP, Observed(source=a_look(APP)), NOW).actions if isinstance(a, Listen)]
    assert [a.address for a in opened] == [APP.address]
