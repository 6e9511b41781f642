"""Limits of a process that is not web: applied to what runs, and another one in its place near that of memory."""

from dataclasses import replace

from reconciler.planning.command_line import command_of
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.isolation.limits import Limits
from reconciler.planning.processes.actions import StartProcess, StopProcess
from reconciler.planning.processes.observed import ObservedProcess, ProcessInstance
from reconciler.planning.processes.plan import plan
from reconciler.planning.processes.process import AppProcess, Process, Target
from reconciler.planning.processes.stop import one_signal
from reconciler.planning.reason import Reason

NOW = 1000.0
LIMITS = Limits(memory=512 << 20)
TARGET = Target(revision="r1", build="b1", inputs="i", command=command_of("python worker.py"))


def asked(**fields: object) -> AppProcess:
    return AppProcess(app="shop", process=Process(name="worker", limits=LIMITS, **fields))  # type: ignore[arg-type]


def running(**fields: object) -> ProcessInstance:
    found = ProcessInstance(
        id="i1", slot=1, version=TARGET.version(asked().process), revision="r1", build="b1", pid=7, started_at=1.0,
        stop=one_signal(30.0), ready_at=2.0, limits=LIMITS,
    )  # fmt: skip
    return replace(found, **fields)  # type: ignore[arg-type]


def observed(*instances: ProcessInstance) -> ObservedProcess:
    return ObservedProcess(target=TARGET, instances=instances)


def test_a_change_is_applied_to_what_runs_and_to_what_finishes() -> None:
    planned = plan(asked(), observed(running(limits=Limits())), NOW)
    assert [action for action in planned.actions if isinstance(action, ApplyLimits)] == [
        ApplyLimits(instance="i1", limits=LIMITS, cause="")
    ]
    assert not any(isinstance(action, StartProcess | StopProcess) for action in planned.actions)
    assert not plan(asked(), observed(running()), NOW).actions


def test_near_its_limit_another_one_starts_and_then_the_old_one_is_told_to_finish() -> None:
    near = running(outgrown="it has 470 of 512 MB")
    (start,) = plan(asked(), observed(near), NOW).actions
    assert isinstance(start, StartProcess)
    assert (start.reason, start.cause) == (Reason.LIMIT_NEAR, "it has 470 of 512 MB")
    (stop,) = plan(asked(), observed(near, running(id="i2", started_at=900.0, ready_at=901.0)), NOW).actions
    assert (type(stop), stop.reason) == (StopProcess, Reason.LIMIT_NEAR)


def test_of_a_single_one_the_old_is_gone_before_the_new_one_starts() -> None:
    (stop,) = plan(asked(single=True), observed(running(
        outgrown="it has 470 of 512 MB", version=TARGET.version(asked(single=True).process)
    )), NOW).actions  # fmt: skip
    assert isinstance(stop, StopProcess)


def test_what_was_exceeded_is_told_and_what_is_only_watched_is_a_note() -> None:
    planned = plan(asked(), observed(running(exceeded="a process of it needed more than 512M")), NOW)
    assert (planned.state, planned.reason) == ("degraded", Reason.LIMIT_EXCEEDED)
    planned = plan(asked(), observed(running(unenforced="cpu is watched, not enforced")), NOW)
    assert (planned.state, planned.reason) == ("running", Reason.LIMITS_WATCHED)
