"""The plan for an origin in git: what is done next, and in which state it is; what is in force stays in force."""

from dataclasses import replace

import pytest

from reconciler.planning.origins.actions import (
    Fetch,
    Judge,
    JudgeTrial,
    Leave,
    LeaveTrial,
    Materialise,
    Report,
    TakeEffect,
    Tidy,
)
from reconciler.planning.origins.observed import FetchFailure, ObservedOrigin, Pause, TrialBranch, Verdict
from reconciler.planning.origins.plan import OriginPlan, plan

A, B = "a" * 40, "b" * 40
NOW, MONOTONIC, STALE_S = 1_000_000.0, 500.0, 3600.0
ACCEPTED = Verdict(commit=A, ruling="accepted")
CURRENT = ObservedOrigin(
    head=A, accepted=A, in_force=A, good=A, trees=frozenset({A}), verdict=ACCEPTED, due_at=MONOTONIC + 60, heard_at=NOW
)
REFUSED = replace(CURRENT, head=B, verdict=Verdict(commit=B, ruling="refused", why="it is not signed"))
PAUSE = Pause(at=NOW, because="a freeze", by="root")


def planned(observed: ObservedOrigin, now: float = NOW) -> OriginPlan:
    return plan(observed, now=now, monotonic=MONOTONIC, stale_after_s=STALE_S)


def test_an_origin_that_is_current_has_nothing_to_do() -> None:
    assert planned(CURRENT) == OriginPlan(action=None, state="current", message="")


def test_a_commit_goes_through_every_action_in_order() -> None:
    seen = ObservedOrigin(due_at=MONOTONIC)
    assert planned(seen).action == Fetch()
    seen = replace(seen, due_at=MONOTONIC + 60, head=A, heard_at=NOW)
    assert planned(seen).action == Judge(A, "it is another commit than the accepted one")
    seen = replace(seen, verdict=ACCEPTED, accepted=A)
    assert planned(seen).action == Materialise(A)
    seen = replace(seen, trees=frozenset({A}))
    assert planned(seen).action == TakeEffect(A)
    seen = replace(seen, in_force=A, is_untidy=True)
    assert planned(seen).action == Tidy()
    assert planned(replace(seen, is_untidy=False)) == OriginPlan(action=None, state="current", message="")


@pytest.mark.parametrize("ruling", ["refused", "rewound", "missing", "held", "returned"])
def test_what_is_not_accepted_changes_nothing_and_says_what_stays_in_force(ruling: str) -> None:
    seen = replace(REFUSED, verdict=Verdict(commit=B, ruling=ruling, why="it is bad"))  # type: ignore[arg-type]
    found = planned(seen)
    assert (found.action, found.state) == (None, ruling)
    assert found.message == "it is bad; commit aaaaaaa stays in force"


FAILED = replace(
    CURRENT, head=B, accepted=B, in_force=B, trees=frozenset({A, B}), failed="shop: it exited",
    verdict=Verdict(commit=B, ruling="accepted"),
)  # fmt: skip


def test_a_commit_whose_apps_fail_is_left_for_the_last_good_one_unless_there_is_something_better_to_do() -> None:
    assert planned(FAILED).action == Leave(B, A, "shop: it exited")
    newer = "c" * 40
    assert planned(replace(FAILED, head=newer)).action == Judge(newer, "it is another commit than the accepted one")
    better = replace(FAILED, accepted=newer, head=newer, verdict=Verdict(commit=newer, ruling="accepted"))
    assert planned(better).action == Materialise(newer)


@pytest.mark.parametrize("none", [{"good": None}, {"good": B}, {"trees": frozenset({B})}, {"pause": PAUSE}])
def test_a_commit_is_not_left_where_no_other_can_take_its_place(none: dict[str, object]) -> None:
    assert planned(replace(FAILED, **none)).action is None  # type: ignore[arg-type]


def test_a_branch_that_is_gone_changes_nothing() -> None:
    gone = Verdict(commit="", ruling="missing", why="the repository has no branch 'main'")
    found = planned(replace(CURRENT, head=None, verdict=gone))
    assert (found.action, found.state) == (None, "missing")


def test_one_failed_fetch_is_not_told_and_two_are() -> None:
    once = replace(CURRENT, failure=FetchFailure(code="name", why="the name x cannot be resolved"))
    assert planned(once).state == "current"
    twice = planned(replace(CURRENT, failure=FetchFailure(code="name", why="the name x cannot be resolved", count=2)))
    assert twice == OriginPlan(
        action=None, state="unreachable", message="the name x cannot be resolved; commit aaaaaaa stays in force"
    )


def test_the_first_failure_is_told_while_no_commit_is_in_force() -> None:
    failed = ObservedOrigin(failure=FetchFailure(code="name", why="no"), due_at=MONOTONIC + 1, began_at=NOW)
    assert planned(failed).message == "no; no commit is in force yet"


def test_a_repository_that_is_silent_for_too_long_is_stale() -> None:
    silent = replace(CURRENT, failure=FetchFailure(code="name", why="no", count=9))
    assert planned(silent, NOW + STALE_S).state == "unreachable"
    assert planned(silent, NOW + STALE_S + 1).state == "stale"


