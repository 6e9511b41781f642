"""The warden on a real socket and a real kernel (I17): a namespace gets the users of apps, or nothing.

No request names a number or a path, so none can be outside of the range; what follows from that is tried all the same.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.isolation import app_namespace
from reconciler.isolation.app_namespace import no_warden
from reconciler.isolation.user_claims import VARIABLE as USERS_VARIABLE
from reconciler.isolation.warden import GIVEN, REQUEST, VARIABLE, Unfit, Warded
from reconciler.linux.kernel_calls import call_libc
from reconciler.linux.privileges import SETUID, may
from reconciler.linux.user_namespaces import forbidden, users_of
from tests.support.eventually import eventually
from tests.support.site import REPOSITORY

_USER = 54_000 + os.getpid() % 2000
_FIRST, _LAST = 70_000, 79_999
_PYTHON = f"/usr/bin/python{sys.version_info[0]}.{sys.version_info[1]}"

as_root = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root is a warden"),
    pytest.mark.skipif(not Path(_PYTHON).exists(), reason=f"there is no {_PYTHON}, which every user may run"),
]

# Asks, from a namespace of its own or from that of the host; prints the answer, and the maps that it has.
_ASK = """
import ctypes, socket, sys
place, own, request = sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3])
connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
connection.settimeout(60)
try:
    connection.connect(place)
except OSError as error:
    sys.exit(type(error).__name__)
if own == "own":
    assert ctypes.CDLL(None).unshare(0x10000000) == 0
