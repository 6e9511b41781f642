"""Plans of processes: by what is desired, what runs, what crashed and what time it is."""

from dataclasses import replace
from typing import Any

import pytest

from reconciler.planning.command_line import command_of
from reconciler.planning.processes.actions import ChangeStop, ReapProcess, StartProcess, StopProcess
from reconciler.planning.processes.observed import Crash, ObservedProcess, ProcessInstance, ScaleState
from reconciler.planning.processes.plan import plan
from reconciler.planning.processes.process import AppProcess, Notifies, Process, Target
from reconciler.planning.processes.stop import StopSequence, StopStep, one_signal
from reconciler.planning.reason import Cause, Reason
from reconciler.planning.scaling.backlog import ByBacklog

NOW = 1000.0
COMMAND = command_of("python worker.py")
TARGET = Target(revision="r2", build="b2", inputs="new", command=COMMAND)
BEFORE = Target(revision="r1", build="b1", inputs="old", command=COMMAND)
STOP = StopSequence((StopStep("TERM", 900.0), StopStep("QUIT", 10.0)))


def asked(**different: Any) -> AppProcess:
    return AppProcess(app="shop", process=Process(**{"name": "worker", "stop": STOP, **different}))


def running(name: str, target: Target = TARGET, slot: int = 1, **different: Any) -> ProcessInstance:
    process = Process(name="worker", stop=STOP, **{k: different.pop(k) for k in ("single",) if k in different})
    instance = ProcessInstance(
        id=name, slot=slot, version=target.version(process), revision=target.revision, build=target.build, pid=7,
        started_at=NOW - 100, ready_at=NOW - 90, stop=STOP,
    )  # fmt: skip
    return replace(instance, **different)


def seen(*instances: ProcessInstance, **different: Any) -> ObservedProcess:
    return ObservedProcess(**{"target": TARGET, "instances": instances, **different})


def told(process: AppProcess | None, observed: ObservedProcess, now: float = NOW) -> list[str]:
    return [str(action) for action in plan(process, observed, now).actions]


def crash_of(ended: ProcessInstance) -> Crash:
    reap = plan(asked(), seen(ended), NOW).first
    assert isinstance(reap, ReapProcess)
    assert reap.crash is not None
    return reap.crash


def test_as_many_as_desired_are_started_and_the_rest_is_stopped() -> None:
    assert told(asked(count=2), seen()) == ["start number 1", "start number 2"]
    assert told(asked(count=2), seen(running("a"))) == ["start number 2"]
    assert told(asked(), seen(running("a"), running("b", slot=2))) == ["stop instance b"]
    assert told(asked(count=0), seen(running("a"))) == ["stop instance a"]
    assert plan(asked(), seen(running("a")), NOW).settled


def test_deploys_that_are_quicker_than_a_start_leave_the_one_that_was_ready_and_the_newest() -> None:
    between = [
        running(f"b{number}", replace(BEFORE, inputs=f"between {number}"), started_at=NOW - 1, ready_at=None)
        for number in range(4)
    ]
    stops = [f"stop instance b{number}" for number in range(4)]
    assert told(asked(), seen(running("a", BEFORE), *between))[:4] == stops
    drained = [replace(each, stopping_since=NOW) for each in between]
    assert "waiting for the oldest of 3 sets" in plan(asked(), seen(running("a", BEFORE), *drained), NOW).message


def test_the_old_ones_are_stopped_once_every_new_one_is_ready() -> None:
    old = running("a", BEFORE), running("b", BEFORE, slot=2)
    one = running("c", started_at=NOW - 3, ready_at=None)
    assert told(asked(count=2), seen(*old)) == ["start number 1", "start number 2"]
    assert told(asked(count=2), seen(*old, one, running("d", slot=2))) == []
    assert told(asked(count=2), seen(*old, replace(one, started_at=NOW - 5), running("d", slot=2))) == [
        "mark instance c as ready"
    ]
    whole = seen(*old, replace(one, ready_at=NOW), running("d", slot=2))
    assert told(asked(count=2), whole) == ["stop instance a", "stop instance b"]


def test_of_a_single_process_the_old_one_is_gone_and_its_lock_free_before_the_new_one_starts() -> None:
    single = asked(single=True)
    old = running("a", BEFORE, single=True)
    assert told(single, seen(old)) == ["stop instance a"]
    draining = replace(old, stopping_since=NOW - 1, steps=1)
    waiting = plan(single, seen(draining), NOW)
    assert (waiting.actions, waiting.message) == ((), "waiting for the one before it to end (pid 7)")
    assert told(single, seen(is_locked=True, outlived=True)) == ["kill what holds its lock"]
    locked = plan(single, seen(is_locked=True), NOW)
    assert (locked.actions, locked.state) == ((), "starting")
    assert locked.recheck_at is not None
    assert told(single, seen()) == ["start number 1"]


