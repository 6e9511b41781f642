"""The warden on a real socket and a real kernel (I17): a namespace gets the users of apps, or nothing.

No request names a number or a path, so none can be outside of the range; what follows from that is tried all the same.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.isolation.warden import GIVEN, REQUEST, Unfit, Warded
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
connection.settimeout(20)
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


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a running warden; it answers at the end as at the beginning."""
    found = tmp_path_factory.mktemp("warden")
    for above in (found, *found.parents):
        with suppress(OSError):
            above.chmod(above.stat().st_mode | 0o011)
    path = found / "socket"
    words = (sys.executable, "-m", "reconciler", "warden", "--user", str(_USER), "--socket", str(path))
    with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as warden:
        assert warden.stdout is not None
        try:
            assert warden.stdout.readline().startswith("gives")
            yield path
            assert ask(path).splitlines()[0] == GIVEN.decode()
        finally:
            warden.terminate()
        assert warden.wait(20) == 0


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
