"""What the operator is told: plan, status, page, API and exit code agree with one another and with the truth."""

import asyncio
import json
import os
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from reconciler.convergence.world import Report
from reconciler.inspection.plans import AppPlan, exit_code, facts, summary
from reconciler.inspection.status import AppRow
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.plan import plan
from reconciler.planning.states import APP_STATES
from reconciler.planning.subject import Subject
from reconciler.state.records import AppStatus
from reconciler.web.app_links import Viewer
from reconciler.web.formatting import line
from reconciler.web.openapi import document
from reconciler.web.rows import counts
from reconciler.web.rows import row as page_row
from reconciler.web.status_cache import Status
from tests.simulation.history import History
from tests.simulation.hostile import Forbidden

_EACH = 1_000 if os.environ.get("RECONCILER_TESTS") == "nightly" else 10
_UP, _DOWN = ("running", "degraded"), ("failing", "starting", "staging")
_SEVERITY = {state.name: state.severity for state in APP_STATES}
_WELL = AppRow(name="well", state="running").facts()
_NOTHING = Status(facts={"apps": [_WELL]}, loads={}, up_s=1.0, last_event=0)
# What the API adds to the rows of `status --json`.
_MEASURED = dict.fromkeys(("memory_bytes", "cpu", "requests_per_second", "queue", "queue_wait_seconds"))


def _described(name: str) -> Draft202012Validator:
    return Draft202012Validator({**document()["components"]["schemas"][name]})


_APP, _PLAN = _described("App"), _described("Plan")


def _of_the_api(name: str, report: Report, known: AppPlan) -> tuple[dict[str, Any], dict[str, Any]]:
    """The app and its plan as the API sends them."""
    told = AppRow(
        name=name,
        state=report.state,
        reason=report.reason,
        message=report.message,
        wanted_revision=report.wanted,
        next_try_at=report.next_try_at,
    )
    sent = json.loads(json.dumps({**told.facts(), **_MEASURED}))
    (plan_sent,) = json.loads(json.dumps(facts([known], Catalog())))["apps"]
    return sent, plan_sent


def _compare(history: History) -> None:
    """Compare, for each app, the plan as of now, what the daemon reported last, and what is true."""
    era = history.era
    if era is None or era.daemon.dead:
        return
    now = asyncio.get_running_loop().time()
    for name, app in history.machine.asked.items():
        report, seen = era.daemon.reports.get(name), era.daemon.seen(name)
        if report is None:
            continue
        planned = plan(app, seen, now)
        told = AppStatus(
            state=report.state, message=report.message, wanted=report.wanted, since=0, next_try_at=report.next_try_at
        )
        known = AppPlan(subject=Subject("app", name), plan=planned, wait_s=planned.retry_at, told=told)
        code, text = exit_code([known], Catalog()), summary([known], Catalog())
        is_failing = _SEVERITY[report.state] in ("failing", "degraded")
        waking = seen.sleep_state.activated_at is not None
        shown, planned_fact = _of_the_api(name, report, known)
        row = page_row(shown, Status(facts={"apps": [shown]}, loads={}, up_s=1.0, last_event=0), Viewer(None))
        contradictions = {
            "the API describes no such app": not _APP.is_valid(shown),
            "the API describes no such plan": not _PLAN.is_valid(planned_fact),
            "the API's plan contradicts the exit code": planned_fact["done"] != (code == 0),
            "the API's plan says something else": is_failing and planned_fact["message"] != report.message,
            "the API's plan is in another state": is_failing and planned_fact["state"] != report.state,
            "the page shows another state": row.state != report.state or counts([shown]) != {report.state: 1},
            "the page says something else": row.cells["message"] != line(report.message),
            "the page does not put trouble first": (row.rank < page_row(_WELL, _NOTHING, Viewer(None)).rank)
            != is_failing,
            "the page offers no retry": is_failing and "forget-failure" not in row.offered,
            "the page waits for another retry": row.next_try_at != report.next_try_at,
            "the exit code contradicts the summary": (code == 0) != text.startswith("nothing to do"),
            "all is said to be well": code == 0 and (not planned.settled or is_failing),
            "something is said to be wrong": code != 0 and planned.settled and report.settled,
            "status says what plan does not": is_failing and known.message != report.message,
            "nothing is said": code != 0 and not (known.actions or known.message or known.wait_s),
            "an app that serves nothing is said to be up": planned.state in _UP and not (seen.serves or waking),
            "an app that serves is said to be down": planned.state in _DOWN and seen.serves,
        }
        for contradiction, is_met in contradictions.items():
            if is_met:
                raise Forbidden(f"{contradiction}: {name}: {code}, {text!r}; {report}; {planned}; {seen}")


@pytest.mark.parametrize("chapter", range(5))
def test_plan_status_and_exit_code_agree_in_every_state_of_every_history(chapter: int) -> None:
    for seed in range(chapter * _EACH, (chapter + 1) * _EACH):
        assert History(seed, witness=_compare).check(25) > 0
