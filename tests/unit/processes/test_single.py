"""The lock of a single process: held by the last that has inherited it, which is found and killed when it outlives."""

import os
import subprocess
import sys
from pathlib import Path

from reconciler.processes.single import SingleLocks
from reconciler.state.paths import StatePaths

# A program that leaves its session, and has nothing of where it comes from but the lock.
_LEAVES = "import os, time; os.setsid(); print(flush=True); time.sleep(60)"


def test_what_outlives_a_single_process_is_found_by_its_lock(tmp_path: Path) -> None:
    locks = SingleLocks(StatePaths(state=tmp_path))
    lock = locks.take("shop", "beat")
    assert lock is not None
    with subprocess.Popen(
        [sys.executable, "-c", _LEAVES], env={}, pass_fds=(lock,), stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            program.stdout.readline()
            os.close(lock)
            assert locks.is_held("shop", "beat")
            locks.forget("shop", "beat")
            assert locks.is_held("shop", "beat")
            assert locks.end_holders("shop", "beat") == (program.pid,)
            assert not locks.is_held("shop", "beat")
        finally:
            program.kill()


def test_a_program_that_has_only_opened_the_file_is_left_alone(tmp_path: Path) -> None:
    locks = SingleLocks(StatePaths(state=tmp_path))
    lock = locks.take("shop", "beat")
    assert lock is not None
    os.close(lock)
    (file,) = tmp_path.rglob("beat.lock")
    with file.open() as opened, subprocess.Popen(["sleep", "60"], pass_fds=(opened.fileno(),)) as reader:
        try:
            assert locks.end_holders("shop", "beat") == ()
            assert reader.poll() is None
        finally:
            reader.kill()
