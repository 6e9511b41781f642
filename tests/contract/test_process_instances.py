"""The instances of a process that is not web: signalled step by step, adopted, and gone with all they started."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.processes.observed import ProcessInstance
from reconciler.planning.processes.stop import StopSequence, StopStep
from reconciler.serving.adoption import is_sound
from reconciler.serving.process_instances import ProcessInstances
from reconciler.serving.programs.program import Program, Role, StaysAlive
from reconciler.state.records import NO_ADDRESS, InstanceRecord
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site, is_gone

STOP = StopSequence((StopStep("TERM", 60.0), StopStep("QUIT", 5.0)))
KEY = "blog/worker"
# Writes down each signal it gets; one of its children leaves its group, and ignores SIGTERM.
WORKER = """
import os, signal, sys, time
def told(number, frame):
    with open(sys.argv[1], "a") as file:
        file.write(signal.Signals(number).name + "\\n")
for number in (signal.SIGTERM, signal.SIGQUIT):
    signal.signal(number, told)
child = os.fork()
if child == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1] + ".pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
while True:
    time.sleep(60)
"""


def program(told: Path) -> Program:
    return Program(
        name="worker.1",
        app="blog",
        revision="0123456789ab",
        build="ba9876543210",
        argv=(sys.executable, "-c", WORKER, str(told)),
        environment=lambda identity: {"PATH": os.defpath},
        readiness=StaysAlive(seconds=0.0),
        directory="0123456789ab",
        start_timeout_s=10,
        stop_timeout_s=60,
        role=Role(process="worker", slot=1, version="aaaaaaaaaaaa", stop=str(STOP)),
    )


def only(processes: ProcessInstances) -> ProcessInstance:
    (instance,) = processes.of(KEY)
    return instance


async def started(machine: Machine, told: Path) -> ProcessInstances:
    processes, places = ProcessInstances(machine.instances), machine.host.paths("blog")
    places.create(machine.sandbox)
    await processes.start(program(told), places, None)
    await soon(lambda: len(pids(told)) == 2)
    return processes


def pids(told: Path) -> list[int]:
    file = told.with_name(f"{told.name}.pids")
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def signals(told: Path) -> list[str]:
    return told.read_text().split() if told.exists() else []


@on_the_loop
async def test_each_step_of_a_stop_is_taken_once_whichever_daemon_takes_it(site: Site, tmp_path: Path) -> None:
    told = tmp_path / "told"
    with a_life(site) as machine:
        processes = await started(machine, told)
        assert machine.seen().instances == ()
        assert machine.instances.apps() == frozenset()
        assert processes.keys() == {KEY}
        assert machine.seen().builds_in_use == {"ba9876543210"}
        processes.mark_ready(KEY, only(processes).id)
        processes.stop(KEY, only(processes).id)
        processes.stop(KEY, only(processes).id)
        await soon(lambda: signals(told) == ["SIGTERM"])
        before = only(processes)
        assert (before.slot, before.version, before.stop, before.steps) == (1, "aaaaaaaaaaaa", STOP, 1)
    with a_life(site) as later:
        processes = ProcessInstances(later.instances)
        assert only(processes) == before
        processes.stop(KEY, before.id)
        processes.signal(KEY, before.id, 1, "QUIT")
        processes.signal(KEY, before.id, 1, "QUIT")
        await soon(lambda: signals(told) == ["SIGTERM", "SIGQUIT"])
        processes.kill(KEY, before.id)
        await soon(lambda: only(processes).end is not None)
        processes.reap(KEY, before.id)
        await soon(lambda: all(map(is_gone, pids(told))))
        assert processes.keys() == frozenset()


@on_the_loop
async def test_an_exit_is_observed_with_how_and_with_its_last_line(site: Site, tmp_path: Path) -> None:
    with a_life(site) as machine:
        processes = await started(machine, tmp_path / "told")
        with site.paths.log("blog", "worker.1").open("a") as log:
            log.write("the queue is gone\n")
        os.kill(only(processes).pid, signal.SIGKILL)
        await soon(lambda: only(processes).end is not None)
        assert (only(processes).end, only(processes).said) == ("was ended by SIGKILL", "the queue is gone")
        assert machine.wakeups.names[-1] == KEY
        processes.reap(KEY, only(processes).id)
        await soon(lambda: all(map(is_gone, pids(tmp_path / "told"))))


SOUND = InstanceRecord(
    id="0" * 12, app="blog", revision="1" * 12, build="2" * 12, address=NO_ADDRESS, boot="b", started_at=1.0,
    stop_timeout_s=30.0, workers=0, process="worker", slot=1, version="a" * 12, stop=str(STOP),
)  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("process", "../x"), ("process", 1), ("version", "x"), ("stop", "KILL 0"), ("stop", "TERM -1"),
        ("stop", "TERM 1e99"), ("slot", -1), ("steps", "1"),
    ],
)  # fmt: skip
def test_a_record_of_a_process_counts_only_if_all_it_says_may_be(field: str, value: object) -> None:
    assert is_sound(SOUND)
    assert not is_sound(replace(SOUND, **{field: value}))  # type: ignore[arg-type]
