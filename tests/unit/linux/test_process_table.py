"""The process table's sockets, beside those that this very process opens."""

import os
import secrets
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.linux.process_identity import start_ticks, stat_of
from reconciler.linux.process_table import family, listening_sockets, name_of, pids, sockets_of
from reconciler.serving.marks import marked


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::")]
)
def test_a_listening_socket_is_found_with_its_address_and_its_owner(family: socket.AddressFamily, host: str) -> None:
    with closing(socket.socket(family, socket.SOCK_STREAM)) as opened:
        try:
            opened.bind((host, 0))
        except OSError:
            pytest.skip("this host has no such address")
        port = opened.getsockname()[1]
        assert port not in {each.port for each in listening_sockets()}
        opened.listen()
        (found,) = [each for each in listening_sockets() if each.port == port]
        assert found.host == host
        assert found.inode == os.fstat(opened.fileno()).st_ino
        assert sockets_of(os.getpid())[opened.fileno()] == found.inode


def test_a_process_that_is_gone_has_nothing() -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text())
    assert (sockets_of(gone), name_of(gone), list(listening_sockets(gone))) == ({}, "", [])
    assert os.getpid() in pids()
    assert name_of(os.getpid())


_HALF_A_LETTER = """
import ctypes, sys
ctypes.CDLL(None).prctl(15, "обработчик".encode()[:15])
print("named", flush=True)
sys.stdin.read()
"""


def test_a_process_whose_name_is_cut_within_a_letter_is_read_like_any_other() -> None:
    with subprocess.Popen(
        (sys.executable, "-c", _HALF_A_LETTER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as named:
        try:
            assert named.stdout is not None
            assert named.stdout.readline() == b"named\n"
            assert name_of(named.pid) == "обработ\\xd1"
            assert (stat_of(named.pid) or [])[1:3] == [str(os.getpid()), str(named.pid)]
            assert start_ticks(named.pid)
            assert [pid for pid, _ in family(named.pid)] == [named.pid]
        finally:
            named.kill()


def test_marks_that_are_no_text_are_of_no_instance() -> None:
    state = secrets.token_hex(8)  # of this run alone
    environment = {
        b"RECONCILER_STATE_ID": state.encode(), b"RECONCILER_INSTANCE": b"a\xff", b"RECONCILER_APP": b"\xd1",
    }  # fmt: skip
    with subprocess.Popen(("/bin/sleep", "60"), env=environment) as sleeping:
        try:
            (found,) = marked(state)
            assert (found.pid, found.instance, found.app) == (sleeping.pid, "", "")
        finally:
            sleeping.kill()
