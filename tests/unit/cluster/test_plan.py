"""Plans of an app in a cluster, as text: nothing that serves goes before its successor, and nothing in doubt goes."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from reconciler.cluster.actions import DeleteObject
from reconciler.cluster.observed import ObservedPlace, Rendered
from reconciler.cluster.ownership import key_of, marked
from reconciler.cluster.plan import plan
from tests.support.exported import app_of, export
from tests.support.kube_api import failed_rollout, rolled_out

FIELDS = {"release": "python migrate.py"}
APP = app_of(FIELDS)
REVISION = APP.revision("content")


def made() -> tuple[Mapping[str, Any], ...]:
    objects = export(FIELDS).objects
    return tuple(marked(each, "here", REVISION.id) for each in objects)


def seen(*objects: Mapping[str, Any], status: bool = True) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Objects as a cluster has them once everything went well, or before anything has."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for each in objects:
        there = {**each, "metadata": {**each["metadata"], "uid": f"u-{each['kind']}", "generation": 1}}
        found[key_of(each)] = rolled_out(there) if status else there
    return found


def observed(**given: Any) -> ObservedPlace:
    rendered = Rendered(app=APP, revision=REVISION.id, objects=made())
    known: dict[str, Any] = {"installation": "here", "place": "prod", "revision": REVISION, "looked": True}
    return ObservedPlace(**{**known, "rendered": rendered, **given})


def told(asked: Any, there: ObservedPlace) -> tuple[list[str], str]:
    planned = plan(asked, there, 0.0)
    assert not (planned.actions and planned.settled)
    return [str(action) for action in planned.actions], planned.state


def test_nothing_is_done_before_the_cluster_was_looked_at_and_the_build_is_there() -> None:
    assert told(APP, observed(looked=False)) == ([], "pending")
    assert told(None, observed(looked=False, seen=seen(*made()))) == ([], "pending")
    assert told(APP, observed(revision=None)) == ([], "pending")
    assert told(APP, observed(rendered=None)) == ([f"push the image of revision {REVISION.id}"], "staging")


def test_the_release_command_comes_before_what_serves_and_what_is_left_over_after_it() -> None:
    job, *rest = made()
    assert told(APP, observed()) == ([f"apply Job {job['metadata']['name']}"], "starting")
    assert told(APP, observed(seen=seen(job, status=False))) == ([], "starting")
    applied = [f"apply {each['kind']} {each['metadata']['name']}" for each in rest]
    assert told(APP, observed(seen=seen(job))) == (applied, "starting")
    old = {"kind": "CronJob", "metadata": {"name": "shop-old"}}
    there = {**seen(job), **seen(*rest, status=False), **seen(old)}
    assert told(APP, observed(seen=there)) == ([], "starting")
    assert told(APP, observed(seen=seen(job, *rest, old))) == (["delete CronJob shop-old"], "running")
    assert plan(APP, observed(seen=seen(job, *rest)), 0.0).settled


def test_what_an_object_of_ours_controls_is_left_to_it_though_it_has_labels_of_ours() -> None:
    owner = {"kind": "CronJob", "name": "shop-sweep", "controller": True}
    run = {"kind": "Job", "metadata": {"name": "shop-sweep-1795823400", "ownerReferences": [owner]}}
    assert told(APP, observed(seen=seen(*made(), run))) == ([], "running")
    assert told(None, observed(seen=seen(run))) == ([], "stopping")


def test_a_release_command_that_fails_keeps_the_rest_from_being_applied() -> None:
    job, *_ = made()
    failed = {"conditions": [{"type": "Failed", "status": "True", "message": "BackoffLimitExceeded"}]}
    there = {key_of(job): {**seen(job, status=False)[key_of(job)], "status": failed}}
    planned = plan(APP, observed(seen=there), 0.0)
    assert (planned.actions, planned.state, planned.reason) == ((), "degraded", "revision-rejected")
    assert planned.message == f"the release command of revision {REVISION.id}: BackoffLimitExceeded"


def test_a_rollout_that_fails_says_why_in_the_words_of_the_cluster() -> None:
    there = seen(*made())
    key = ("Deployment", "shop")
    there[key] = failed_rollout({**there[key]})
    labels = {"reconciler.dev/part": "web"}
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "unauthorized"}}
    pod = {
        "kind": "Pod",
        "metadata": {"name": "p", "labels": labels},
        "status": {"containerStatuses": [{"state": waiting}]},
    }
    planned = plan(APP, observed(seen=there, pods=(pod,)), 0.0)
    assert (planned.actions, planned.state) == ((), "degraded")
    assert planned.message == "its pods: 1 of 1 new, 1 ready: ImagePullBackOff: unauthorized"
    within_s = there[key]["spec"]["progressDeadlineSeconds"]
    planned = plan(APP, observed(seen=there), 0.0)
    assert planned.message == f"its pods: 1 of 1 new, 1 ready: what is new was not ready within {within_s} s"


def test_what_another_has_changed_is_changed_back_with_its_name() -> None:
    there = seen(*made())
    key = ("Deployment", "shop")
    other = {"manager": "kubectl-scale", "time": "1"}
    changed = {**there[key], "spec": {**there[key]["spec"], "replicas": 5}}
    changed["metadata"] = {**changed["metadata"], "managedFields": [other]}
    (action,) = plan(APP, observed(seen={**there, key: changed}), 0.0).actions
    assert (str(action), action.cause) == ("apply Deployment shop", "kubectl-scale has changed spec.replicas")


def test_what_no_manifest_asks_for_is_deleted_unless_that_is_in_doubt_or_nothing_else_serves_yet() -> None:
    there = seen(*made())
    job = made()[0]["metadata"]["name"]
    deleted = ["delete Service shop", "delete Deployment shop", f"delete Job {job}"]
    assert told(None, observed(seen=there)) == (deleted, "stopping")
    assert told(None, observed(seen=there, held=True)) == ([], "running")
    assert told(None, observed(seen=there, wanted_at="here")) == ([], "starting")
    assert told(None, observed(seen=there, wanted_at="here", serves_at="here")) == (deleted, "stopping")
    assert told(None, observed(left=True)) == (["forget what it was there"], "stopping")
    assert plan(None, observed(), 0.0).settled


def test_a_cluster_that_cannot_be_looked_at_now_is_told_and_loses_nothing() -> None:
    planned = plan(APP, observed(seen=seen(*made()), unseen="it is gone"), 0.0)
    assert (planned.actions, planned.state) == ((), "degraded")
    assert planned.message == "prod cannot be looked at: it is gone"


def test_an_app_that_cannot_run_there_says_which_field_keeps_it_from_that() -> None:
    refused = Rendered(app=APP, revision=REVISION.id, refused="idle_after: a cluster keeps its pods running")
    planned = plan(APP, observed(rendered=refused), 0.0)
    assert (planned.actions, planned.state, planned.message) == ((), "failing", refused.refused)
    assert plan(replace(APP, state="stopped"), observed(rendered=refused), 0.0).first is not None
    # What was applied before serves on; a host that serves meanwhile goes on with that.
    before = seen(*made())
    assert told(APP, observed(rendered=refused, seen=before)) == ([], "degraded")
    assert told(APP, observed(rendered=refused, seen=before, serves_at="here")) == ([], "failing")


def test_an_app_that_moves_serves_at_both_places_for_the_overlap_there_and_back() -> None:
    def planned(asked: Any, now: float, **given: Any) -> tuple[int, str, str, float | None, bool]:
        there = observed(seen=seen(*made()), serves_at="here", overlap_s=60.0, **given)
        found = plan(asked, there, now)
        return len(found.actions), found.state, str(found.reason), found.recheck_at, found.settled

    both = "serving-at-both"
    for asked, given in ((APP, {}), (None, {"wanted_at": "here"})):
        assert planned(asked, 5.0, **given) == (0, "starting", both, 65.0, False)
        assert planned(asked, 60.0, both_since=5.0, **given) == (0, "starting", both, 65.0, False)
    # What serves here ends by what is told then; what is there is deleted.
    assert planned(APP, 65.0, both_since=5.0) == (0, "running", "", None, True)
    actions, state, reason, _, _ = planned(None, 65.0, both_since=5.0, wanted_at="here")
    assert (actions, state, reason) == (len(made()), "stopping", "manifest-removed")
    # Without an overlap, and for an app whose manifest is gone, nothing waits.
    assert plan(APP, observed(seen=seen(*made()), serves_at="here"), 5.0).state == "running"
    assert plan(None, observed(seen=seen(*made()), overlap_s=60.0), 5.0).actions


def test_an_app_that_moves_serves_at_both_places_until_the_proxy_leads_where_it_is_and_a_drain_longer() -> None:
    def planned(asked: Any, now: float, **given: Any) -> tuple[int, str, str, float | None]:
        there = observed(**{"seen": seen(*made()), "serves_at": "here", "drain_s": 5.0, **given})
        found = plan(asked, there, now)
        return len(found.actions), found.state, str(found.reason), found.recheck_at

    changing, gone = "domains-changed", (len(made()), "stopping", "manifest-removed", None)
    for led in ("here", "unknown"):  # the proxy is told a drain after it is all there
        assert planned(APP, 9.0, led=led) == (0, "starting", changing, 14.0)
        assert planned(APP, 13.0, led=led, stands_since=9.0) == (0, "starting", changing, 14.0)
        assert planned(APP, 14.0, led=led, stands_since=9.0) == (0, "starting", changing, None)
    for led in ("there", "unknown"):
        assert planned(None, 9.0, led=led, wanted_at="here") == (0, "starting", changing, None)
    assert planned(APP, 9.0, led="there", led_since=7.0) == (0, "starting", changing, 12.0)
    assert planned(None, 9.0, led="here", led_since=7.0, wanted_at="here") == (0, "starting", changing, 12.0)
    assert planned(APP, 12.0, led="there", led_since=7.0) == (0, "running", "", None)
    assert planned(None, 12.0, led="here", led_since=7.0, wanted_at="here") == gone
    # What the proxy has sent here, and no instance has taken yet, is waited for: not for ever.
    assert planned(APP, 12.0, led="there", led_since=7.0, waited_for=True) == (0, "starting", changing, 12.2)
    assert planned(APP, 72.0, led="there", led_since=7.0, waited_for=True) == (0, "running", "", None)
    # A cluster that cannot be looked at any more is no reason to end what serves here, with an overlap or without.
    assert planned(APP, 9.0, led="here", unseen="it is gone") == (0, "starting", changing, 14.0)
    assert planned(APP, 9.0, overlap_s=60.0, unseen="it is gone") == (0, "starting", "serving-at-both", 69.0)
    # Another cluster is as good as this host, to and from.
    assert planned(APP, 9.0, led="elsewhere", serves_at="staging") == (0, "starting", changing, 14.0)
    assert planned(None, 9.0, led="there", wanted_at="staging", serves_at="") == (0, "starting", "handing-over", None)
    assert planned(None, 9.0, led="here", wanted_at="staging", serves_at="staging") == (0, "starting", changing, None)
    elsewhere = {"led": "elsewhere", "led_since": 7.0, "wanted_at": "staging", "serves_at": "staging"}
    assert planned(None, 9.0, **elsewhere) == (0, "starting", changing, 12.0)
    assert planned(None, 12.0, **elsewhere) == gone
    # Of an app whose manifest is gone there is nothing to lead to.
    assert planned(None, 9.0, led="there", serves_at="") == gone


def test_the_schedules_of_an_app_that_moves_start_nowhere_but_where_it_is_to_be() -> None:
    there = seen(*made(), {"kind": "CronJob", "metadata": {"name": "shop-sweep"}})
    for serves_at in ("", "here"):  # it is there already, or not yet
        given: dict[str, Any] = {"wanted_at": "here", "serves_at": serves_at, "overlap_s": 60.0}
        planned = plan(None, observed(seen=there, **given), 0.0)
        (action,) = planned.actions
        assert isinstance(action, DeleteObject)
        assert (str(action), action.orphans, planned.state) == ("delete CronJob shop-sweep", True, "starting")
    assert not plan(None, observed(seen=there, wanted_at="here", held=True), 0.0).actions
    # What else is there waits, and goes with what the last run has left.
    assert told(None, observed(seen=seen(*made()), wanted_at="here", overlap_s=60.0)) == ([], "starting")
