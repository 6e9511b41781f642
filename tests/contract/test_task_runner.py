"""The runner of a task as a process: it ends with all that its command started, and leaves how that ended."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from reconciler import tasks
from reconciler.linux.memory_files import memory_files
from reconciler.linux.proc_files import proc_bytes
from tests.support.eventually import at_leisure, eventually

_PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.execv(sys.argv[2], [sys.argv[2], "-I", "-S", sys.argv[3]])
"""
RUNNER = Path(tasks.__file__).with_name("run.py")


class Runner:
    """One runner, and what it leaves."""

    def __init__(self, directory: Path, *command: str, **fields: Any) -> None:
        self.id = f"{os.getpid():08x}"  # of this test's own process: others run beside it
        self.result_file = directory / "result"
        self.log = directory / "log"
        order = {
            "id": self.id, "command": command, "directory": str(directory), "log": str(self.log), "log_limit": 65536,
            "log_mode": 0o600, "result": str(self.result_file), "timeout_s": 30.0, "grace_s": 0.5, "nice": 3,
            "sandbox": "18 256 256 -1", "cell": [], "attached": "", **fields,
        }  # fmt: skip
        env = {**os.environ, "RECONCILER_TASK": self.id, "RECONCILER_TASK_RUNNER": "1", "SECRET": "hunter22"}
        with memory_files(json.dumps(order).encode()) as (given,):
            moved = os.dup(given) if given == 3 else given
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PASS_ON, str(moved), sys.executable, str(RUNNER)],
                env=env, stdin=subprocess.DEVNULL, pass_fds=(moved,), start_new_session=True,
            )  # fmt: skip

    def ended(self) -> dict[str, Any]:
        self.process.wait(at_leisure(60.0))
        found: dict[str, Any] = json.loads(self.result_file.read_bytes())
        return found

    def marked(self) -> list[int]:
        """Every process that carries the task's mark."""
        found, mark = [], f"RECONCILER_TASK={self.id}".encode()
        for entry in os.scandir("/proc"):
            with suppress(OSError):
                if entry.name.isdecimal() and mark in proc_bytes(f"/proc/{entry.name}/environ"):
                    found.append(int(entry.name))
        return found


@pytest.mark.parametrize(
    ("command", "code", "number", "status"),
    [
        (("sh", "-c", "echo out; echo err >&2; exit 7"), 7, None, 7),
        (("sh", "-c", "kill -SEGV $$"), None, 11, 139),
        (("no-such-program",), 127, None, 127),
        (("/etc/passwd",), 126, None, 126),
    ],
)
def test_a_runner_ends_as_its_command_and_says_so(
    command: tuple[str, ...], code: int | None, number: int | None, status: int, tmp_path: Path
) -> None:
    runner = Runner(tmp_path, *command)
    result = runner.ended()
    assert (result["code"], result["signal"], runner.process.returncode) == (code, number, status)
    if code == 7:
        assert runner.log.read_text() == "out\nerr\n"
        assert result["said"] == "out\nerr"
    if code in {126, 127}:
        assert command[0] in result["error"]
        assert "cannot run" in runner.log.read_text()


def test_the_command_has_the_rights_and_variables_that_it_was_given(tmp_path: Path) -> None:
    script = "umask; ulimit -n; nice; echo $SECRET $RECONCILER_TASK${RECONCILER_TASK_RUNNER-}; pwd"
    runner = Runner(tmp_path, "sh", "-c", script)
    runner.ended()
    nicer = str(min(os.nice(0) + 3, 19))
    assert runner.log.read_text().split() == ["0022", "256", nicer, "hunter22", runner.id, str(tmp_path)]


def test_a_runner_ends_everything_that_its_command_left(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "sh", "-c", "setsid sh -c 'trap \"\" TERM; sleep 600' & setsid sleep 600 & exit 0")
    assert runner.ended()["code"] == 0
    assert runner.marked() == []


