"""Queue libraries are recognised by their commands, and each is stopped in its own way."""

import pytest

from reconciler.planning.command_line import NoCommand, command_of
from reconciler.planning.processes.kinds import kind_of
from reconciler.planning.processes.process import Process, Target
from reconciler.planning.processes.stop import StopSequence, StopStep, one_signal, parsed


@pytest.mark.parametrize(
    ("command", "kind", "stop"),
    [
        ("celery -A shop worker -c 2", "celery worker", "TERM 900 QUIT 10"),
        ("celery --app=shop worker", "celery worker", "TERM 900 QUIT 10"),
        ("python -m celery -A worker.app beat", "celery beat", "TERM 10"),
        ("celery -A worker flower --port=5555", "celery flower", "TERM 10"),
        ("celery -A shop inspect ping", "other", "TERM 900"),
        ("C_FORCE_ROOT=1 exec celery worker", "celery worker", "TERM 900 QUIT 10"),
        ("env C_FORCE_ROOT=1 /srv/venv/bin/celery -A shop worker", "celery worker", "TERM 900 QUIT 10"),
        ("rq worker high low", "rq", "TERM 900"),
        ("python manage.py rqworker default", "rq", "TERM 900"),
        ("dramatiq shop.tasks -p 2", "dramatiq", "TERM 900"),
        ("python manage.py rundramatiq", "dramatiq", "TERM 900"),
        ("celery -A shop worker --beat", "celery worker with beat", "TERM 900 QUIT 10"),
        ("celery worker -B --app=shop", "celery worker with beat", "TERM 900 QUIT 10"),
        ("python manage.py celery worker -l info", "celery worker", "TERM 900 QUIT 10"),
        ("REMAP_SIGTERM=SIGQUIT celery -A shop worker", "celery worker", "INT 900 QUIT 10"),
        ("nice -n 5 newrelic-admin run-program celery -A shop worker", "celery worker", "TERM 900 QUIT 10"),
        ("poetry run celery -A shop worker", "celery worker", "TERM 900 QUIT 10"),
        ("pipenv run rq worker", "rq", "TERM 900"),
        ("uv run huey_consumer shop.huey", "huey", "INT 900"),
        ("uv run --project site -- celery -A shop worker", "celery worker", "TERM 900 QUIT 10"),
        ("sh -c 'cd src && exec celery -A shop worker -l info'", "celery worker", "TERM 900 QUIT 10"),
        ("sh -c 'cd src && celery -A shop worker'", "other", "TERM 900"),
        ("sh -c 'exec celery -A shop worker; echo'", "other", "TERM 900"),
        ("sh -c", "other", "TERM 900"),
        ("flower --broker=redis://", "celery flower", "TERM 10"),
        ("rq worker-pool -n 4", "rq", "TERM 900"),
        ("python -m rq.cli worker", "rq", "TERM 900"),
        ("rqworker default", "rq", "TERM 900"),
        ("flask --app shop rq worker", "rq", "TERM 900"),
        ("flask --app shop rq scheduler", "other", "TERM 900"),
        ("huey_consumer.py shop.huey", "huey", "INT 900"),
        ("python -u manage.py run_huey", "huey", "INT 900"),
        ("huey_consumer shop.huey -g TERM -w 4", "huey", "TERM 900"),
        ("django-admin run_huey --graceful-signal=TERM", "huey", "TERM 900"),
        ("python3 manage.py db_worker", "django-tasks", "TERM 900"),
        ("python worker.py", "other", "TERM 900"),
        ("env", "other", "TERM 900"),
        ("python", "other", "TERM 900"),
        ("python -m", "other", "TERM 900"),
    ],
)
def test_a_command_tells_its_kind_and_how_it_is_stopped(command: str, kind: str, stop: str) -> None:
    words = command_of(command)
    process = Process(name="worker", stop_timeout_s=900.0)
    assert (kind_of(words.words).name, str(process.stop_of(words))) == (kind, stop)
    assert process.is_single(words) == kind.endswith("beat")


def test_a_manifest_overrides_what_was_recognised() -> None:
    words, stop = command_of("celery beat"), one_signal(3.0, "INT")
    process = Process(name="beat", single=False, stop=stop)
    assert not process.is_single(words)
    assert process.stop_of(words) == stop


def test_a_sequence_says_when_each_of_its_steps_is_due() -> None:
    stop = StopSequence((StopStep("TERM", 900.0), StopStep("QUIT", 10.0)))
    assert parsed(str(stop)) == stop
    assert [stop.due_after_s(taken) for taken in range(4)] == [0.0, 900.0, 910.0, 910.0]
    assert [stop.next_signal(taken) for taken in range(3)] == ["TERM", "QUIT", None]
    assert stop.kill_after_s == 910.0


@pytest.mark.parametrize("text", ["", "TERM", "KILL 1", "TERM x", "TERM -1", "TERM nan", "TERM 1 QUIT", "TERM 1 " * 9])
def test_what_is_no_sequence_is_none(text: str) -> None:
    assert parsed(text.strip()) is None


def test_only_what_runs_makes_another_version() -> None:
    target = Target(revision="r", build="b", inputs="i", command=command_of("python worker.py"))
    process = Process(name="worker")
    version = target.version(process)
    assert target.version(Process(name="worker", count=3, stop_timeout_s=1.0, required=False)) == version
    assert target.version(Process(name="worker", env={"A": "1"})) != version
    assert target.version(Process(name="worker", single=True)) != version
    assert target.version(Process(name="worker", watchdog_s=1.0)) != version


def test_a_line_is_split_as_a_shell_would_and_its_variables_are_those_of_the_process() -> None:
    command = command_of("QUEUE=${Q:-low} celery -A $APP worker -Q \"$QUEUE mails\" -c ${WORKERS:-2} '#1'")
    assert command.variables({"APP": "shop"}) == {"QUEUE": "low"}
    words = ("celery", "-A", "shop", "worker", "-Q", "low mails", "-c", "4", "#1")
    assert command.arguments({"APP": "shop", "WORKERS": "4", "QUEUE": "low"}) == words


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("python a.py && python b.py", "needs a shell, for '&&'"),
        ("python a.py > out.log", "needs a shell, for '>'"),
        ("python a.py $(nproc)", "needs a shell"),
        ("python a.py `nproc`", "needs a shell"),
        ("python 'a.py", "a quotation has no end"),
        ("A=1", "names no program"),
        ("", "names no program"),
        ("x " * 5000, "is longer than"),
    ],
)
def test_a_line_that_only_a_shell_can_run_is_refused_with_the_way_to_write_it(line: str, why: str) -> None:
    with pytest.raises(NoCommand, match=why):
        command_of(line)
