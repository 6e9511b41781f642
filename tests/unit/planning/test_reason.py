"""Reasons: one for each situation that a program may want to tell apart, none that nothing gives."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given

from reconciler.convergence import world
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs, Observed, Override, SleepState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Server
from reconciler.planning.reason import Reason
from tests.support.plans import APP, BOTH, LAZY, TIRED, V1, V2, crashed, deployed
from tests.support.stories import Situation, situations
from tests.world import NOW, a_look, a_trouble, an_instance, serving, sleeping

PACKAGE = Path(world.__file__).parents[1]
STOPPED = Override(kind="stopped", holds_for=APP.fingerprint)
MAINTAINED = Override(kind="maintenance", holds_for=APP.fingerprint)
ROLLED_BACK = Override(kind="rolled back", holds_for=V2.id, revision=V1)
UNBUILT = a_trouble(V2, phase="staging", reason="no such package")
BACK = serving(APP, "c2", builds=BOTH, instances=(an_instance(V1),), known_good=(V1, V2), override=ROLLED_BACK)


@pytest.mark.parametrize(
    ("app", "observed", "reason"),
    [
        (None, serving(APP), Reason.MANIFEST_REMOVED),
        (APP, serving(APP, override=STOPPED), Reason.STOPPED_BY_OPERATOR),
        (APP, serving(APP, override=MAINTAINED), Reason.MAINTENANCE_BY_OPERATOR),
        (replace(APP, state="stopped"), serving(APP), Reason.MANIFEST_STOPS),
        (replace(APP, state="maintenance"), serving(APP), Reason.MAINTENANCE),
        (None, serving(APP, stopping_dependents=("shop",)), Reason.WAITING_FOR_DEPENDENTS),
        (APP, Observed(), Reason.READING_SOURCE),
        (APP, serving(APP), Reason.NONE),
        (APP, BACK, Reason.ROLLED_BACK_BY_OPERATOR),
        (APP, replace(BACK, instances=(an_instance(V2),)), Reason.ROLLED_BACK_BY_OPERATOR),
        (APP, serving(APP, restart_before=NOW), Reason.RESTART_REQUESTED),
        (APP, serving(APP, source=a_look(APP, "c2"), builds=BOTH), Reason.SOURCE_CHANGED),
        (replace(APP, server=Server(threads=2)), serving(APP), Reason.CONFIGURATION_CHANGED),
        (replace(APP, server=Server(workers=2)), serving(APP), Reason.SCALING),
        (APP, serving(APP, instances=()), Reason.NOT_RUNNING),
        (APP, serving(APP, instances=(an_instance(V1), an_instance(V2, "i2"))), Reason.HANDING_OVER),
        (APP, serving(APP, instances=(), failures=(crashed(5),)), Reason.CRASHED),
        (APP, serving(APP, instances=(), known_good=(), failures=(a_trouble(V1, count=5),)), Reason.REVISION_REJECTED),
        (APP, deployed(a_trouble(V2)), Reason.FALLEN_BACK),
        (APP, deployed(a_trouble(V2), instances=()), Reason.FALLEN_BACK),
        (APP, deployed(UNBUILT, builds=(V1.build.id,)), Reason.STAGING_FAILED),
        (APP, deployed(replace(UNBUILT, last_at=NOW - 3600), builds=(V1.build.id,)), Reason.STAGING_FAILED),
        (APP, deployed(UNBUILT, builds=(V1.build.id,), instances=()), Reason.STAGING_FAILED),
        (APP, serving(APP, instances=(an_instance(V1, unhealthy="500"),)), Reason.UNHEALTHY),
        (APP, serving(APP, instances=(an_instance(V1, unhealthy="500"),), failures=(crashed(5),)), Reason.UNHEALTHY),
        (APP, serving(APP, instances=(an_instance(V1, note="1 waits"),)), Reason.WORKER_WAITING),
        (APP, serving(APP, source=a_look(APP, problem="it is gone")), Reason.SOURCE_UNREADABLE),
        (APP, serving(APP, source=replace(a_look(APP), busy="debug.log grows")), Reason.SOURCE_BUSY),
        (APP, serving(APP, inputs=ExternalInputs(stale=("cannot read /x",))), Reason.INPUTS_STALE),
        (APP, serving(APP, inputs=ExternalInputs(missing=("service db",))), Reason.WAITING_FOR_INPUTS),
        (APP, serving(APP, instances=(), unmet_dependencies=("api",)), Reason.WAITING_FOR_APPS),
        (TIRED, sleeping(TIRED), Reason.SLEEPING),
        (TIRED, sleeping(TIRED, sleep_state=SleepState(gate_passed=V1.id, activated_at=NOW)), Reason.WAKING),
        (LAZY, serving(LAZY, instances=()), Reason.SLEEPING),
    ],
    ids=lambda value: value.value if isinstance(value, Reason) else "",
)
def test_each_situation_has_a_reason(app: App | None, observed: Observed, reason: Reason) -> None:
    assert plan(app, observed, NOW).reason == reason


def test_what_a_crash_says_is_never_taken_for_a_rollback() -> None:
    crash = crashed(1, reason="ImportError: cannot import name 'PayrollController': rolled back by an operator")
    decided = plan(APP, serving(APP, instances=(), failures=(crash,)), NOW)
    assert [(a.reason, decided.reason) for a in decided.actions] == [(Reason.CRASHED, Reason.CRASHED)]


@given(situations())
def test_every_action_has_a_reason_and_every_message_too(situation: Situation) -> None:
    decided = plan(*situation, NOW)
    assert all(action.reason for action in (*decided.actions, *decided.immediate))
    assert bool(decided.reason) or not decided.message


def test_a_reason_makes_no_difference_to_what_an_action_is() -> None:
    (start, _) = plan(APP, serving(APP, restart_before=NOW), NOW).actions
    assert replace(start, reason=Reason.CRASHED, cause="") == start


def test_what_convergence_gives_as_a_reason_is_one() -> None:
    for reason in (world.ACTION_FAILED, world.NO_EFFECT, world.INTERNAL_ERROR, world.NO_FILES_LEFT):
        assert Reason(reason) == reason


def test_no_reason_is_dead() -> None:
    source = "".join(file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py"))
    given_by_convergence = {Reason.ACTION_FAILED, Reason.NO_EFFECT, Reason.INTERNAL_ERROR, Reason.NO_FILES_LEFT}
    assert [r.name for r in Reason if f"Reason.{r.name}" not in source and r not in given_by_convergence] == []
