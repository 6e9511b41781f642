"""Files that are replaced: whole whatever ends the writer, with the mode asked for, and on the disk in time."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reconciler.linux.files import draft, leftovers_of, replace_file, replacing, set_aside

_WRITER = """
import sys
from pathlib import Path
from reconciler.linux.files import replace_file

print("started", flush=True)
while True:
    for letter in "ab":
        replace_file(Path(sys.argv[1]), letter * 300_000, durable=False)
"""

# A process whose files can hold no more than 1000 bytes: every longer write fails half-way.
_FULL = """
import resource, sys
from pathlib import Path
from reconciler.linux.files import replace_file

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    replace_file(Path(sys.argv[1]), "b" * 5000)
except OSError as error:
    print(error.strerror)
"""


def names(directory: Path) -> list[str]:
    return [entry.name for entry in directory.iterdir()]


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    contents = "a" * 300_000, "b" * 300_000
    for after_ms in (1, 3, 7, 12, 20):
        file.write_text(contents[0])
        with subprocess.Popen([sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            until = time.monotonic() + after_ms / 1000
            seen = set()
            while time.monotonic() < until:
                seen.add(file.read_text())
            writer.send_signal(signal.SIGKILL)
        assert {file.read_text(), *seen} <= set(contents)
        replace_file(file, "the draft that was left is no obstacle")
        assert names(tmp_path) == ["file"]


def test_a_write_that_fails_half_way_changes_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    run = subprocess.run([sys.executable, "-c", _FULL, str(file)], capture_output=True, text=True, check=True)
    assert run.stdout == "File too large\n"
    assert (file.read_text(), names(tmp_path)) == ("before", ["file"])


def test_the_mode_is_exact_whatever_the_umask_and_the_file_before(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("before")
    file.chmod(0o666)
    before = os.umask(0o077)
    try:
        replace_file(file, b"\x00bytes", mode=0o644)
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"\x00bytes", 0o644)
        replace_file(file, "secret")
        assert file.stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("target")
    (tmp_path / "file").symlink_to("target")
    (tmp_path / ".file.draft").symlink_to("target")
    replace_file(tmp_path / "file", "new")
    assert ((tmp_path / "target").read_text(), (tmp_path / "file").is_symlink()) == ("target", False)


def test_a_durable_file_is_synced_before_its_name_and_its_directory_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, bool]] = []
    sync = os.fsync

    def recorded(descriptor: int) -> None:
        steps.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), (tmp_path / "file").exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", recorded)
    replace_file(tmp_path / "file", "content")
    assert steps == [(str(tmp_path / ".file.draft"), False), (str(tmp_path), True)]
    replace_file(tmp_path / "file", "content", durable=False)
    assert len(steps) == 2


def test_an_interrupted_context_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")

    def interrupted() -> None:
        with replacing(tmp_path / "file") as draft:
            draft.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert ((tmp_path / "file").read_text(), names(tmp_path)) == ("before", ["file"])


def test_the_leftovers_of_a_name_are_of_no_other_name(tmp_path: Path) -> None:
    long = "x" * 60
    made = {name: [draft(tmp_path, name)] for name in ("shop.git", "web-shop.git", "shop.git-2", long)}
    for name, paths in made.items():
        paths[0].mkdir()
        (tmp_path / name).mkdir()
        gone = set_aside(tmp_path / name)
        assert gone is not None
        paths.append(gone)
    for name, paths in made.items():
        assert sorted(leftovers_of(tmp_path, name)) == sorted(paths)
