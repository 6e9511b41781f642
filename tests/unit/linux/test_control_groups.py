"""Control groups as the kernel tells of them, on hosts of every kind; and the end of what is in one."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.linux.control_groups import Group, hierarchies, parsed
from reconciler.linux.process_identity import start_ticks
from tests.support.eventually import eventually

_V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n"
_HYBRID = (
    "25 24 0:22 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "26 24 0:23 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "27 24 0:24 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "28 24 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
# Doubles itself twice, and closes and forgets all by which it could be found.
_DETACHED = """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(3, 256)
        with open(sys.argv[1], "w") as file:
            file.write(str(os.getpid()))
        os.execve("/bin/sleep", ["sleep", "600"], {})
os._exit(0)
"""


def test_version_2_alone_has_one_hierarchy() -> None:
    (found,) = parsed(_V2, "0::/system.slice/reconciler.service\n")
    assert (found.version, found.controllers) == (2, frozenset())
    assert found.group.path == Path("/sys/fs/cgroup/system.slice/reconciler.service")


def test_both_versions_at_once_have_a_hierarchy_for_each_controller() -> None:
    groups = "4:name=systemd:/a\n3:cpu,cpuacct:/b\n2:memory:/c:d\n0::/\n"
    found = {each.controllers: str(each.group.path) for each in parsed(_HYBRID, groups)}
    assert found == {
        frozenset({"cpu", "cpuacct"}): "/sys/fs/cgroup/cpu,cpuacct/b",
        frozenset({"memory"}): "/sys/fs/cgroup/memory/c:d",
        frozenset(): "/sys/fs/cgroup/unified",
    }


def test_of_groups_with_a_name_no_other_is_returned() -> None:
    groups = "4:name=systemd:/a\n3:cpu,cpuacct:/b/one\n2:memory:/one/two\n0::/c/one\n"
    assert {each.own for each in parsed(_HYBRID, groups, "one")} == {"/b/one", "/c/one"}
    assert parsed(_HYBRID, groups, "ne") == ()


@pytest.mark.parametrize(
    ("mounts", "group", "own"),
    [
        (_V2.replace(" / /sys", " /docker/abc /sys"), "/docker/abc/sub", "/sub"),
        (_V2.replace(" / /sys", " /docker/abc /sys"), "/docker/abc", "/"),
        (_V2.replace(" / /sys", " /docker/abc /sys"), "/docker/abcdef", None),
        (_V2, "/../other", None),
        (_V2, "/gone (deleted)", None),
        (_V2.replace("/sys/fs/cgroup", "/odd\\040mount"), "/", "/"),
        ("", "/", None),
        ("what is this\n" + _V2, "/", "/"),
    ],
)
def test_what_is_mounted_in_part_shows_only_that_part(mounts: str, group: str, own: str | None) -> None:
    assert [each.own for each in parsed(mounts, f"0::{group}\n")] == ([] if own is None else [own])


def test_an_escaped_mount_is_read_as_its_path() -> None:
    (found,) = parsed(_V2.replace("/sys/fs/cgroup", "/odd\\040mount"), "0::/\n")
    assert found.mount == Path("/odd mount")


@pytest.fixture(params=[2, 1])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """A group of each version, where the host has one that may be written to."""
    wanted = "freezer" if request.param == 1 else ""
    for each in hierarchies():
        if each.version == request.param and (not wanted or wanted in each.controllers):
            made = Group(each.group.path / f"reconciler-test-{os.getpid()}", each.version)
            with suppress(OSError):
                made.make()
                yield made
                made.end()
                return
    pytest.skip("no such control groups here that may be written to")


def test_nothing_in_a_group_outlives_its_end_however_detached(group: Group, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    with subprocess.Popen(
        [sys.executable, "-c", f"import os\nopen({str(group.path / 'cgroup.procs')!r}, 'w').write('0')\n{_DETACHED}",
         str(file)]
    ) as process:  # fmt: skip
        process.wait()
    eventually(lambda: file.exists() and file.read_text() != "")
    pid = int(file.read_text())
    try:
        assert pid in group.pids()
        assert group.is_populated()
        assert group.end()
        assert start_ticks(pid) is None
        assert not group.exists()
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_groups_that_an_app_made_in_its_own_end_with_it(group: Group) -> None:
    inner = Group(group.path / "inner", group.version)
    inner.make()
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        assert inner.add(process.pid)
        assert process.pid in group.pids()
        assert group.end()
        assert process.wait(60) == -signal.SIGKILL


def test_a_group_with_a_process_in_it_is_not_removed(group: Group) -> None:
    with subprocess.Popen(["/bin/sleep", "600"]) as process:
        assert group.add(process.pid)
        assert not group.remove()
        process.kill()


def test_a_group_that_is_gone_has_nothing_in_it(tmp_path: Path) -> None:
    gone = Group(tmp_path / "gone", 2)
    assert (gone.pids(), gone.is_populated(), gone.read("x"), gone.number("x"), gone.add(1)) == (
        frozenset(), False, None, None, False,
    )  # fmt: skip
    gone.kill()
    assert gone.end()
