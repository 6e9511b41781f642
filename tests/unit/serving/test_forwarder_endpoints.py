"""Where a program listens for its forwarder: what a path has no room for, and what others have left there."""

import os
from pathlib import Path

import pytest

from reconciler.serving.forwarder.endpoints import UnixSocket, endpoint_of
from reconciler.serving.forwarder.gate import Gate


def deep(root: Path, length: int) -> Path:
    """A directory whose path has so many bytes, in letters of two."""
    left = length - len(os.fsencode(root)) - 1
    found = root / ("ä" * (left // 2) + "x" * (left % 2))
    found.mkdir()
    return found


def test_a_path_without_room_for_a_socket_is_exchanged_and_what_a_killed_one_left_there_is_removed(
    tmp_path: Path,
) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    ours, other = scratch / f"socket-{os.getpid()}", scratch / "socket-4194305"  # above any pid
    for abandoned in (ours, other):
        abandoned.touch()
    endpoint = UnixSocket(deep(tmp_path, 101), scratch)
    assert endpoint.variables == {"SOCKET": str(ours)}
    assert list(scratch.iterdir()) == []
    assert endpoint.absent() == "it has not opened $SOCKET yet"


def test_a_path_is_counted_in_bytes(tmp_path: Path) -> None:
    directory = deep(tmp_path, 100)
    assert UnixSocket(directory, tmp_path).variables == {"SOCKET": f"{directory}/socket"}


def test_a_state_directory_without_room_for_any_socket_is_refused(tmp_path: Path) -> None:
    directory = deep(tmp_path, 120)
    with pytest.raises(OSError, match="too long for a unix socket"):
        endpoint_of("socket", directory, directory)


def test_what_cannot_be_told_for_a_full_disk_keeps_no_program_from_starting(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    gate = Gate(directory=absent, wakeup_file=absent, path=None, host="", timeout_s=2.0, start_timeout_s=60.0)
    gate.name_program("node")
    gate.tell("it does not listen yet")
    gate.reject("it ended")
    assert gate.told == "it ended"