def test_each_step_of_a_stop_comes_at_its_time_and_the_kill_last() -> None:
    stopping = running("a", BEFORE, stopping_since=NOW, steps=1)
    for process in (asked(count=0), None, replace(asked(), stops=True)):
        assert told(process, seen(stopping)) == []
        assert plan(process, seen(stopping), NOW).recheck_at == NOW + 900
        assert told(process, seen(stopping), NOW + 900) == ["send SIGQUIT to instance a"]
        again = seen(replace(stopping, steps=2))
        assert told(process, again, NOW + 900) == []
        assert told(process, again, NOW + 910) == ["kill instance a"]
        assert told(process, seen(replace(stopping, steps=3)), NOW + 2000) == []


def test_another_stop_timeout_holds_for_what_runs_and_what_finishes_already() -> None:
    sooner = asked(stop=StopSequence((StopStep("TERM", 1.0), StopStep("QUIT", 10.0))))
    stopping = running("a", BEFORE, stopping_since=NOW, steps=1)
    assert told(sooner, seen(stopping, running("b"))) == [
        "have instance a stopped by TERM 1 QUIT 10",
        "have instance b stopped by TERM 1 QUIT 10",
    ]
    other = asked(stop=one_signal(5.0, "INT"))
    assert told(other, seen(stopping, running("b"))) == ["have instance b stopped by INT 5"]


def test_a_fourth_set_waits_for_the_oldest_of_those_that_finish() -> None:
    sets = [running(f"d{n}", BEFORE, pid=n, stopping_since=NOW - n, steps=1) for n in (1, 2, 3)]
    assert told(asked(), seen(*sets)) == ["start number 1"]
    crowded = plan(asked(), seen(*sets, running("a", BEFORE)), NOW)
    assert (crowded.actions, crowded.message) == (
        (),
        "waiting for the oldest of 3 sets that finish their work (pid 3)",
    )


@pytest.mark.parametrize("end", ["exited with 0", "exited with 1", "was ended by SIGKILL"])
def test_whatever_ends_by_itself_has_crashed_and_is_started_at_once_then_with_growing_delays(end: str) -> None:
    crash = crash_of(running("a", end=end, said="no queue"))
    assert (crash.count, crash.reason, crash.blames) == (1, f"{end}; it said: no queue", False)
    assert told(asked(), seen(crashes={1: crash})) == ["start number 1"]
    third = replace(crash, count=3)
    waiting = plan(asked(), seen(crashes={1: third}), NOW)
    assert (waiting.actions, waiting.state, waiting.failures) == ((), "failing", 3)
    assert waiting.message == f"crashed 3 times in a row, most recently: {end}; it said: no queue"
    assert waiting.retry_at is not None
    assert told(asked(), seen(crashes={1: third}), waiting.retry_at) == ["start number 1"]
    assert told(asked(env={"FIXED": "1"}), seen(crashes={1: third})) == ["start number 1"]
    assert told(asked(), seen(crashes={1: third}, restart_before=NOW + 1)) == ["start number 1"]


def test_a_crash_in_probation_blames_the_revision() -> None:
    assert crash_of(running("a", end="exited with 1", ready_at=NOW - 9)).blames
    assert crash_of(running("a", end="exited with 1", ready_at=None)).blames


def test_one_that_is_hung_or_never_ready_is_replaced_and_has_crashed() -> None:
    first, second = plan(asked(), seen(running("a", hung="no WATCHDOG=1")), NOW).actions
    assert isinstance(first, StopProcess)
    assert first.crash is not None
    assert isinstance(second, StartProcess)
    silent = running("a", started_at=NOW - 60, ready_at=None)
    process = asked(ready=Notifies())
    version = TARGET.version(process.process)
    (late,) = plan(process, seen(replace(silent, version=version)), NOW).actions
    assert isinstance(late, StopProcess)
    assert late.cause == "it was not ready within 60 s"
    ready = replace(silent, version=version, says_ready=True)
    assert told(process, seen(ready)) == ["mark instance a as ready"]


def test_one_that_says_nothing_any_more_is_asked_once_and_killed_soon_and_no_edit_gives_it_longer() -> None:
    silent = running("a", hung="it did not say WATCHDOG=1 for 30 s", silent=True)
    first = plan(asked(), seen(silent), NOW).first
    assert isinstance(first, ChangeStop)
    assert str(first.stop) == "TERM 9"
    short = replace(silent, stop=first.stop)
    assert told(asked(), seen(short)) == ["stop instance a", "start number 1"]
    stopped = replace(short, stopping_since=NOW, steps=1)
    later = replace(stopped, hung=None, silent=False)  # as the next daemon finds it
    for left in (stopped, later):
        assert told(asked(), seen(left, running("b")), NOW + 8) == []
        assert told(asked(), seen(left, running("b")), NOW + 9) == ["kill instance a"]
    working = running("a", hung="its 'alive' command failed 3 times in a row")
    assert told(asked(), seen(working)) == ["stop instance a", "start number 1"]


