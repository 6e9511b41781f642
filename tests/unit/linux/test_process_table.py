"""The process table's sockets, beside those that this very process opens."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.linux.process_table import listening_sockets, name_of, pids, sockets_of


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
