"""All apps of a daemon together leave its user a part of what the kernel counts by user, in each way they run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.isolation.launching import confined
from reconciler.isolation.main import NO_REPORT
from reconciler.linux.user_namespaces import forbidden
from reconciler.planning.isolation.confinement import Confinement
from tests.support.probe_of_isolation import NO_MOUNTS, NO_USERS
from tests.support.site import REPOSITORY

_MOST = int(Path("/proc/sys/fs/inotify/max_user_instances").read_text())
_USER = 47_000 + os.getpid() % 3000
_FIRST = 70_000
_APPS = 5

pytestmark = [
    pytest.mark.skipif(bool(forbidden()), reason=forbidden()),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may become a user that has nothing else running"),
]

# What each program here begins with: whatever has to be loaded is, before it is another user.
_BEGIN = f"""
import ctypes, os, resource, sys
from reconciler.isolation.app_counts import counts_of, enter_counts, held_counts, hold_counts
from reconciler.linux.kernel_counts import bound_watches, enter, leave_users
from reconciler.linux.mount_trees import leave_mounts
from reconciler.linux import user_namespaces

resource.setrlimit(resource.RLIMIT_NOFILE, (2 * {_MOST},) * 2)
libc = ctypes.CDLL(None)


def taken():
    count = 0
    while libc.inotify_init1(os.O_CLOEXEC) >= 0:
        count += 1
    return count


def become(user):
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    libc.prctl(4, 1, 0, 0, 0)  # as a program that was executed: its own files of /proc are its own


def app(begin):
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            begin()
            os.write(writing, str(taken()).encode())
            sys.stdin.read()
        finally:
            os._exit(0)
    os.close(writing)
    return int(os.read(reading, 9))


def told(*numbers):
    print(*numbers, flush=True)
"""


@contextmanager
def _running(program: str, *arguments: object) -> Iterator["subprocess.Popen[str]"]:
    """Run a program of which the apps go on until it is left."""
    command = [sys.executable, "-c", _BEGIN + program, *map(str, arguments)]
    with subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=REPOSITORY) as running:
        yield running


def _line(running: "subprocess.Popen[str]") -> list[int]:
    assert running.stdout is not None
    return list(map(int, running.stdout.readline().split()))


_BESIDE_A_WARDEN = """
user, first, apps = map(int, sys.argv[1:])
become(user)
leave_users()
told(os.getpid())
sys.stdin.readline()
bound_watches(of_all=True)


def begin(user):
    enter(counts_of(user))
    become(user)


told(*(app(lambda: begin(each)) for each in (*range(first, first + apps), user)))
told(taken())
"""


def test_apps_beside_a_warden_leave_the_daemons_user_a_part() -> None:
    with _running(_BESIDE_A_WARDEN, _USER, _FIRST, _APPS) as running:
        (pid,) = _line(running)
        for name in ("gid_map", "uid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"{_USER} {_USER} 1\n{_FIRST} {_FIRST} 1000\n")
        assert running.stdin is not None
        running.stdin.write("\n")
        running.stdin.flush()
        taken, (left,) = _line(running), _line(running)
        assert max(taken) == _MOST // 4
        assert sum(taken) == _MOST * 3 // 4
        assert left == _MOST - sum(taken)


_OF_A_NORMAL_USER = """
become(int(sys.argv[1]))
hold_counts()


def begin(daemon=held_counts()):
    enter_counts(daemon)
    leave_mounts(as_user=True)


told(*(app(begin) for _ in range(int(sys.argv[2]))))
if sys.argv[3] == "all":
    told(taken())
sys.stdin.read()
"""


def test_apps_of_a_normal_user_leave_it_a_part_and_those_of_the_next_daemon_no_less() -> None:
    with _running(_OF_A_NORMAL_USER, _USER + 1, _APPS, "apps") as running:
        taken = _line(running)
        assert max(taken) == _MOST // 4
        assert sum(taken) == _MOST * 3 // 4
        with _running(_OF_A_NORMAL_USER, _USER + 1, _APPS, "all") as following:
            assert _line(following) == [0] * _APPS
            assert _line(following) == [_MOST - sum(taken)]


_BUILDS_OF_ROOT = """
told(*(app(lambda: enter(counts_of(None))) for _ in range(int(sys.argv[1]))))
told(libc.inotify_init1(os.O_CLOEXEC) >= 0)
"""


def test_what_builds_as_root_leaves_root_all_it_had() -> None:
    with _running(_BUILDS_OF_ROOT, _APPS) as running:
        taken = _line(running)
        assert max(taken) <= _MOST // 4
        assert sum(taken) <= _MOST
        assert running.stdout is not None
        assert running.stdout.readline() == "True\n"


@pytest.mark.parametrize(("there_are", "left"), [(2_000, (1_000, 1_000)), (1 << 40, (1_500, 1_600))])
def test_a_user_that_leaves_processes_to_others_has_half_of_what_the_host_can_have(
    tmp_path: Path, there_are: int, left: tuple[int, int]
) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel/pid_max").write_text(f"{max(there_are, 4 << 20)}\n")
    (tmp_path / "kernel/threads-max").write_text(f"{there_are}\n")
    program = f"""
import resource
from reconciler.linux.kernel_counts import leave_processes
resource.setrlimit(resource.RLIMIT_NPROC, (1_500, 1_600))
leave_processes(settings={str(tmp_path)!r})
print(resource.getrlimit(resource.RLIMIT_NPROC))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == str(left)


@pytest.mark.skipif(bool(NO_USERS or NO_MOUNTS), reason=NO_USERS or NO_MOUNTS or "-")
def test_what_runs_as_the_user_of_an_app_leaves_processes_to_others() -> None:
    given = Confinement(isolation="strict", uid=_FIRST, gid=_FIRST, visible=("/usr", "/bin", "/lib", "/lib64"))
    words = confined(("/bin/grep", "Max processes", "/proc/self/limits"), given, NO_REPORT)
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd="/")
    bounds = [int(Path(f"/proc/sys/kernel/{name}").read_text()) // 2 for name in ("pid_max", "threads-max")]
    assert int(done.stdout.split()[2]) <= min(bounds)
