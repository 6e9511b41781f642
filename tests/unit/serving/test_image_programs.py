"""The programs of an image beside its web server: what fills in variables, says that it is ready, and stops it."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.planning.command_line import command_of
from reconciler.serving import image_ready, image_start, image_stop
from tests.support.eventually import eventually

_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a namespace of processes")


@pytest.mark.parametrize(
    "line",
    ["run $A ${B} ${C:-none} ${A:-none}", "run '$A' \\$A", "run '$A' $A", "run $E-${E:-empty} a$Ab", "run ${UNSET}"],
)
def test_variables_in_a_command_are_what_they_are_on_a_host(line: str) -> None:
    environ = {"A": "1", "B": "two words", "E": ""}
    command = command_of(line)
    words = [image_start.expanded(word, environ) for word in command.words] if command.expands else [*command.words]
    assert words == [*command.arguments(environ)]


def test_a_web_server_is_ready_once_its_workers_have_passed(tmp_path: Path) -> None:
    program = tmp_path / "ready.py"
    program.write_bytes(Path(str(image_ready.__file__)).read_bytes())
    passed = tmp_path / "passed"
    (tmp_path / "image.json").write_text(json.dumps({"readiness": str(passed)}))

    def is_ready() -> bool:
        return subprocess.run([sys.executable, "-I", program], check=False).returncode == 0

    assert not is_ready()
    (passed / "one").mkdir(parents=True)
    assert not is_ready()
    (passed / "one" / "serving").touch()
    assert is_ready()


# Handles the signals of a queue library, and tells of each; ends at the last word.
_PROGRAM = """
import pathlib, signal, sys, time
def told(number, frame):
    print(signal.Signals(number).name, flush=True)
    if signal.Signals(number).name == sys.argv[-1]:
        sys.exit(0)
for each in (signal.SIGINT, signal.SIGQUIT):
    signal.signal(each, told)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


@contextlib.contextmanager
def a_pod() -> Iterator[list[str]]:
    """Yield what stands before a command that is to run in a namespace of processes whose first one only waits."""
    words = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sleep", "120"]
    with subprocess.Popen(words) as first:
        try:
            children = Path(f"/proc/{first.pid}/task/{first.pid}/children")
            eventually(lambda: bool(children.read_text().split()), within=30)
            (pid,) = children.read_text().split()
            eventually(lambda: Path(f"/proc/{pid}/comm").read_text() == "sleep\n", within=30)
            yield ["nsenter", "--pid", "--mount", f"--target={pid}"]
        finally:
            first.kill()


@_ROOT
@pytest.mark.parametrize(("last", "told"), [("SIGINT", ["SIGINT"]), ("SIGQUIT", ["SIGINT", "SIGQUIT"])])
def test_the_hook_sends_each_signal_to_the_first_program_of_the_container(
    tmp_path: Path, last: str, told: list[str]
) -> None:
    began = tmp_path / "began"
    with (
        a_pod() as inside,
        subprocess.Popen(
            [*inside, sys.executable, "-c", _PROGRAM, str(began), last], stdout=subprocess.PIPE, text=True
        ) as program,
    ):
        eventually(began.exists, within=60)
        with subprocess.Popen([*inside, "sleep", "60"]) as probe:
            hook = [sys.executable, "-I", str(image_stop.__file__), "INT", "0.5", "QUIT", "30"]
            subprocess.run([*inside, *hook], check=True, timeout=60)
            assert program.communicate(timeout=60)[0].split() == told
            assert probe.poll() is None  # a younger process beside it gets none of them
            probe.kill()


@_ROOT
def test_the_hook_ends_at_once_where_nothing_runs() -> None:
    with a_pod() as inside:
        hook = [sys.executable, "-I", str(image_stop.__file__), "INT", "30"]
        subprocess.run([*inside, *hook], check=True, timeout=25)
