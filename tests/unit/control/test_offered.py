"""The requests that the page offers, by the facts of an app's row and never by what its message says."""

from typing import Any

import pytest

from reconciler.control.requests import REQUESTS, offered_for


def _app(state: str, message: str = "", override: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"name": "shop", "state": state, "message": message, "override": override}


def test_an_app_that_reports_a_transaction_rolled_back_by_hand_gets_no_start_button() -> None:
    message = "this Session's transaction has been rolled back by hand due to a previous exception during flush"
    assert offered_for(_app("degraded", message)) == ("restart", "rollback", "stop", "maintenance", "forget-failure")


@pytest.mark.parametrize("kind", ["stopped", "rolled back"])
def test_what_an_operator_requested_can_be_taken_back(kind: str) -> None:
    assert "start" in offered_for(_app("running", override={"kind": kind, "revision": None}))


def test_a_maintenance_has_a_button_that_ends_it_where_an_operator_began_it() -> None:
    assert offered_for(_app("maintenance")) == ("restart", "rollback", "stop")
    offered = offered_for(_app("maintenance", override={"kind": "maintenance", "revision": None}))
    assert offered == ("restart", "rollback", "stop", "end-maintenance")


def test_a_stopped_app_can_be_started_and_not_stopped_again() -> None:
    assert offered_for(_app("stopped")) == ("restart", "rollback", "start")


def test_nothing_is_offered_for_a_manifest_that_is_refused() -> None:
    assert offered_for(_app("invalid")) == ()


def test_every_button_says_what_it_does_before_it_does_it() -> None:
    assert all(kind.label and kind.effect.endswith(".") for kind in REQUESTS.values())
