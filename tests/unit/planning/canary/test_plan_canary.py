"""Plans of canaries: share after share, promoted or gone back from, and never three revisions."""

from dataclasses import replace
from typing import Any

from reconciler.planning.apps.actions import RecordFailure, Scale, Start
from reconciler.planning.apps.observed import Failure, Observed, Override
from reconciler.planning.apps.plan import plan
from reconciler.planning.canary.actions import EndCanary, WeighCanary
from reconciler.planning.canary.canary import Canary, Split
from reconciler.planning.canary.judgement import Counts, Trial
from tests.support.plans import APP, B1, B2, V1, V2, V3, dead, lines
from tests.world import ADDRESS, NOW, a_look, after, an_app, an_instance, as_text, serving

CANARY = Canary(share=(50, 250), for_s=600.0)
WITH = replace(APP, canary=CANARY)
OLD, NEW = an_instance(V1, "i1"), an_instance(V2, "i2")
ENOUGH = Trial(canary=Counts(answered=412, failed=1), others=Counts(answered=8000, failed=25))
FEW = Trial(canary=Counts(answered=3), others=Counts(answered=57))


def edited(**different: Any) -> Observed:
    """What is true once the code has changed and the new build is staged."""
    return replace(serving(WITH), source=a_look(WITH, "c2"), builds=(B1.id, B2.id), **different)


def on_trial(weight: int = 50, step: int = 0, *, ago: float = 60.0, **different: Any) -> Observed:
    split = Split(address=ADDRESS, revision=V2.id, weight=weight, step=step, since=NOW - ago)
    return edited(instances=(OLD, NEW), split=replace(split, **different))


def text(observed: Observed, app: Any = WITH) -> str:
    return as_text(plan(app, observed, NOW), v1=V1, v2=V2)


def test_a_new_revision_starts_on_a_listener_of_its_own_and_all_its_steps_are_foreseen() -> None:
    assert text(edited()) == lines("""
        open a second listener on 127.0.0.1:8001 for revision v2: the manifest has 5% of new connections try it first
        start revision v2: the manifest has 5% of new connections try it first
        give revision v2 5% of new connections: unless it is worse within 10m
        give revision v2 25% of new connections: unless it is worse within 10m
        give revision v2 every new connection: unless it is worse within 10m
        stop instance i1: the new revision gets every new connection
        close the first of two listeners on 127.0.0.1:8001: the new revision gets every new connection
    """)


def test_it_is_given_its_share_once_it_has_passed_its_gate() -> None:
    decided = plan(WITH, on_trial(0, -1), NOW)
    assert str(decided.first) == f"give revision {V2.id} 5% of new connections"
    assert decided.state == "canary"


def test_once_it_has_answered_enough_the_number_is_told_by_itself() -> None:
    decided = plan(WITH, on_trial(trial=ENOUGH), NOW)
    assert decided.message.startswith("canary 5% (412 requests, 1m of 10m): 1 of 412 (0.24%) failed")


def test_while_its_time_runs_nothing_is_done_and_its_figures_are_told() -> None:
    decided = plan(WITH, on_trial(trial=replace(ENOUGH, canary=Counts(answered=41))), NOW)
    assert (decided.actions, decided.state, decided.settled) == ((), "canary", False)
    assert decided.recheck_at == NOW + 540
    assert decided.message == (
        "canary 5% (41 of 100 requests, 1m of 10m): 0 of 41 (0%) failed, the other release 0.31%;"
        " it may still fail in up to 7.2% of requests"
    )


def test_the_next_share_follows_when_its_time_is_over_with_its_figures_as_the_cause() -> None:
    decided = plan(WITH, on_trial(ago=600, trial=ENOUGH), NOW)
    assert str(decided.first) == f"give revision {V2.id} 25% of new connections"
    assert decided.first is not None
    assert decided.first.cause.startswith(
        "1 of 412 (0.24%) failed, the other release 0.31%; it may still fail in up to"
    )


