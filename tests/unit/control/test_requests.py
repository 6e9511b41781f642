"""The table of requests: when each is offered, and what it comes to."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.control.requests import REQUESTS, Refused
from reconciler.planning.apps.observed import Observed, Override
from tests.world import an_app, serving

APP = an_app()


def offered(**row: Any) -> list[str]:
    return [name for name, kind in REQUESTS.items() if kind.offered({"override": None, **row})]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"state": "running"}, ["restart", "rollback", "stop", "maintenance"]),
        ({"state": "stopped"}, ["restart", "rollback", "start"]),
        ({"state": "failing"}, ["restart", "rollback", "stop", "maintenance", "forget-failure"]),
        ({"state": "maintenance"}, ["restart", "rollback", "stop"]),
        (
            {"state": "maintenance", "override": {"kind": "maintenance", "revision": None}},
            ["restart", "rollback", "stop", "end-maintenance"],
        ),
        (
            {"state": "degraded", "message": "this Session's transaction has been rolled back by hand"},
            ["restart", "rollback", "stop", "maintenance", "forget-failure"],
        ),
        (
            {"state": "running", "override": {"kind": "rolled back", "revision": "1a2b"}},
            ["restart", "rollback", "stop", "maintenance", "start"],
        ),
    ],
)
def test_what_is_offered_depends_on_the_state_and_the_override_and_never_on_a_message(
    row: dict[str, Any], expected: list[str]
) -> None:
    assert offered(**row) == expected


def test_every_request_has_a_label_and_a_sentence() -> None:
    for name, kind in REQUESTS.items():
        assert (kind.name, kind.label[0].isupper()) == (name, True)
        assert kind.question.count("{name}") == 1
        assert kind.question.endswith("?")
        assert kind.effect[0].isupper()
        assert kind.effect.endswith(".")


@pytest.mark.parametrize("name", ["restart", "start", "forget-failure"])
def test_a_request_without_more_to_it_is_granted_by_name(name: str) -> None:
    assert REQUESTS[name].grant(APP, Observed(), None)[1] == name


def test_a_stop_holds_for_the_manifest_as_it_is() -> None:
    _, granted = REQUESTS["stop"].grant(APP, Observed(), None)
    assert granted == Override(kind="stopped", holds_for=APP.fingerprint)


def test_a_maintenance_holds_for_the_manifest_as_it_is_and_ends_only_what_an_operator_requested() -> None:
    maintenance = Override(kind="maintenance", holds_for=APP.fingerprint)
    assert REQUESTS["maintenance"].grant(APP, Observed(), None)[1] == maintenance
    with pytest.raises(Refused, match="its manifest says state: stopped"):
        REQUESTS["maintenance"].grant(replace(APP, state="stopped"), Observed(), None)
    end = REQUESTS["end-maintenance"].grant
    assert end(APP, Observed(override=maintenance), None)[1] == "start"
    with pytest.raises(Refused, match="no operator has put it into maintenance"):
        end(APP, Observed(), None)
    with pytest.raises(Refused, match="'reconciler maintenance blog off' takes that out"):
        end(replace(APP, state="maintenance"), Observed(override=maintenance), None)


def rolled_back(observed: Observed, revision: str | None = None) -> Override:
    _, granted = REQUESTS["rollback"].grant(APP, observed, revision)
    assert isinstance(granted, Override)
    return granted


def test_a_rollback_is_to_the_last_known_good_revision_that_is_still_there() -> None:
    now = APP.revision("c3")
    good = (now, APP.revision("c2"), APP.revision("c1"), APP.revision("c0"))
    builds = tuple(revision.build.id for revision in good if revision is not good[2])
    observed = replace(serving(APP, "c3"), known_good=good, builds=builds)
    assert rolled_back(observed) == Override(kind="rolled back", holds_for=now.id, revision=good[1])
    assert rolled_back(observed, good[3].id[:6]).revision == good[3]
    with pytest.raises(Refused, match=f"cannot roll back to revision 'nope'; choose one of {good[1].id}, {good[3].id}"):
        rolled_back(observed, "nope")


@pytest.mark.parametrize(("request_", "word"), [("restart", "nothing to restart"), ("start", "nothing to resume")])
def test_a_request_without_effect_says_so(request_: str, word: str) -> None:
    text, _ = REQUESTS[request_].grant(APP, Observed(), None)
    assert word in text


def test_a_restart_of_a_running_app_says_that_it_keeps_serving() -> None:
    text, _ = REQUESTS["restart"].grant(APP, serving(APP), None)
    assert text == "restarting; the current instance serves until the new one is ready"


def test_a_rollback_to_nothing_is_refused_and_says_why() -> None:
    with pytest.raises(Refused, match="its source has not been read yet"):
        rolled_back(Observed())
    with pytest.raises(Refused, match="no earlier revision is known good and still on disk"):
        rolled_back(serving(APP))
