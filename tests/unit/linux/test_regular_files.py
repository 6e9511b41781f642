"""Files that strangers write: only regular ones are read, within bounds of size and place, and never waited for."""

import os
import socket
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.linux.regular_files import UnfitFile, append_to, read_file, read_now, read_record, written_anew
from tests.support.hostile_files import a_huge_file, a_pipe, an_endless_file

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


def test_a_small_file_is_read_without_the_memory_that_a_large_one_would_take(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    tracemalloc.start()
    try:
        assert read_file(tmp_path / "file", 64 << 20) == b"12345"
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


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


_HOSTILE = """
import resource, signal, sys
from pathlib import Path
from reconciler.linux.processes import open_output
from reconciler.linux.regular_files import append_to, read_own, read_record, written_anew
from reconciler.serving import gate_figures_reader, logs
from reconciler.staging import staged
from reconciler.staging.environments.integrity import damaged
from reconciler.staging.log import Log

signal.alarm(20)
resource.setrlimit(resource.RLIMIT_AS, (512 << 20, 512 << 20))
file = Path(sys.argv[1])
"""


def bounded(expression: str, path: Path) -> str:
    """Return what an expression over `file` comes to, in a process that may neither wait nor swell."""
    told = f"try:\n    print({expression})\nexcept (OSError, ValueError) as error:\n    print(type(error).__name__)\n"
    done = subprocess.run((sys.executable, "-c", _HOSTILE + told, path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("make", [a_pipe, an_endless_file, a_huge_file])
@pytest.mark.parametrize(
    ("name", "reading", "found"),
    [
        ("record.json", "read_record(file, 1000)", {"UnfitFile", "OSError", "ValueError"}),
        ("123", "gate_figures_reader.last_busy([file]) is None", {"True", "False"}),
        ("123", "gate_figures_reader.of_instance(file.parent).requests", {"0"}),
        ("figures.json", "gate_figures_reader.of_app(file.parent / 'passed').requests", {"0"}),
        ("build.json", "staged.read(file.parent, 'boot')", {"None"}),
        ("commands.json", "staged.commands_of(file.parent).release", {""}),
        ("files.txt", "damaged(file.parent)", {"('files.txt',)"}),
    ],
)
def test_a_file_of_ours_that_an_app_replaced_is_read_within_bounds(
    tmp_path: Path, make: Callable[[Path], None], name: str, reading: str, found: set[str]
) -> None:
    make(tmp_path / name)
    assert bounded(reading, tmp_path / name) in found


@pytest.mark.parametrize("make", [a_pipe, an_endless_file])
@pytest.mark.parametrize(
    "opening", ["append_to(file)", "open_output(file)", "Log(file).step('begins')", "logs.unwritable(file, 0o600)"]
)
def test_what_is_no_file_in_the_place_of_a_log_is_removed_and_told_in_the_new_one(
    tmp_path: Path, make: Callable[[Path], None], opening: str
) -> None:
    make(tmp_path / "app.log")
    bounded(opening, tmp_path / "app.log")
    first = (tmp_path / "app.log").read_text().splitlines()[0]
    kind = "a named pipe" if make is a_pipe else "a symbolic link"
    assert first == f"reconciler: {kind} was in the place of this log, and was removed"


def test_a_log_that_an_app_made_a_link_of_leaves_what_it_leads_to_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("kept")
    (tmp_path / "app.log").symlink_to("precious")
    os.close(append_to(tmp_path / "app.log"))
    assert (tmp_path / "precious").read_text() == "kept"


def test_a_log_is_appended_to_and_its_writers_wait_for_the_disk(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_text("one\n")
    with os.fdopen(append_to(tmp_path / "app.log"), "ab") as log:
        assert os.get_blocking(log.fileno())
        log.write(b"two\n")
    assert (tmp_path / "app.log").read_text() == "one\ntwo\n"
    with pytest.raises(IsADirectoryError):
        append_to(tmp_path)


def test_the_output_of_a_tool_is_not_written_into_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert bounded("written_anew(file)", tmp_path / "pipe") == "OSError"
    (tmp_path / "file").write_text("old and long")
    with os.fdopen(written_anew(tmp_path / "file"), "wb") as file:
        file.write(b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_record_that_is_nested_without_end_is_no_record(tmp_path: Path) -> None:
    (tmp_path / "record").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="nested too deeply"):
        read_record(tmp_path / "record", 1 << 20)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a device")
def test_a_device_in_the_place_of_a_log_is_refused_and_stays(tmp_path: Path) -> None:
    null = tmp_path / "null"
    os.mknod(null, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with pytest.raises(UnfitFile, match="it is a device, not a file"):
        append_to(null)
    assert stat.S_ISCHR(null.lstat().st_mode)


def test_what_is_the_hosts_is_never_removed_in_the_place_of_a_log() -> None:
    with pytest.raises(OSError, match="symbolic link"):
        append_to("/proc/self/cwd")
    assert Path("/proc/self/cwd").is_symlink()


def test_what_has_nothing_to_say_yet_is_empty_and_is_not_waited_for() -> None:
    reading, writing = os.pipe2(os.O_NONBLOCK)
    with os.fdopen(reading, "rb") as file, os.fdopen(writing, "wb", buffering=0) as speaker:
        assert read_now(file, 10) == b""
        speaker.write(b"now")
        assert read_now(file, 10) == b"now"