def test_what_runs_stays_until_it_is_known_what_should_run() -> None:
    waiting = plan(asked(), seen(running("a", BEFORE), target=None), NOW)
    assert (waiting.actions, waiting.state) == ((), "pending")
    broken = plan(asked(), seen(target=None, trouble='the Procfile has no line "worker"'), NOW)
    assert (broken.state, broken.message) == ("failing", 'the Procfile has no line "worker"')


def test_a_variable_from_a_file_of_its_own_is_part_of_what_an_instance_runs() -> None:
    before, now = replace(TARGET, secrets={"PASSWORD": "id-1"}), replace(TARGET, secrets={"PASSWORD": "id-2"})
    old = running("a", before)
    assert told(asked(), seen(old, target=before)) == []
    assert told(asked(), seen(old, target=now)) == ["start number 1"]
    assert TARGET.version(asked().process) == "303f4c942be0"  # as the commit before it could be from a file computed it


def test_what_runs_stays_while_a_variable_from_a_file_is_missing_and_one_that_is_out_of_date_is_told() -> None:
    why = "waiting: /s/queue: there is no such file"
    first = plan(asked(), seen(target=None, lacking=("/s/queue: there is no such file",)), NOW)
    assert (first.actions, first.state, first.reason, first.message) == ((), "failing", Reason.WAITING_FOR_INPUTS, why)
    runs = plan(asked(), seen(running("a"), target=None, lacking=("/s/queue: there is no such file",)), NOW)
    assert (runs.actions, runs.state) == ((), "degraded")
    stale = plan(asked(), seen(running("a"), stale=("/s/queue: there is no such file",)), NOW)
    assert (stale.actions, stale.state, stale.reason) == ((), "degraded", Reason.INPUTS_STALE)


def test_a_stop_by_an_operator_and_a_removed_process_end_what_runs_each_in_its_own_way() -> None:
    held = Cause(Reason.STOPPED_BY_OPERATOR, "stopped by an operator")
    assert told(asked(), seen(running("a"), held=held)) == ["stop instance a"]
    assert plan(asked(), seen(held=held), NOW).state == "stopped"
    assert told(None, seen(running("a"))) == ["stop instance a"]
    assert told(None, seen(has_residue=True)) == ["forget the process"]
    assert told(None, seen()) == []


def test_a_restart_starts_the_new_one_first() -> None:
    old = running("a")
    assert told(asked(), seen(old, restart_before=NOW)) == ["start number 1"]
    new = running("b", started_at=NOW, ready_at=NOW + 5)
    assert told(asked(), seen(old, new, restart_before=NOW), NOW + 5) == ["stop instance a"]


def test_after_crashes_it_is_well_again_after_a_good_run() -> None:
    crash = Crash(count=4, last_at=NOW - 20, reason="exited with 1", version=running("a").version)
    again = plan(asked(), seen(running("a", ready_at=NOW - 10), crashes={1: crash}), NOW)
    assert (again.state, again.recheck_at) == ("degraded", NOW + 50)
    assert plan(asked(), seen(running("a", ready_at=NOW - 60), crashes={1: crash}), NOW).state == "running"


SCALED = ByBacklog(command=COMMAND, per=100.0, least=1, most=4)


def test_as_many_run_as_what_waits_needs_and_as_ran_before_while_that_is_unknown() -> None:
    scaled = asked(scale=SCALED)
    three = ScaleState(count=3, cause="250 waiting, 100 for each")
    grown = plan(scaled, seen(running("a"), scaling=three), NOW).actions
    assert [str(each) for each in grown] == ["start number 2", "start number 3"]
    assert {each.cause for each in grown} == {"250 waiting, 100 for each"}
    both = [running("a"), running("b", slot=2)]
    assert plan(scaled, seen(*both), NOW).settled
    shrunk = plan(scaled, seen(*both, scaling=ScaleState(count=1, cause="1 was enough for 5m (0 waiting)")), NOW)
    assert [(str(each), each.cause) for each in shrunk.actions] == [
        ("stop instance b", "1 was enough for 5m (0 waiting)")
    ]
    assert told(scaled, seen()) == ["start number 1"]


def test_a_deploy_begins_with_the_present_number() -> None:
    before = [running(name, BEFORE, slot) for slot, name in enumerate("abc", 1)]
    starts = [str(each) for each in plan(asked(scale=SCALED), seen(*before), NOW).actions]
    assert starts == ["start number 1", "start number 2", "start number 3"]


def test_a_command_that_fails_leaves_the_number_and_is_told() -> None:
    state = ScaleState(count=2, trouble="its 'scale' command failed: exit code 1, no queue")
    decided = plan(asked(scale=SCALED), seen(running("a"), running("b", slot=2), scaling=state), NOW)
    assert (decided.actions, decided.state, decided.reason) == ((), "running", Reason.SCALE_UNKNOWN)
    assert decided.message == "the number stays at 2: its 'scale' command failed: exit code 1, no queue"
