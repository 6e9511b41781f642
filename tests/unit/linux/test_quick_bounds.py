"""Commands that programs of util-linux bound: in memory, and by the life of their starter."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from reconciler.linux.quick_bounds import QuickBounds, quick_bounds
from tests.support.eventually import eventually

PATH = "/usr/bin:/bin"
_MEMORY = 1 << 30


@pytest.fixture(scope="module")
def bounds() -> QuickBounds:
    found = quick_bounds(PATH)
    if found is None:
        pytest.skip("util-linux of this host has no prlimit, or no setpriv that can do this")
    return found


def test_a_command_and_what_it_starts_use_no_more_memory_than_they_may(bounds: QuickBounds) -> None:
    asked = "import resource; print(*resource.getrlimit(resource.RLIMIT_DATA))"
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {asked!r}], check=True)"
    command = bounds.around((sys.executable, "-c", inner), memory=_MEMORY)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(_MEMORY)] * 2


def test_a_command_is_killed_with_its_starter(bounds: QuickBounds) -> None:
    command = bounds.around(("sh", "-c", "echo $$; exec sleep 1000"), memory=_MEMORY)
    starter = f"""
import os, signal, subprocess
child = subprocess.Popen({command!r}, stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    run = subprocess.run([sys.executable, "-c", starter], capture_output=True, text=True, check=False)
    pid = int(run.stdout)
    assert run.returncode == -9
    eventually(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie")


def test_a_command_ends_as_it_would_by_itself(bounds: QuickBounds) -> None:
    command = bounds.around(("sh", "-c", "cat; exit 7"), memory=_MEMORY)
    done = subprocess.run(command, input=b"x", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (7, b"x")


def test_a_host_without_these_programs_has_none(tmp_path: Path) -> None:
    assert quick_bounds(str(tmp_path)) is None


def test_a_program_of_the_same_name_that_can_do_less_is_none(tmp_path: Path) -> None:
    for name in ("prlimit", "setpriv"):
        program = tmp_path / name
        program.write_text("#!/bin/sh\necho 'unrecognized option: pdeathsig' >&2\nexit 1\n")
        program.chmod(0o755)
    assert quick_bounds(str(tmp_path)) is None
    (tmp_path / "setpriv").write_text("no program")
    assert quick_bounds(str(tmp_path)) is None