def test_another_way_to_divide_is_in_effect_at_once_and_begins_the_step_again() -> None:
    by_client = replace(WITH, canary=replace(CANARY, by="client"))
    decided = plan(by_client, on_trial(trial=ENOUGH), NOW).first
    assert isinstance(decided, WeighCanary)
    assert (decided.by, decided.weight, decided.step) == ("client", 50, 0)
    assert decided.cause == "its manifest divides by client now"
    assert plan(by_client, on_trial(trial=ENOUGH, by="client"), NOW).first is None


def test_after_the_last_share_it_gets_all_and_what_served_before_is_stopped() -> None:
    decided = plan(WITH, on_trial(250, 1, ago=600, trial=ENOUGH), NOW)
    assert str(decided.first) == f"give revision {V2.id} every new connection"
    assert text(on_trial(1000, 1)).splitlines()[:2] == [
        "stop instance i1: the new revision gets every new connection",
        "close the first of two listeners on 127.0.0.1:8001: the new revision gets every new connection",
    ]


def test_without_enough_requests_it_goes_on_undecided_and_says_so() -> None:
    decided = plan(WITH, on_trial(ago=600, trial=FEW), NOW)
    assert decided.first is not None
    assert decided.first.cause == "undecided: 3 of 100 requests in 10m"


def test_that_its_requests_are_too_few_is_told_while_there_is_time_to_do_something_about_it() -> None:
    told = "; at this rate it will be undecided"
    assert plan(WITH, on_trial(ago=200, trial=FEW), NOW).message.endswith(told)
    assert told not in plan(WITH, on_trial(ago=60, trial=FEW), NOW).message
    assert told not in plan(WITH, on_trial(ago=200, trial=replace(FEW, canary=Counts(answered=40))), NOW).message


def test_without_enough_requests_it_waits_where_that_is_asked_for_until_an_operator_promotes_it() -> None:
    waits = replace(WITH, canary=replace(CANARY, undecided="wait"))
    decided = plan(waits, on_trial(ago=6000, trial=FEW), NOW)
    assert decided.actions == ()
    assert decided.message.endswith("undecided: it waits for more requests, or 'reconciler promote'")
    promoted = plan(waits, on_trial(ago=6000, trial=FEW, promoted=True), NOW)
    assert str(promoted.first) == f"give revision {V2.id} every new connection"


def test_one_that_is_worse_gets_nothing_at_once_is_stopped_and_is_not_tried_again_by_itself() -> None:
    harmed = on_trial(harm="it fails more often: 9 of 80 (11%), the other release 3 of 1500 (0.2%)")
    assert text(harmed).splitlines()[:4] == [
        "give revision v2 no new connection: it fails more often: 9 of 80 (11%), the other release 3 of 1500 (0.2%)",
        "record the failure of instance i2: it fails more often: 9 of 80 (11%), the other release 3 of 1500 (0.2%)",
        "stop instance i2: it fails more often: 9 of 80 (11%), the other release 3 of 1500 (0.2%)",
        f"close the second of two listeners on 127.0.0.1:8001: {harmed.split.harm if harmed.split else ''}",
    ]
    observed, kinds = harmed, []
    while (first := plan(WITH, observed, NOW).first) is not None:
        kinds.append(type(first))
        observed = after(observed, first, NOW)
    assert RecordFailure in kinds
    assert EndCanary in kinds
    decided = plan(WITH, observed, NOW + 1e6)
    assert (decided.state, decided.actions) == ("degraded", ())
    assert "tried again after an edit or 'reconciler restart blog'" in decided.message


def test_one_that_dies_gets_nothing_at_once() -> None:
    gone = on_trial()
    gone = replace(gone, instances=(OLD, dead(V2, id="i2")))
    decided = plan(WITH, gone, NOW)
    assert isinstance(decided.first, WeighCanary)
    assert decided.first.weight == 0


def test_a_worker_that_dies_aborts_it_as_on_probation() -> None:
    gone = on_trial()
    decided = plan(WITH, replace(gone, instances=(OLD, replace(NEW, workers_died=1))), NOW)
    assert isinstance(decided.first, WeighCanary)
    assert decided.first.weight == 0


