"""An app whose source is not on this host: it waits, or goes on with the source before, whatever else happens."""

from dataclasses import replace

from reconciler.planning.apps.actions import Reap, Start, Stop
from reconciler.planning.apps.git_source import Followed, GitSource
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import ABSENT_MARK, AWAITED_MARK, TREE_MARK, Source
from reconciler.planning.outcome import app_outcome
from reconciler.planning.reason import Reason
from tests.support.plans import APP
from tests.world import NOW, serving

AWAITED = Source(path="", pinned=f"{AWAITED_MARK}main of code is being fetched")
ABSENT = Source(path="", pinned=f"{ABSENT_MARK}main of code: no such branch")


def test_an_app_that_never_had_a_source_waits_for_it_and_fails_once_it_cannot_come() -> None:
    waiting = plan(replace(APP, source=AWAITED), Observed(), NOW)
    assert (waiting.state, waiting.reason, waiting.actions) == ("pending", Reason.WAITING_FOR_SOURCE, ())
    assert waiting.message == "main of code is being fetched"
    failing = plan(replace(APP, source=ABSENT), Observed(), NOW)
    assert (failing.state, failing.reason, failing.actions) == ("failing", Reason.SOURCE_UNREADABLE, ())
    assert not waiting.settled
    assert not failing.settled


def test_what_serves_stays_and_it_is_told_why_the_other_source_is_not_here() -> None:
    observed = serving(APP)
    planned = plan(replace(APP, source=ABSENT), observed, NOW)
    assert (planned.state, planned.reason) == ("degraded", Reason.SOURCE_UNREADABLE)
    assert planned.message == "the last build serves, but main of code: no such branch"
    waiting = plan(replace(APP, source=AWAITED), observed, NOW)
    assert (waiting.state, waiting.reason) == ("running", Reason.WAITING_FOR_SOURCE)
    assert not any(isinstance(action, Stop | Start) for action in planned.actions)


def test_what_crashes_meanwhile_is_started_again_from_the_source_before() -> None:
    observed = serving(APP)
    crashed = replace(observed, instances=tuple(replace(each, end="exit 1") for each in observed.instances))
    planned = plan(replace(APP, source=AWAITED), crashed, NOW)
    assert [type(action) for action in planned.actions[:2]] == [Reap, Start]
    assert planned.wanted == plan(APP, crashed, NOW).wanted


def test_a_client_that_waits_is_told_at_once_of_a_source_that_cannot_come() -> None:
    for source, outcome in ((AWAITED, "under-way"), (ABSENT, "failed")):
        app = replace(APP, source=source)
        observed = serving(APP)
        assert app_outcome(app, plan(app, observed, NOW), observed, NOW) == outcome


def test_the_fingerprint_of_an_app_is_that_of_its_manifest_whatever_the_commit() -> None:
    app = replace(APP, in_git=GitSource(followed=Followed(repository="code", branch="main")), source=AWAITED)
    other = replace(app, source=Source(path="/s/t", pinned=f"{TREE_MARK}t"), commit="c" * 40)
    assert app.fingerprint == other.fingerprint
    assert app.fingerprint != replace(app, in_git=GitSource(followed=Followed(repository="code", tag="v1"))).fingerprint


def test_the_commit_is_no_part_of_what_runs() -> None:
    one, other = replace(APP, commit="a" * 40), replace(APP, commit="b" * 40)
    assert one == other
    assert one.revision("content").id == other.revision("content").id == APP.revision("content").id
    assert one.revision("content").build.commit == "a" * 40
