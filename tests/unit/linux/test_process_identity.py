"""Which users have processes."""

import os
import subprocess

import pytest

from reconciler.linux.process_identity import has_processes

A_USER = 79_417


def test_a_user_has_processes_as_long_as_one_is_left() -> None:
    assert has_processes(os.getuid())
    assert not has_processes(A_USER)
    assert not has_processes(3_000_000_000)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts processes of others")
def test_a_process_counts_until_its_parent_has_waited_for_it() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, user=A_USER, cwd="/") as process:
        assert has_processes(A_USER)
        assert process.stdin is not None
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_processes(A_USER)
    assert not has_processes(A_USER)