def test_a_new_edit_goes_back_first_so_that_there_are_never_three_revisions() -> None:
    again = replace(on_trial(), source=a_look(WITH, "c3"))
    texts = as_text(plan(WITH, again, NOW), v2=V2, v3=V3).splitlines()
    assert texts[:3] == [
        "give revision v2 no new connection: the canary is over",
        "stop instance i2: the canary is over",
        "close the second of two listeners on 127.0.0.1:8001: the canary is over",
    ]


def test_what_serves_beside_it_is_started_again_at_once_when_it_dies() -> None:
    alone = replace(on_trial(), instances=(dead(V1, id="i1"), NEW))
    failing = Failure(revision=V1.id, kind="crashed", count=1, last_at=NOW, reason="")
    after_reaping = replace(alone, instances=(NEW,), failures=(failing,))
    decided = plan(WITH, after_reaping, NOW)
    assert isinstance(decided.first, Start)
    assert decided.first.revision.id == V1.id


def test_what_cannot_be_started_again_beside_it_leaves_every_connection_to_it() -> None:
    failing = Failure(revision=V1.id, kind="crashed", count=5, last_at=NOW, reason="")
    decided = plan(WITH, replace(on_trial(), instances=(NEW,), failures=(failing,)), NOW)
    assert isinstance(decided.first, WeighCanary)
    assert decided.first.weight == 1000


def test_a_revision_that_is_known_good_takes_over_at_once() -> None:
    back = replace(edited(), known_good=(V1, V2))
    assert "second listener" not in text(back)


def test_an_operator_who_rolls_back_ends_it_first() -> None:
    override = Override(kind="rolled back", holds_for=WITH.revision("c2").id, revision=V1)
    decided = text(replace(on_trial(), override=override))
    assert decided.startswith("give revision v2 no new connection: the canary is over")
    assert "stop instance i1" not in decided


def test_an_app_that_is_stopped_or_removed_closes_both_listeners() -> None:
    for app in (replace(WITH, state="stopped"), None):
        decided = text(on_trial(), app)
        assert decided.startswith("give revision v2 no new connection")
        assert "close the second of two listeners" in decided
        assert "stop instance i1" in decided


def test_where_the_kernel_cannot_divide_it_takes_over_whole() -> None:
    assert "second listener" not in text(edited(undivided="the kernel cannot"))


def test_an_app_that_serves_nothing_yet_has_nothing_to_compare_with() -> None:
    assert "second listener" not in text(replace(edited(instances=()), known_good=()))


def test_after_a_reboot_what_was_known_good_starts_first() -> None:
    decided = plan(WITH, edited(instances=()), NOW)
    assert isinstance(decided.first, Start)
    assert decided.first.revision.id == V1.id
    assert decided.state == "starting"


def test_a_canary_has_as_many_workers_as_its_share_takes() -> None:
    many = Canary(share=(50,))
    assert [many.workers_at(weight, 8) for weight in (50, 250, 500, 1000)] == [1, 2, 4, 8]
    assert replace(many, workers=3).workers_at(50, 8) == 3
    assert replace(many, workers=3).workers_at(50, 2) == 2


def test_a_failure_with_few_workers_counts_for_the_number_that_the_app_asks_for() -> None:
    app = replace(WITH, server=replace(WITH.server, workers=4))
    harmed = replace(on_trial(harm="it is slower"), instances=(replace(OLD, workers=4), NEW))
    (recorded,) = (a for a in plan(app, harmed, NOW).actions if isinstance(a, RecordFailure))
    assert recorded.failure.workers == 0


def test_apps_without_a_canary_are_planned_as_before() -> None:
    assert "second listener" not in text(edited(), an_app())


def withheld(**different: Any) -> Observed:
    """What is true once a revision has failed clients on probation, of an app whose manifest has no canary."""
    failure = Failure(revision=V2.id, kind="rejected", count=1, last_at=NOW - 100, reason="exited", phase="serving")
    return edited(failures=(failure,), **different)


