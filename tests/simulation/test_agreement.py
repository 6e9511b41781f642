"""What the operator is told: plan, status and exit code agree with one another and with the truth, whatever happens."""

import asyncio
import os

import pytest

from reconciler.inspection.plans import AppPlan, exit_code, summary
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.plan import plan
from reconciler.planning.states import APP_STATES
from reconciler.planning.subject import Subject
from reconciler.state.records import AppStatus
from tests.simulation.history import History
from tests.simulation.hostile import Forbidden

_EACH = 1_000 if os.environ.get("RECONCILER_TESTS") == "nightly" else 10
_UP, _DOWN = ("running", "degraded"), ("failing", "starting", "staging")
_SEVERITY = {state.name: state.severity for state in APP_STATES}


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
        contradictions = {
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