connection.send(request)
print(connection.recv(100).decode())
print(open("/proc/self/uid_map").read().split(), open("/proc/self/gid_map").read().split())
"""


@contextmanager
def open_to_all() -> Iterator[Path]:
    """Make a directory that every user may enter: any pytest that begins closes those of all others to them."""
    root = Path(tempfile.mkdtemp(prefix="reconciler-"))
    try:
        root.chmod(0o755)
        yield root
    finally:
        shutil.rmtree(root)


@pytest.fixture(scope="module", autouse=True)
def _hosts_users() -> Iterator[None]:
    """A host in which no daemon of other tests has claimed users."""
    with open_to_all() as users, pytest.MonkeyPatch.context() as patched:
        patched.setenv(USERS_VARIABLE, str(users))
        yield


@pytest.fixture
def opened() -> Iterator[Path]:
    with open_to_all() as directory:
        yield directory


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """The socket of a running warden; it answers at the end as at the beginning."""
    with open_to_all() as directory, _warden(path := directory / "socket", "-m", "reconciler") as warden:
        assert warden.stdout is not None
        assert warden.stdout.readline().startswith("gives")
        yield path
        assert ask(path).splitlines()[0] == GIVEN.decode()
        warden.terminate()
        assert warden.wait(60) == 0


def ask(path: Path, *, namespace: str = "own", request: bytes = REQUEST, user: int = _USER) -> str:
    become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()
    words = (*become, _PYTHON, "-c", _ASK, str(path), namespace, request.hex())
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout + done.stderr


class TestWarden:
    pytestmark = as_root

    def test_a_namespace_of_the_daemons_user_gets_that_user_and_those_of_apps(self, place: Path) -> None:
        many = str(_LAST - _FIRST + 1)
        expected = [str(_USER), str(_USER), "1", str(_FIRST), str(_FIRST), many]
        assert ask(place) == f"given\n{expected} {expected}\n"

    def test_only_the_daemons_user_may_ask(self, place: Path) -> None:
        assert place.stat().st_mode & 0o777 == 0o600
        assert place.stat().st_uid == _USER
        assert ask(place, user=_USER + 1).strip() == "PermissionError"
        assert "only the daemon's user may ask" in ask(place, namespace="the host's", user=0)

    def test_the_namespace_of_the_host_is_given_nothing(self, place: Path) -> None:
        assert ask(place, namespace="the host's").startswith("refused: the kernel does not take it")

    def test_nothing_but_the_request_is_answered_by_a_gift(self, place: Path) -> None:
        answer, given_map, *_ = ask(place, request=b"users 0 0 4294967295").splitlines()
        assert answer.startswith("refused: there is one request")
        assert given_map == "[] []"

    def test_it_has_no_right_but_that_to_write_maps(self, place: Path) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            connection.connect(str(place))
            pid = int.from_bytes(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)[:4], sys.byteorder)
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
        )
        assert {name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
            "CapInh": 0, "CapPrm": 0b1100_0000, "CapEff": 0b1100_0000, "CapBnd": 0, "CapAmb": 0,
        }  # fmt: skip
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split()[1] == str(_USER)

    @settings(max_examples=40, deadline=None)
    @given(packets=st.lists(st.binary(max_size=300), max_size=5), user=st.sampled_from([0, _USER]))
    def test_no_bytes_end_it_and_none_get_anything(self, place: Path, packets: list[bytes], user: int) -> None:
        before = os.geteuid()
        os.seteuid(user)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
                connection.settimeout(10)
                connection.connect(str(place))
                with suppress(OSError):
                    for packet in packets:
                        connection.send(packet)
                    assert not packets or not connection.recv(100).startswith(GIVEN)
        finally:
            os.seteuid(before)


@settings(max_examples=200, deadline=None)
@given(first=st.integers(-10, 1 << 33), many=st.integers(-10, 1 << 20), user=st.integers(0, 1 << 20).map(str))
def test_no_choice_of_users_has_root_or_anybody_else_of_the_host(first: int, many: int, user: str) -> None:
    try:
        found = Warded.of(user, range(first, first + many))
    except Unfit:
        return
    (own, same, one), (start, outside, count) = (line.split() for line in found.map_for(found.uid).splitlines())
    assert (own, one) == (same, b"1")
    assert start == outside
    given_to_apps = range(int(start), int(start) + int(count))
    assert found.uid != 0
    assert given_to_apps == found.users
    assert not {0, found.uid, found.gid, 65_534} & {
        number for number in (0, found.uid, found.gid, 65_534) if number in given_to_apps
    }


# A warden that is killed before its Nth effect: it claims its users (a draft, and a directory that it gives away),
# asks the kernel for its tables, removes two sockets, makes each and gives it away, and writes two maps.
_KILLED = """
import os, runpy, signal, sys
number, seen = int(sys.argv.pop(1)), 0
def hook(event, arguments):
    global seen
    if event in ("os.remove", "socket.bind", "os.chown") or event == "open" and str(arguments[0]).endswith("id_map"):
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
sys.argv[0] = "reconciler"
runpy.run_module("reconciler", run_name="__main__", alter_sys=True)
"""
_EFFECTS, _BEFORE_IT_LISTENS = 11, 9
_WHOLE = [range(_USER, _USER + 1), range(_FIRST, _LAST + 1)]


_LAST_STEP = "keep_capabilities"


def _nightly(value: object) -> ParameterSet:
    return pytest.param(value, marks=pytest.mark.nightly)


def _become(path: Path, ended_at: str = "") -> tuple[bool, list[range], bool]:
    """Be a daemon of that user at its start, killed before it does `ended_at`; return what it has become.

    Whether it came to its end, which users it has, and whether it may become them.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(_USER, _USER, _USER)
            os.setresuid(_USER, _USER, _USER)
            call_libc("prctl", 4, 1, 0, 0, 0)  # as a program that was executed: its own files of /proc are its own
            os.environ[VARIABLE] = str(path)
            if ended_at:
                setattr(app_namespace, ended_at, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            app_namespace.become_warded(())
            has = users_of()
            os.write(writing, repr((True, [(each.start, each.stop) for each in has], may(SETUID))).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        told = said.read().decode()
    os.waitpid(pid, 0)
    if not told:
        return False, [], False
    ended, has, rights = eval(told)
    return ended, [range(*each) for each in has], rights


@contextmanager
def _warden(path: Path, *before: str) -> Iterator[subprocess.Popen[str]]:
    """Run a warden; it does not outlive a test that fails, which would wait for it for ever."""
    words = (sys.executable, *before, "warden", "--user", str(_USER), "--socket", str(path))
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as warden:
        try:
            yield warden
        except BaseException:
            warden.kill()
            raise


class TestKilled:
    pytestmark = as_root

    @pytest.mark.parametrize("number", [*map(_nightly, range(1, _EFFECTS)), _EFFECTS, _nightly(_EFFECTS + 1)])
    def test_a_warden_killed_before_any_of_its_effects_has_given_nothing_or_all(
        self, number: int, opened: Path
    ) -> None:
        path = opened / "socket"
        with _warden(path, "-c", _KILLED, str(number)) as warden:
            assert warden.stdout is not None
            listens = warden.stdout.readline().startswith("gives")
            assert listens == (number > _BEFORE_IT_LISTENS)
            ended, has, rights = _become(path)
            assert ended
            if number > _EFFECTS:
                warden.terminate()
                assert (has, rights) == (_WHOLE, True)
            else:
                assert has == users_of()  # those of the host, and no right over any
                assert not rights
        assert warden.returncode == (0 if number > _EFFECTS else -signal.SIGKILL)
        with _warden(path, "-m", "reconciler") as successor:  # whatever the one before has left there
            assert successor.stdout is not None
            assert successor.stdout.readline().startswith("gives")
            assert _become(path) == (True, _WHOLE, True)
            successor.terminate()

    @pytest.mark.parametrize(
        "step", [*map(_nightly, ("_given", "_connected", "leave_users", "join_users")), _LAST_STEP]
    )
    def test_a_daemon_killed_at_any_step_of_asking_keeps_nothing_and_the_next_gets_all(
        self, place: Path, step: str
    ) -> None:
        ended, has, rights = _become(place, ended_at=step)
        assert not rights or not ended
        assert has in ([], users_of())  # the process that asks for it may be the one that is killed
        eventually(lambda: not _processes_of(_USER, besides=place), 20)
        assert _become(place) == (True, _WHOLE, True)


def _processes_of(user: int, besides: Path) -> list[str]:
    """The processes of a user, without the warden, which opens files as one."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            real = (entry / "status").read_text().split("Uid:\t")[1].split()[0] if entry.name.isdecimal() else ""
            if real == str(user) and str(besides) not in (entry / "cmdline").read_text():
                found.append(entry.name)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may set that of a namespace")
def test_a_host_that_lets_no_user_have_namespaces_says_so() -> None:
    reading, writing = os.pipe()
    if (pid := os.fork()) == 0:
        try:
            call_libc("unshare", 0x10000000)
            Path("/proc/sys/user/max_user_namespaces").write_text("0")
            os.write(writing, no_warden().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        assert said.read() == b"this host lets no user have namespaces: user.max_user_namespaces is 0"
    os.waitpid(pid, 0)


_KINDS = ("instances", "watches")
_TAKES_INSTANCES = """
import ctypes, sys
from reconciler.linux.mount_trees import leave_mounts
from reconciler.linux.kernel_counts import bound_watches, leave_users
if sys.argv[1] == "given":
    leave_users()
    bound_watches()
else:
    leave_mounts(as_user=True)
taken = 0
while ctypes.CDLL(None).inotify_init1(0) >= 0:
    taken += 1
print(taken, open("/proc/sys/user/max_inotify_watches").read())
"""


@pytest.mark.skipif(bool(forbidden()), reason=forbidden())
@pytest.mark.parametrize("how", ["given", "its own"])
def test_no_app_in_a_namespace_of_the_daemons_user_takes_all_the_watches_that_this_user_may_have(how: str) -> None:
    instances, watches = (int(Path(f"/proc/sys/fs/inotify/max_user_{name}").read_text()) for name in _KINDS)
    command = [sys.executable, "-c", _TAKES_INSTANCES, how]
    taken, most = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.split()
    assert int(taken) <= instances // 4
    assert int(most) == watches // 2


@pytest.mark.parametrize(
    ("name", "value", "forbids"),
    [
        ("kernel/unprivileged_userns_clone", "0", True),
        ("kernel/unprivileged_userns_clone", "1", False),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", True),
        ("user/max_user_namespaces", "0", True),
        ("user/max_user_namespaces", "96365", False),
    ],
)
def test_what_keeps_users_from_namespaces_is_named(tmp_path: Path, name: str, value: str, *, forbids: bool) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(f"{value}\n")
    said = forbidden(tmp_path)
    assert bool(said) == forbids
    assert not forbids or f"{name.replace('/', '.')} is {value}" in said
