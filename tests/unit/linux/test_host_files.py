"""The host's open files, read without opening one."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from reconciler.linux.host_files import HostFiles

# A process begins with a table for as many files as its parent has open: this one's has few, whatever pytest has.
_BETWEEN = """
import os, subprocess, sys
ended = subprocess.run([sys.executable, "-c", sys.argv[1]]).returncode
os.kill(os.getpid(), -ended)
"""
_HOLDS = """
import os, time
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
print(os.getpid(), flush=True)
time.sleep(60)
"""


class Holder(NamedTuple):
    """A process with some 200 files open, and what waits until it has ended, and returns how."""

    pid: int
    wait: Callable[[], int]


@pytest.fixture
def holder() -> Iterator[Holder]:
    with subprocess.Popen([sys.executable, "-c", _BETWEEN, _HOLDS], stdout=subprocess.PIPE) as between:
        assert between.stdout is not None
        pid = int(between.stdout.readline())
        yield Holder(pid, between.wait)
        if between.poll() is None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("counted", [True, False])
def test_each_process_has_its_user_and_how_many_files_it_has_open(holder: Holder, counted: bool) -> None:
    files = HostFiles()
    files._are_counted &= counted
    (found,) = [each for each in files.openers() if each.pid == holder.pid]
    assert (found.user, found.group) == (os.geteuid(), os.getegid())
    assert 200 < found.files <= 512


def test_the_figures_are_read_and_a_process_is_ended_where_no_file_can_be_opened(
    holder: Holder,
) -> None:
    files, limits = HostFiles(), resource.getrlimit(resource.RLIMIT_NOFILE)
    unlisted = os.dup(0)  # what listing takes: a descriptor, and no file
    os.close(unlisted)
    used, most = files.figures()
    assert 0 < used <= most
    resource.setrlimit(resource.RLIMIT_NOFILE, (unlisted, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open("/dev/null", os.O_RDONLY)
        assert files.figures()[1] == most
        files.end([holder.pid])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert holder.wait() == -9
