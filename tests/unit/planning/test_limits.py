"""Limits of an app that runs: applied in place, a new instance near that of memory, and what was exceeded told."""

from dataclasses import replace

from reconciler.planning.apps.actions import Start, Stop
from reconciler.planning.apps.plan import plan
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.isolation.limits import Limits
from reconciler.planning.reason import Reason
from tests.support.plans import APP, V1, planned
from tests.world import NOW, after, an_instance, serving

M = 1 << 20
LIMITED = replace(APP, limits=Limits(memory=512 * M))
HELD = an_instance(V1, limits=LIMITED.limits)


def test_a_change_of_limits_is_applied_to_what_runs_and_starts_nothing() -> None:
    assert planned(LIMITED, serving(APP)) == "limit instance i1 to memory 512M: its limits changed"
    decided = plan(LIMITED, serving(APP), NOW)
    assert decided.first is not None
    done = plan(LIMITED, after(serving(APP), decided.first, NOW), NOW)
    assert (done.actions, done.state, done.settled) == ((), "running", True)


def test_limits_are_no_part_of_a_revision_and_lifting_them_is_no_deploy_either() -> None:
    assert LIMITED.revision("c1").id == APP.revision("c1").id
    assert planned(APP, serving(APP, instances=(HELD,))) == "limit instance i1 to nothing: its limits changed"


def test_what_an_earlier_daemon_held_it_to_is_not_known_and_applied_again() -> None:
    adopted = serving(LIMITED, instances=(replace(HELD, limits=None),))
    assert planned(LIMITED, adopted) == "limit instance i1 to memory 512M: the daemon started"


def test_near_its_limit_a_new_instance_takes_over_before_the_old_one_is_stopped() -> None:
    near = serving(LIMITED, instances=(replace(HELD, outgrown="it has 470 of 512 MB"),))
    decided = plan(LIMITED, near, NOW)
    assert [type(action) for action in decided.actions] == [Start, Stop]
    start = decided.actions[0]
    assert (start.reason, start.cause) == (
        Reason.LIMIT_NEAR, "the running instance is near its limit: it has 470 of 512 MB",
    )  # fmt: skip
    taken_over = after(near, start, NOW)
    held = replace(taken_over, instances=tuple(replace(i, limits=LIMITED.limits) for i in taken_over.instances))
    assert isinstance(plan(LIMITED, held, NOW).first, Stop)


def test_an_exceeded_limit_is_told_and_the_app_degraded_until_it_is_past() -> None:
    exceeded = serving(LIMITED, instances=(replace(HELD, exceeded="worker 4711 needed more than 512M"),))
    decided = plan(LIMITED, exceeded, NOW)
    assert (decided.state, decided.reason, decided.message, decided.actions) == (
        "degraded", Reason.LIMIT_EXCEEDED, "worker 4711 needed more than 512M", (),
    )  # fmt: skip


def test_what_is_only_watched_is_a_note_on_an_app_that_is_as_desired() -> None:
    watched = serving(LIMITED, instances=(replace(HELD, unenforced="memory is watched, not enforced"),))
    decided = plan(LIMITED, watched, NOW)
    assert (decided.state, decided.reason, decided.settled) == ("running", Reason.LIMITS_WATCHED, True)
    assert decided.message == "memory is watched, not enforced"


def test_a_new_instance_of_another_revision_is_started_for_that_and_not_for_the_limit() -> None:
    near = serving(LIMITED, instances=(replace(HELD, outgrown="it has 470 of 512 MB"),))
    changed = replace(LIMITED, env={"LOG_LEVEL": "debug"})
    assert plan(changed, near, NOW).actions[0].reason is Reason.CONFIGURATION_CHANGED


def test_limits_are_applied_by_an_action_of_its_own() -> None:
    decided = plan(LIMITED, serving(APP), NOW)
    assert decided.first == ApplyLimits(instance="i1", limits=LIMITED.limits, cause="")
