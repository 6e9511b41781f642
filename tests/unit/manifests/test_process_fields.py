"""The field `processes` of a manifest: what is read of it, and what is wrong with it, by place."""

import pytest

from reconciler.documents.tree import trees_of
from reconciler.manifests.app_document import HostDefaults
from reconciler.manifests.parse_file import parse
from reconciler.manifests.process_fields import processes_of
from reconciler.planning.command_line import Command, command_of
from reconciler.planning.processes.process import After, Alive, Answers, Notifies, Process
from reconciler.planning.processes.stop import StopSequence, StopStep


def read(text: str) -> tuple[Process, ...]:
    (tree,), problems = trees_of("/m/shop.yaml", text)
    assert problems == []
    return processes_of(tree)


def refused(processes: str) -> list[str]:
    entry = parse("/m/shop.yaml", f"path: x\nprocesses: {processes}\n".encode(), HostDefaults())
    return [f"{problem.path}: {problem.message}" for problem in entry.problems]


def test_a_number_a_line_and_an_object_are_read() -> None:
    assert read("processes: {worker: 2, beat: celery -A shop beat}") == (
        Process(name="beat", command=command_of("celery -A shop beat")),
        Process(name="worker", count=2),
    )
    (process,) = read("""
processes:
  worker:
    command: [python, worker.py, $HOME]
    count: 3
    single: false
    stop: [SIGTERM, 15m, QUIT, 30]
    ready: notify
    start_timeout: 2m
    watchdog: 30s
    alive: {command: python check.py, interval: 5s, failures: 2}
    env: {QUEUE: yes, PORT: 3.10}
    required: false
""")
    assert process == Process(
        name="worker",
        command=Command(words=("python", "worker.py", "$HOME")),
        count=3,
        single=False,
        stop=StopSequence((StopStep("TERM", 900.0), StopStep("QUIT", 30.0))),
        ready=Notifies(),
        start_timeout_s=120.0,
        watchdog_s=30.0,
        alive=Alive(command=command_of("python check.py"), interval_s=5.0, failures=2),
        env={"QUEUE": "yes", "PORT": "3.10"},
        required=False,
    )
    (secret,) = read("processes: {worker: {command: w, env: {A: b, PASSWORD: {file: secrets/queue}}}}")
    assert (secret.env, secret.env_files) == ({"A": "b"}, {"PASSWORD": "secrets/queue"})
    (ready,) = read("processes: {worker: {command: w, ready: {command: test -e up}}}")
    assert ready.ready == Answers(command=command_of("test -e up"))
    (after,) = read("processes: {worker: {command: w, ready: {after: 1m}}}")
    assert after.ready == After(seconds=60.0)


@pytest.mark.parametrize(
    ("processes", "why"),
    [
        (
            "{beat: {command: celery -A s beat, count: 2}}",
            "processes.beat.count: expected 1, not 2: there must never be",
        ),
        ("{a: {single: true, count: 3}}", "processes.a.count: expected 1, not 3: there must never be two"),
        (
            "{a: {stop: [KILL, 3s]}}",
            "processes.a.stop[0]: expected a signal (TERM, INT, QUIT, HUP, USR1, USR2), not 'KILL'",
        ),
        ("{a: {stop: [TERM, 3s, INT]}}", "processes.a.stop: expected a length of time after each signal"),
        ("{a: {stop: [TERM, soon]}}", "processes.a.stop[1]: "),
        ("{a: {stop: [TERM, 8d]}}", "processes.a.stop[1]: must be at most 7d"),
        ("{a: {stop: [TERM, 1s], stop_timeout: 3s}}", "processes.a.stop_timeout: stands beside 'stop'"),
        ("{web: 1}", "processes.web: expected the name of a process"),
        ("{../a: 1}", "processes.../a: expected the name of a process"),
        ("{a: x && y}", "processes.a: needs a shell, for '&&'"),
        ("{a: {command: 'x > y'}}", "processes.a.command: needs a shell, for '>'"),
        ("{a: {command: ['']}}", "processes.a.command: names no program"),
        ("{a: {watchdog: 10ms}}", "processes.a.watchdog: must be at least 1s"),
        ("{a: {ready: soon}}", "processes.a.ready: expected {after: 5s}, notify, or {command: …}, not 'soon'"),
        ("{a: {alive: {interval: 5s}}}", "processes.a.alive.command: is required"),
        ("{a: {env: {VCAP_SERVICES: x}}}", "processes.a.env.VCAP_SERVICES: names that start with VCAP_ are set by the"),
        ("{a: {env: {A: {file: 3}}}}", "processes.a.env.A.file: expected a path, relative to this file or absolute"),
        ("{a: {env: {A: {}}}}", "processes.a.env.A"),
        ("{a: -1}", "processes.a: expected a number of processes, a command, or fields"),
        ("{a: true}", "processes.a: expected a number of processes, a command, or fields"),
    ],
)
def test_what_is_wrong_is_said_at_its_place(processes: str, why: str) -> None:
    (problem,) = refused(processes)
    assert problem.startswith(why), problem


def test_the_files_of_its_variables_are_relative_to_the_manifest() -> None:
    entry = parse("/m/shop.yaml", b"path: x\nprocesses: {a: {command: w, env: {K: {file: ../s/k}}}}\n", HostDefaults())
    (document,) = entry.apps
    assert document.unleased.processes[0].env_files == {"K": "/m/../s/k"}
