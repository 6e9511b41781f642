"""A forwarder knows that its program is ending before that can be waited for."""

import os
import signal
import sys
from pathlib import Path

from reconciler.serving.forwarder.child import Child
from tests.support.eventually import eventually

# Its main thread ends by exit(2) while another lives on: the process is as one that a signal ends bit by bit.
HALF_ENDED = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_program_is_ending_before_it_has_ended(tmp_path: Path) -> None:
    child = Child([sys.executable, "-c", HALF_ENDED], os.environ, directory=str(tmp_path), listener=None, output=2)
    try:
        eventually(child.is_ending)
        assert not child.is_over()
    finally:
        child.signal(signal.SIGKILL)
        eventually(child.is_over)
    assert child.is_ending()


def test_one_that_runs_is_not_ending(tmp_path: Path) -> None:
    child = Child(["sleep", "600"], os.environ, directory=str(tmp_path), listener=None, output=2)
    try:
        assert not child.is_ending()
    finally:
        child.signal(signal.SIGKILL)
        eventually(child.is_over)
