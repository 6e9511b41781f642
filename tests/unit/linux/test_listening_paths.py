"""Listen at a path: no client is refused while the socket is replaced, and what is there is known for what it is."""

import os
import socket
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reconciler.linux.listening_paths import is_in_place, listen_at, listening_names, name_listened_at
from reconciler.linux.unix_sockets import connected


def inode(opened: socket.socket) -> int:
    return os.fstat(opened.fileno()).st_ino


@pytest.mark.parametrize("depth", [0, 3])
def test_clients_reach_it_in_whatever_directory_and_it_is_known_by_its_name(tmp_path: Path, depth: int) -> None:
    directory = tmp_path / "/".join(["deep" * 20] * depth)
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    path = directory / "shop.sock"
    with closing(listen_at(path, 8)) as opened:
        connected(path, socket.SOCK_STREAM, 5).close()
        assert name_listened_at(opened) == "shop.sock"
        assert "shop.sock" in set(listening_names({inode(opened)}))
        assert is_in_place(path, opened)
        assert path.stat().st_mode & 0o777 == 0o600
        assert [each.name for each in directory.iterdir()] == ["shop.sock"]


def test_the_group_that_may_enter_the_directory_may_connect_and_nobody_else(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with closing(listen_at(tmp_path / "shop.sock", 8)):
        found = (tmp_path / "shop.sock").stat()
    assert (found.st_mode & 0o777, found.st_gid) == (0o660, tmp_path.stat().st_gid)


def test_one_that_takes_the_place_of_another_gets_all_that_is_new_and_what_waits_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    with closing(listen_at(path, 8)) as old:
        waiting = connected(path, socket.SOCK_STREAM, 5)
        with closing(listen_at(path, 8)) as new:
            later = connected(path, socket.SOCK_STREAM, 5)
            assert (is_in_place(path, old), is_in_place(path, new)) == (False, True)
            for listener in (old, new):
                listener.settimeout(60)
                listener.accept()[0].close()
            waiting.close()
            later.close()


def test_the_file_of_a_dead_one_and_anything_else_in_its_way_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    listen_at(path, 8).close()
    with pytest.raises(ConnectionRefusedError):
        connected(path, socket.SOCK_STREAM, 5)
    (tmp_path / "shop.sock.new").write_text("left by one that was killed")
    with closing(listen_at(path, 8)):
        connected(path, socket.SOCK_STREAM, 5).close()


def test_one_without_its_file_and_one_of_a_program_are_told_apart_from_ours(tmp_path: Path) -> None:
    path = tmp_path / "shop.sock"
    with closing(listen_at(path, 8)) as opened, closing(socket.socket(socket.AF_UNIX)) as others:
        path.unlink()
        assert not is_in_place(path, opened)
        others.bind(str(path))
        others.listen()
        assert not is_in_place(path, opened)
        assert name_listened_at(others) == ""
    with suppress(OSError), closing(socket.create_server(("127.0.0.1", 0))) as at_port:
        assert name_listened_at(at_port) == ""
