"""Files that strangers write: only regular ones are read, within bounds of size and place, and never waited for."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.linux.regular_files import UnfitFile, read_file

# A reader that waits, or takes more than it may, is ended by the kernel, and the test fails.
_LIMITED = """
import resource, signal, sys
from reconciler.linux.regular_files import UnfitFile, read_file

signal.alarm(20)
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
try:
    read_file(sys.argv[1], 1 << 20)
except UnfitFile as error:
    print(error.strerror)
"""


def refusal(path: Path) -> str:
    done = subprocess.run((sys.executable, "-c", _LIMITED, path), capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    assert read_file(tmp_path / "file", 5) == b"12345"
    with pytest.raises(UnfitFile, match="larger than 4 bytes"):
        read_file(tmp_path / "file", 4)


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == "it is a named pipe, not a file"


def test_a_link_to_a_device_is_refused(tmp_path: Path) -> None:
    (tmp_path / "zero").symlink_to("/dev/zero")
    assert refusal(tmp_path / "zero") == "it is a device, not a file"


def test_a_sparse_file_is_refused_for_its_size(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    assert refusal(tmp_path / "sparse") == "it is larger than 1 MiB"


def test_a_directory_and_a_socket_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnfitFile, match="it is a directory, not a file") as raised:
        read_file(tmp_path, 5)
    assert raised.value.filename == str(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        with pytest.raises(UnfitFile, match="it is a socket"):
            read_file(tmp_path / "socket", 5)


def test_a_link_is_followed_only_within_its_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "file").write_bytes(b"in")
    (tmp_path / "file").write_bytes(b"out")
    (inside / "good").symlink_to("file")
    (inside / "up").symlink_to("../file")
    (inside / "parent").symlink_to("..")
    assert read_file(inside / "good", 5, within=inside) == b"in"
    assert read_file(inside / "up", 5) == b"out"
    for path in (inside / "up", inside / "parent" / "file"):
        with pytest.raises(UnfitFile, match="leads out of the source"):
            read_file(path, 5, within=inside)


def test_a_missing_file_and_a_circle_of_links_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(FileNotFoundError):
        read_file(tmp_path / "missing", 5)
    with pytest.raises(OSError, match="symbolic links"):
        read_file(tmp_path / "circle", 5)
