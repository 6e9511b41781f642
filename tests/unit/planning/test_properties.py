"""Properties that hold of the plan for any situation, and of whole stories."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import event, given
from hypothesis import strategies as st

from reconciler.planning.apps.actions import (
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RemoveBuild,
    Sleep,
    Start,
    Stop,
    Unlisten,
)
from reconciler.planning.apps.failures import crash_delay_s
from reconciler.planning.apps.observed import Observed, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.canary.actions import WeighCanary
from tests.support.plans import (
    APP,
)
from tests.support.stories import (
    Running,
    Situation,
    attended_to,
    ends,
    is_maintained,
    running_apps,
    situations,
    story_of,
)
from tests.world import (
    CONTENTS,
    NOW,
    a_look,
    after,
    coming_up,
    is_asleep,
    is_served,
    listeners_of,
    release_id,
    wanted_of,
)


@given(running_apps(), st.floats(min_value=0, max_value=0.999))
def test_until_it_says_to_look_again_time_alone_changes_no_plan(running: "Running", part: float) -> None:
    app, observed = running
    decided = plan(app, observed, NOW)
    until = NOW + 1e6 if decided.recheck_at is None else decided.recheck_at
    later = plan(app, observed, NOW + (until - NOW) * part)
    assert replace(later, actions=()) == replace(decided, actions=())
    assert list(map(str, later.actions)) == list(map(str, decided.actions))


@given(situations(), st.sampled_from(CONTENTS))
def test_every_story_ends_with_what_was_asked_for(situation: Situation, content: str) -> None:
    app, observed = situation
    story = story_of(app, observed, content)
    last, end, _ = story[-1]
    maintained = app is not None and is_maintained(app, observed)
    event(f"{last.state} after {len(story) // 4 * 4} steps")
    if app is None or ends(app, observed):
        if observed.stopping_dependents and any(i.end is None for i in observed.instances):
            assert (last.state, len(story)) == ("stopping", 1)
        elif app is None:
            assert end == Observed(stopping_dependents=end.stopping_dependents, source_generation=end.source_generation)
        else:
            assert (last.state, last.settled) == ("stopped", True)
            assert (end.instances, end.listeners) == ((), frozenset())
    elif maintained and observed.stopping_dependents and any(i.end is None for i in observed.instances):
        assert (last.state, last.settled) == ("maintenance", False)
    elif maintained:
        assert (last.state, last.settled) == ("maintenance", True)
        assert (end.instances, end.listeners) == ((), listeners_of(app))
        assert listeners_of(app) <= end.holding
    else:
        wanted = wanted_of(app, end)
        assert wanted is not None
        assert last.wanted == wanted.id
        if last.state == "sleeping":
            assert is_asleep(app, wanted, end)
            assert end.sleep_state.gate_passed == wanted.id or (app.lazy and end.sleep_state.gate_passed is None)
            assert app.lazy or app.idle_after_s is not None
        elif last.state == "pending":
            assert end.unmet_dependencies
            assert not end.serves
            assert wanted.build.id in end.builds
        else:
            assert last.state in ("running", "degraded")
            assert is_served(app, "", end, wanted)
            assert end.known_good[0] == wanted
            assert len(end.builds) <= 7


@given(running_apps(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_what_serves_is_never_stopped_before_another_one_does(situation: Running, content: str, broken: str) -> None:
    """Unless it was only started to be gated, by an app that sleeps."""
    app, observed = situation
    for decided, seen, _ in story_of(app, observed, content, frozenset({app.revision(broken).id})):
        gating = app.may_sleep and seen.sleep_state.gate_passed is not None and seen.sleep_state.activated_at is None
        if isinstance(decided.first, Stop) and not gating:
            (stopped,) = (i for i in seen.instances if i.id == decided.first.instance)
            assert not stopped.serves or any(i.serves for i in seen.instances if i is not stopped)


@given(situations(), st.sampled_from(CONTENTS))
def test_no_build_or_listener_is_taken_from_under_an_instance(situation: Situation, content: str) -> None:
    for decided, seen, _ in story_of(*situation, content):
        match decided.first:
            case RemoveBuild(build=build):
                assert build not in {i.build for i in seen.alive}
            case Unlisten(address=address):
                assert all(address not in i.addresses for i in seen.alive)
            case ForgetApp():
                assert (seen.alive, seen.builds, seen.listeners) == ((), (), frozenset())
            case _:
                pass


@given(situations(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_at_most_two_generations_and_nothing_without_build_listener_release_or_burial(
    situation: Situation, content: str, broken: str
) -> None:
    app, observed = situation
    bad = frozenset({app.revision(broken).id} if app else ())
    for decided, seen, _ in story_of(app, observed, content, bad):
        if isinstance(decided.first, Start):
            starting = decided.first.revision
            coming = coming_up(seen, starting)
            assert all(i.end is None for i in seen.instances)
            assert len([i for i in seen.instances if i is not coming]) <= 1
            assert starting.build.id in seen.builds
            assert seen.listeners.issuperset(starting.addresses)
            if starting.id == decided.wanted and release_id(starting) is not None:
                assert release_id(starting) in seen.released


@given(running_apps(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_a_revision_that_failed_is_not_started_before_its_time(situation: Running, content: str, broken: str) -> None:
    app, observed = situation
    for decided, seen, now in story_of(app, observed, content, frozenset({app.revision(broken).id})):
        if isinstance(decided.first, Start):
            trouble = seen.failure_of(decided.first.revision.id, app.workers)
            if trouble is not None and trouble.phase == "staging":
                continue  # a build that could not be made, and is by now: what is started is in the builds
            if trouble is not None and coming_up(seen, decided.first.revision) is None:
                more = trouble.kind == "rejected" and decided.first.revision.id == decided.wanted and seen.serves
                # One more counts where there is a fallback, too; at the cap its jitter may make it the shorter delay.
                counts = (trouble.count + more, trouble.count + (trouble.kind == "rejected"))
                delay_s = min(crash_delay_s(app.crash, count, app.name) for count in counts)
                assert now >= trouble.last_at + delay_s


@given(running_apps(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_a_broken_revision_is_never_started_over_and_over(situation: Running, content: str, broken: str) -> None:
    """Two tries come at once at most: the first one and the one right after it."""
    app, observed = situation
    bad = app.revision(broken).id
    story = story_of(app, observed, content, frozenset({bad}))
    tries = [at for p, _, at in story if isinstance(p.first, Start) and p.first.revision.id == bad]
    assert all(later - first > 0.5 for first, later in zip(tries, tries[2:], strict=False))


@given(running_apps(may_sleep=False), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_while_the_wanted_revision_is_bad_the_last_proven_one_serves_or_is_brought_back_first(
    situation: Running, content: str, broken: str
) -> None:
    app, observed = situation
    observed = replace(observed, sleep_state=SleepState(), unmet_dependencies=())
    for decided, seen, _ in story_of(app, observed, content, frozenset({app.revision(broken).id})):
        first = decided.first
        trouble = seen.failure_of(decided.wanted or "", app.workers)
        if not isinstance(first, Start) or trouble is None or trouble.kind != "rejected" or seen.serves:
            continue
        if coming_up(seen, first.revision) is not None:
            continue
        back = [
            replace(p, address=app.address, beside=app.beside) for p in seen.known_good if p.build.id in seen.builds
        ]
        back = [b for b in back if b.id != decided.wanted and not any(p.id == decided.wanted for p in seen.known_good)]
        if back and seen.failure_of(back[0].id, app.workers) is None:
            assert first.revision == back[0]


@given(running_apps(may_sleep=True), st.sampled_from(CONTENTS))
def test_what_sleeps_is_only_woken_by_a_knock_or_to_gate_a_new_revision(situation: Running, content: str) -> None:
    app, observed = situation
    gated: list[str] = []
    for decided, seen, _ in story_of(app, observed, content):
        if isinstance(decided.first, Start) and seen.sleep_state.activated_at is None and not seen.alive:
            woken = decided.first.revision.id
            if seen.sleep_state.gate_passed is None:
                assert not app.lazy
            else:
                assert woken not in (seen.sleep_state.gate_passed, None)
                gated.append(woken)
    assert len(gated) == len(set(gated))


@given(situations(), st.sampled_from(CONTENTS))
def test_nothing_is_put_to_sleep_that_somebody_asked_for_lately(situation: Situation, content: str) -> None:
    app, observed = situation
    for decided, seen, now in story_of(app, observed, content):
        if isinstance(decided.first, Sleep):
            (one,) = (i for i in seen.instances if i.id == decided.first.instance)
            assert app is not None
            assert one.ready_at is not None
            assert (one.revision, [i for i in seen.alive if i is not one]) == (decided.first.revision, [])
            if seen.sleep_state.activated_at is not None:
                assert app.idle_after_s is not None
                assert now - max(one.ready_at, one.busy_at or 0, seen.sleep_state.activated_at) >= app.idle_after_s


@given(running_apps(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_the_daemon_never_answers_while_an_instance_serves(situation: Running, content: str, broken: str) -> None:
    """Unless the manifest says maintenance."""
    app, observed = situation
    for decided, seen, now in story_of(app, observed, content, frozenset({app.revision(broken).id})):
        assert not any(seen.serves_at(address) for address in seen.holding)
        activated_at = seen.sleep_state.activated_at
        if activated_at is not None and now < activated_at + app.patience_s:
            continue
        for address in seen.listeners.intersection(app.addresses):
            if seen.unserved_since is not None and now >= seen.unserved_since + app.patience_s:
                assert seen.serves_at(address) or address in seen.armed | seen.holding, decided


@given(running_apps(), st.sampled_from(CONTENTS), st.sampled_from(CONTENTS))
def test_no_client_is_let_in_where_no_instance_listens_while_one_serves_elsewhere(
    situation: Running, content: str, broken: str
) -> None:
    """An address that is new is opened with the instance that is to serve there, and no sooner."""
    app, observed = situation
    story = story_of(app, observed, content, frozenset({app.revision(broken).id}))
    for (decided, seen, _), (following, _, _) in pairwise(story):
        if isinstance(decided.first, Listen) and seen.serves and not seen.serves_at(decided.first.address):
            assert isinstance(following.first, Listen | Start), decided


@given(situations())
def test_planning_is_a_function_and_what_is_planned_is_planned_once(situation: Situation) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    assert decided == plan(app, observed, NOW)
    assert len({str(a) for a in decided.actions}) == len(decided.actions)
    assert len({str(a) for a in decided.immediate}) == len(decided.immediate)


@given(situations(), st.sampled_from(CONTENTS))
def test_what_a_plan_foresees_is_what_is_done(situation: Situation, content: str) -> None:
    """Except after what may change the plan: reading a source, a burial, a start; a door is closed when it can be."""
    app, observed = situation
    observed = attended_to(app, observed, NOW)
    decided = plan(app, observed, NOW)
    while decided.first is not None and not isinstance(
        decided.first, ReadSource | Reap | Start | MarkGood | Sleep | WeighCanary
    ):
        observed = after(observed, decided.first, NOW, content=content)
        foreseen = [a for a in decided.actions[1:] if not isinstance(a, Unlisten)]
        decided = plan(app, observed, NOW)
        assert [a for a in decided.actions if not isinstance(a, Unlisten)][: len(foreseen)] == foreseen


@given(situations())
def test_what_is_settled_has_nothing_left_to_do_and_is_as_asked(situation: Situation) -> None:
    app, observed = situation
    decided = plan(app, observed, NOW)
    event(f"{decided.state}, settled: {decided.settled}")
    if not decided.settled:
        return
    assert decided.actions == ()
    if decided.state == "running":
        assert app is not None
        assert is_served(app, "", replace(observed, holding=frozenset()), wanted_of(app, observed))
    elif decided.state == "sleeping":
        assert observed.alive == ()
    else:
        assert decided.state in ("stopped", "stopping", "maintenance")
        assert observed.instances == ()


@given(situations())
def test_a_second_look_is_due_in_the_future_or_not_at_all(situation: Situation) -> None:
    app, observed = situation
    seen = attended_to(app, observed, NOW)
    again = plan(app, seen, NOW).recheck_at
    assert again is None or NOW < again < NOW + 1e6


@given(situations())
def test_until_the_next_look_is_due_time_alone_changes_nothing(situation: Situation) -> None:
    app, observed = situation
    seen = attended_to(app, observed, NOW)
    decided = plan(app, seen, NOW)
    until = decided.recheck_at or NOW + 1e5
    for share in (0.3, 0.999):
        later = plan(app, seen, NOW + (until - NOW) * share)
        assert (later.actions, later.immediate, later.recheck_at) == (
            decided.actions, (), decided.recheck_at
        )  # fmt: skip


@given(situations())
def test_every_action_has_a_cause(situation: Situation) -> None:
    decided = plan(*situation, NOW)
    assert all(action.cause for action in (*decided.actions, *decided.immediate))


def test_a_listener_is_opened_only_where_the_app_is_asked_to_listen() -> None:
    opened = [a for a in plan(APP, Observed(source=a_look(APP)), NOW).actions if isinstance(a, Listen)]
    assert [a.address for a in opened] == [APP.address]
