"""The status of a commit as its git server is told it: each state once, and none that is not known."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.origins.commit_status import CommitStatus, Told, status_of
from reconciler.planning.origins.observed import ObservedOrigin, Pause, TrialBranch, Verdict

OLD, NEW = "a" * 40, "b" * 40
SEEN = ObservedOrigin(head=NEW, accepted=OLD, in_force=OLD, good=OLD)
IN_FORCE = replace(SEEN, accepted=NEW, in_force=NEW, rejected="", unbuilt="")


def state(observed: ObservedOrigin, cannot: str = "") -> tuple[str, str] | None:
    found = status_of(observed, cannot)
    return None if found is None else (found.state, found.text)


def test_a_commit_that_is_not_accepted_has_failed_with_its_first_problem() -> None:
    refused = Verdict(commit=NEW, ruling="refused", why="fleet/hosts/web1/shop.yaml:7:3: port: expected a number")
    assert state(replace(SEEN, verdict=refused)) == ("failure", refused.why)
    pause = Pause(at=0, because="freeze", by="alice")
    assert state(replace(SEEN, verdict=refused, pause=pause)) == ("failure", refused.why)
    of_another = replace(refused, commit=OLD)
    assert state(replace(SEEN, verdict=of_another, pause=pause)) == ("pending", "paused by alice: freeze")


def test_a_commit_in_force_is_as_its_apps_are() -> None:
    assert state(IN_FORCE) == ("pending", "in force; its apps are not up to date yet")
    assert state(replace(IN_FORCE, rejected=None, unbuilt=None)) is None, "a daemon that begins knows nothing of them"
    assert state(replace(IN_FORCE, rejected="shop: it exited")) == ("failure", "shop: it exited")
    assert state(replace(IN_FORCE, unbuilt="shop: no index")) == ("error", "shop: no index")
    assert state(replace(IN_FORCE, good=NEW)) == ("success", "in force, and its apps are up to date")


def test_what_this_host_cannot_do_is_an_error_and_no_failure() -> None:
    assert state(SEEN, "cannot write its files: No space left on device") == (
        "error",
        "cannot write its files: No space left on device",
    )
    assert state(SEEN) == ("pending", "it is about to take effect")
    assert state(replace(SEEN, head=None)) is None


def test_a_host_of_a_fleet_tells_of_the_commit_whose_turn_it_is() -> None:
    waiting = replace(SEEN, goal=OLD, waits="commit bbbbbbb waits for canaries")
    found = status_of(waiting, "")
    assert found == CommitStatus(commit=OLD, state="success", text="in force, and its apps are up to date")
    taken = replace(SEEN, head="c" * 40, goal=NEW)
    assert status_of(taken, "") == CommitStatus(commit=NEW, state="pending", text="it is about to take effect")
    assert status_of(replace(SEEN, goal="", waits="the rules cannot be read"), "") is None


def test_a_commit_is_pending_while_a_trial_on_top_of_it_is_in_force() -> None:
    trial = TrialBranch(commit="c" * 40)
    assert state(replace(IN_FORCE, in_force=trial.commit, trial=trial)) == (
        "pending",
        "a trial on top of it is in force",
    )


def told(*statuses: tuple[str, str]) -> list[tuple[str, str]]:
    """What a server is told of these statuses, each as soon as it is so."""
    so_far = Told()
    found: list[tuple[str, str]] = []
    for commit, each in statuses:
        wanted = CommitStatus(commit=commit, state=each, text="")  # type: ignore[arg-type]
        while (following := so_far.next(wanted)) is not None:
            found.append((following.commit, following.state))
            so_far = so_far.with_told(following)
    return found


def test_each_state_is_told_once_and_a_new_try_does_not_hide_a_failure() -> None:
    stories = [
        (NEW, "pending"),
        (NEW, "pending"),
        (NEW, "failure"),
        (NEW, "pending"),
        (NEW, "failure"),
        (NEW, "success"),
    ]
    assert told(*stories) == [(NEW, "pending"), (NEW, "failure"), (NEW, "success")]


def test_a_commit_is_not_left_pending_once_another_has_come() -> None:
    assert told((OLD, "pending"), (NEW, "success")) == [(OLD, "pending"), (OLD, "error"), (NEW, "success")]
    assert told((OLD, "failure"), (NEW, "pending")) == [(OLD, "failure"), (NEW, "pending")]


_STATUSES = st.tuples(st.sampled_from([OLD, NEW]), st.sampled_from(["pending", "success", "failure", "error"]))


@given(st.lists(_STATUSES, max_size=200))
def test_the_last_state_is_told_in_the_end_unless_it_is_a_new_try(statuses: list[tuple[str, str]]) -> None:
    found = told(*statuses)
    assert all(one != other for one, other in pairwise(found))
    if statuses and statuses[-1][1] != "pending" and len(found) < 50:
        assert found[-1] == statuses[-1]


def test_a_server_hears_no_more_than_fifty_times_of_one_commit() -> None:
    assert len(told(*[(NEW, each) for each in ("failure", "success")] * 100)) == 50