def test_a_commit_is_judged_again_when_what_it_is_judged_by_changes() -> None:
    assert planned(replace(CURRENT, trust="other keys")).action == Judge(A, "what it is judged by has changed")


def test_a_pause_holds_back_what_is_accepted_and_nothing_else() -> None:
    accepted = replace(CURRENT, head=B, accepted=B, verdict=Verdict(commit=B, ruling="accepted"))
    assert planned(accepted).action == Materialise(B)
    paused = replace(accepted, pause=PAUSE)
    assert planned(paused).action is None
    assert planned(paused).state == "paused"
    assert "commit bbbbbbb is accepted, and waits" in planned(paused).message
    assert planned(replace(paused, due_at=MONOTONIC)).action == Fetch()


def test_what_a_look_led_to_is_done_before_the_next_look_however_soon_that_is_due() -> None:
    due = replace(CURRENT, due_at=MONOTONIC, head=B)
    assert planned(due).action == Fetch()
    found = replace(due, is_unfinished=True)
    assert planned(found).action == Judge(B, "it is another commit than the accepted one")
    reporting = replace(CURRENT, due_at=MONOTONIC, is_report_due=True, is_unfinished=True)
    assert planned(reporting).action == Report()
    assert planned(replace(reporting, is_report_due=False)).action == Fetch()
    assert planned(replace(reporting, is_report_due=False, is_untidy=True)).action == Fetch()


def test_a_pause_ends_by_itself() -> None:
    paused = replace(CURRENT, pause=replace(PAUSE, until=NOW + 10))
    assert planned(paused, NOW + 9).state == "paused"
    assert planned(paused, NOW + 10).state == "current"


def test_files_that_are_lost_are_written_again() -> None:
    assert planned(replace(CURRENT, trees=frozenset(), in_force=None)).action == Materialise(A)


TRIED = "7" * 40
ON_TRIAL = replace(
    CURRENT,
    trial=TrialBranch(commit=TRIED, verdict=Verdict(commit=TRIED, ruling="accepted", trust=CURRENT.trial_trust)),
    trees=frozenset({A, TRIED}),
)


def test_a_trial_is_judged_after_the_branch_and_is_then_in_force() -> None:
    seen = replace(ON_TRIAL, trial=TrialBranch(commit=TRIED), trees=frozenset({A}))
    assert planned(replace(seen, head=B)).action == Judge(B, "it is another commit than the accepted one")
    assert planned(seen).action == JudgeTrial(TRIED, "it is on trial on top of commit aaaaaaa")
    seen = replace(seen, trial=ON_TRIAL.trial)
    assert planned(seen).action == Materialise(TRIED)
    assert planned(ON_TRIAL).action == TakeEffect(TRIED)
    assert planned(ON_TRIAL).state == "pending"
    found = planned(replace(ON_TRIAL, in_force=TRIED))
    assert (found.action, found.state) == (None, "trial")


def test_a_trial_that_is_gone_passed_or_not_accepted_leaves_the_accepted_commit_in_force() -> None:
    tried = replace(ON_TRIAL, in_force=TRIED)
    assert planned(replace(tried, trial=TrialBranch())).action == TakeEffect(A)
    assert planned(replace(tried, trial=TrialBranch(commit=A))).action == TakeEffect(A)
    refused = Verdict(commit=TRIED, ruling="refused", why="it is bad", trust=CURRENT.trial_trust)
    refused_trial = TrialBranch(commit=TRIED, verdict=refused)
    assert planned(replace(tried, trial=refused_trial)).action == TakeEffect(A)
    found = planned(replace(CURRENT, trial=refused_trial))
    assert found == OriginPlan(action=None, state="current", message="the trial is not in force: it is bad")


def test_a_trial_is_judged_again_once_another_commit_is_accepted_before_anything_takes_effect() -> None:
    moved = replace(
        ON_TRIAL, head=B, accepted=B, in_force=TRIED, trees=frozenset({A, B, TRIED}),
        verdict=Verdict(commit=B, ruling="accepted"),
    )  # fmt: skip
    assert planned(moved).action == JudgeTrial(TRIED, "it is on trial on top of commit bbbbbbb")


def test_a_trial_whose_apps_fail_is_left_for_the_accepted_commit_and_not_for_the_good_one() -> None:
    failed = replace(ON_TRIAL, in_force=TRIED, failed="shop: it exited", good=None)
    assert planned(failed).action == LeaveTrial(TRIED, "shop: it exited")
    assert planned(replace(failed, pause=PAUSE)).action is None


def test_nothing_is_tried_before_a_commit_was_accepted() -> None:
    fresh = ObservedOrigin(due_at=MONOTONIC + 60, trial=TrialBranch(commit=TRIED), began_at=NOW)
    assert planned(fresh).action is None


@pytest.mark.parametrize("goal", ["", B])
def test_a_trial_that_is_gone_ends_whatever_a_fleet_has_the_host_wait_for(goal: str) -> None:
    verdict = Verdict(commit=goal, ruling="refused", why="it is bad")
    gone = replace(ON_TRIAL, in_force=TRIED, trial=TrialBranch(), base=A, head=B, goal=goal, verdict=verdict)
    assert planned(gone).action == TakeEffect(A)
    assert planned(replace(gone, base=None)).action is None, "what was never in force waits"