def test_children_that_ignore_sigterm_are_gone_when_the_timeout_and_its_grace_are_over(tmp_path: Path) -> None:
    stubborn = "trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do sleep 600; done' & while :; do sleep 600; done"
    runner = Runner(tmp_path, "sh", "-c", stubborn, timeout_s=2.0)  # its traps are set by then
    result = runner.ended()
    assert (result["timed_out"], result["signal"]) == (True, int(signal.SIGKILL))
    assert runner.marked() == []


def test_a_runner_tells_its_command_once_to_end_and_gives_it_its_grace(tmp_path: Path) -> None:
    patient = "trap 'echo told; sleep 0.2; echo done; exit 4' TERM; echo up; while :; do sleep 0.05; done"
    runner = Runner(tmp_path, "sh", "-c", patient, grace_s=20.0)
    eventually(lambda: runner.log.read_text() == "up\n")
    for _ in range(3):
        runner.process.send_signal(signal.SIGTERM)
    result = runner.ended()
    assert (result["cancelled"], result["code"]) == (True, 4)
    assert runner.log.read_text() == "up\ntold\ndone\n"


def test_the_command_is_killed_with_its_runner(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "sh", "-c", "echo up; exec sleep 600")
    eventually(lambda: runner.log.read_text() == "up\n")
    runner.process.kill()
    runner.process.wait(60)
    eventually(lambda: runner.marked() == [])
    assert not runner.result_file.exists()
    again = Runner(tmp_path, "sh", "-c", "echo twice")
    assert again.process.wait(60) == 75, "a task that was begun is never begun again"
    assert runner.log.read_text() == "up\n"


def test_a_task_that_no_record_tells_of_is_not_begun_without_its_claim(tmp_path: Path) -> None:
    for must_claim, printed in ((True, ""), (False, "here\n")):
        runner = Runner(
            tmp_path, "sh", "-c", "echo here", result=str(tmp_path / "no" / "result"), must_claim=must_claim
        )
        assert runner.process.wait(60) == (73 if must_claim else 0)
        assert runner.log.read_text() == printed if runner.log.exists() else printed == ""


def test_what_is_printed_beyond_the_limit_is_left_out_of_the_log_but_for_its_end(tmp_path: Path) -> None:
    began = time.monotonic()
    runner = Runner(tmp_path, "sh", "-c", "head -c 200000000 /dev/zero; printf '\\377last'", timeout_s=600.0)
    result = runner.ended()
    content = runner.log.read_bytes()
    assert (result["code"], result["size"]) == (0, 200000005)
    assert len(content) <= 65536
    assert b"bytes are left out here" in content
    assert content.endswith(b"\xfflast")
    assert result["peak_memory"] < 64 * 2**20
    assert time.monotonic() - began < at_leisure(60.0)


def test_a_full_disk_costs_what_is_printed_and_not_the_result(tmp_path: Path) -> None:
    runner = Runner(tmp_path, "sh", "-c", "head -c 100000 /dev/zero; exit 3", log="/dev/full")
    assert runner.ended()["code"] == 3


def test_a_pipe_in_the_place_of_the_log_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log")
    result = Runner(tmp_path, "sh", "-c", "echo out; exit 3").ended()
    assert (result["code"], result["said"]) == (3, "out")
    reading = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        Runner(tmp_path, "sh", "-c", "echo more", result=str(tmp_path / "second")).process.wait(60)
        assert os.read(reading, 10) == b"", "nothing is written to a pipe"
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    "script",
    [
        "rm result.draft",
        "rm result.draft; echo '{}' > result.draft",
        "mkdir result",
        "rm result.draft; mkdir -p result.draft/in result/in",
        "echo forged > result; ln -sf /etc/passwd result.draft",
    ],
)
def test_a_command_that_meddles_with_the_record_of_its_end_is_told_of_all_the_same(script: str, tmp_path: Path) -> None:
    result = Runner(tmp_path, "sh", "-c", f"{script}; echo out; exit 3").ended()
    assert (result["code"], result["said"]) == (3, "out")
    assert not (tmp_path / "result.draft").exists()
