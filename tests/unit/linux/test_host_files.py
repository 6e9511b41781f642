"""The host's open files, read without opening one."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux.host_files import HostFiles

_HOLDS = """
import os, time
kept = [os.open("/dev/null", os.O_RDONLY) for _ in range(200)]
print("open", flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", _HOLDS], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("counted", [True, False])
def test_each_process_has_its_user_and_how_many_files_it_has_open(
    holder: "subprocess.Popen[bytes]", counted: bool
) -> None:
    files = HostFiles()
    files._are_counted &= counted
    (found,) = [each for each in files.openers() if each.pid == holder.pid]
    assert (found.user, found.group) == (os.geteuid(), os.getegid())
    status = Path(f"/proc/{holder.pid}/status").read_text()
    of_table = int(status.partition("FDSize:")[2].split()[0])  # at least as large as its parent's was
    opened = len(list(Path(f"/proc/{holder.pid}/fd").iterdir()))
    assert 200 < found.files == (opened if files._are_counted else of_table)


def test_the_figures_are_read_and_a_process_is_ended_where_no_file_can_be_opened(
    holder: "subprocess.Popen[bytes]",
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