def test_a_revision_that_failed_clients_is_tried_again_with_few_of_them_once_an_operator_asks_for_it() -> None:
    assert plan(APP, withheld(), NOW).actions == ()
    decided = plan(APP, withheld(restart_before=NOW - 1), NOW)
    assert as_text(decided, v1=V1, v2=V2) == lines("""
        open a second listener on 127.0.0.1:8001 for revision v2: it failed clients before: now 5% of new connections try it first
        start revision v2: it failed clients before: now 5% of new connections try it first
        give revision v2 5% of new connections: unless it is worse within 10s
        give revision v2 every new connection: unless it is worse within 10s
        stop instance i1: the new revision gets every new connection
        close the first of two listeners on 127.0.0.1:8001: the new revision gets every new connection
    """)  # noqa: E501
    assert decided.state == "degraded"


def test_it_gets_every_connection_after_its_probation_and_none_if_it_fails_again() -> None:
    split = Split(address=ADDRESS, revision=V2.id, weight=50, step=0, since=NOW - 9)
    trying = withheld(restart_before=NOW - 50, split=split, instances=(OLD, replace(NEW, started_at=NOW - 40)))
    waiting = plan(APP, trying, NOW)
    assert (waiting.actions, waiting.state, waiting.recheck_at) == ((), "canary", NOW + 1)
    assert str(plan(APP, trying, NOW + 1).first) == f"give revision {V2.id} every new connection"
    failed = replace(trying, instances=(OLD, replace(NEW, started_at=NOW - 40, workers_died=1)))
    first = plan(APP, failed, NOW).first
    assert isinstance(first, WeighCanary)
    assert first.weight == 0
    observed = failed
    while (action := plan(APP, observed, NOW).first) is not None:
        observed = after(observed, action, NOW)
    assert [instance.revision for instance in observed.alive] == [V1.id]
    assert "tried again after an edit" in plan(APP, observed, NOW + 1e6).message


def test_a_revision_that_failed_in_its_gate_only_is_no_canary_by_itself() -> None:
    failure = Failure(revision=V2.id, kind="rejected", count=1, last_at=NOW - 1e4, reason="exited", phase="starting")
    assert "second listener" not in text(edited(failures=(failure,)), APP)


def test_one_that_is_to_start_anew_has_no_clients_before_it_is_stopped() -> None:
    restarted = replace(on_trial(), restart_before=NOW)
    assert text(restarted).splitlines()[:3] == [
        "give revision v2 no new connection: the canary is over",
        "stop instance i2: the canary is over",
        "close the second of two listeners on 127.0.0.1:8001: the canary is over",
    ]


def test_one_that_an_operator_aborts_while_it_starts_is_not_tried_again_by_itself() -> None:
    starting = on_trial(0, -1, harm="an operator aborted it")
    starting = replace(starting, instances=(OLD, replace(NEW, ready_at=None)))
    noted = next(action for action in plan(WITH, starting, NOW).actions if isinstance(action, RecordFailure))
    assert noted.reason == "aborted"
    recorded = replace(starting, failures=(noted.failure,))
    assert not any(isinstance(action, RecordFailure) for action in plan(WITH, recorded, NOW).actions)
    over = replace(recorded, split=None, instances=(OLD,))
    for later in (0.0, 86400.0):
        decided = plan(WITH, over, NOW + later)
        assert (decided.actions, decided.state) == ((), "degraded")


def test_its_number_of_workers_is_told_as_the_one_that_its_share_takes() -> None:
    app = replace(WITH.with_workers(4), canary=replace(CANARY, share=(500,)))
    split = on_trial(500).split
    decided = plan(app, edited(instances=(OLD, NEW), split=split), NOW)
    told = {action.instance: (action.workers, action.cause) for action in decided.actions if isinstance(action, Scale)}
    assert told == {"i1": (4, "4 workers desired, 1 running"), "i2": (2, "2 workers desired, 1 running")}


def test_one_that_has_started_anew_begins_with_its_first_share_again() -> None:
    first = plan(WITH, on_trial(0, 1), NOW).first
    assert isinstance(first, WeighCanary)
    assert (first.weight, first.step, first.cause) == (50, 0, "it passed its gate")
