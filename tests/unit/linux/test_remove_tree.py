"""Whatever a program leaves in a directory, the directory can be removed, and nothing outside it is touched."""

import asyncio
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.linux import removals as module
from reconciler.linux.files import is_leftover, remove, set_aside
from reconciler.linux.removals import Removals
from reconciler.linux.remove_tree import remove_tree
from tests.support.eventually import eventually, soon


def nest(top: Path, levels: int, name: str = "d") -> None:
    """Make directories inside each other, far beyond what a path can name."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        below = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.mkfifo("pipe", dir_fd=here)
    os.close(here)


@contextmanager
def few_descriptors() -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 20, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A directory with some of each kind of file, and with links out of it."""
    top = tmp_path / "full"
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "file").write_text("x")
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "a" / "socket"))
    (top / os.fsdecode(b"\xff\n")).mkdir()
    (top / ("n" * 255)).mkdir()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "data").write_text("x")
    (top / "link").symlink_to(tmp_path / "precious")
    (top / "a" / "b" / "up").symlink_to("../../..")
    (top / "dangling").symlink_to("/nowhere")
    return top


def test_all_kinds_of_files_are_removed_and_no_link_is_followed(full: Path) -> None:
    assert remove_tree(full)
    assert [path.name for path in full.parent.iterdir()] == ["precious"]
    assert (full.parent / "precious" / "data").read_text() == "x"


def test_a_link_in_the_place_of_the_directory_is_removed_and_not_followed(full: Path) -> None:
    link = full.parent / "other"
    link.symlink_to(full)
    assert remove_tree(link)
    assert (full / "a" / "file").exists()


@pytest.mark.parametrize("name", ["d", "n" * 255], ids=["many levels", "a path of two million bytes"])
def test_any_depth_is_removed_with_few_descriptors(tmp_path: Path, name: str) -> None:
    top = tmp_path / "top"
    top.mkdir()
    nest(top, 8000, name)
    with few_descriptors():
        assert remove_tree(top)
    assert not top.exists()


def test_a_pipe_in_the_place_of_the_directory_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert remove_tree(tmp_path / "pipe")
    assert remove_tree(tmp_path / "pipe")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_more_entries_than_are_read_at_a_time_is_removed(tmp_path: Path) -> None:
    for number in range(10_500):
        (tmp_path / "top" / str(number)).mkdir(parents=True)
    assert remove_tree(tmp_path / "top")


def test_a_directory_that_its_owner_may_not_enter_is_removed(full: Path) -> None:
    (full / "a").chmod(0)
    assert remove_tree(full)


def test_what_has_the_longest_name_can_be_set_aside(tmp_path: Path) -> None:
    for name in ("n" * 255, "ü" * 127, os.fsdecode(b"\xff" * 255)):
        (tmp_path / name).mkdir()
        gone = set_aside(tmp_path / name)
        assert gone is not None
        assert is_leftover(gone.name)
        remove(gone)
    assert list(tmp_path.iterdir()) == []


def test_removals_hide_at_once_and_remove_beside_the_loop(full: Path) -> None:
    async def story() -> None:
        removals = Removals()
        removals.begin(full)
        assert not full.exists()
        removals.begin(full)
        full.mkdir()
        nest(full, 2000)
        await removals.remove(full)
        assert not full.exists()
        await removals.remove(full)

    asyncio.run(story())
    eventually(lambda: [path.name for path in full.parent.iterdir()] == ["precious"])


def test_a_removal_that_takes_long_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOMENT_S", 0.01)
    goes_on = threading.Event()

    def slow(path: Path) -> bool:
        goes_on.wait()
        return remove_tree(path)

    async def story() -> None:
        removals = Removals()
        for number in range(4):
            (tmp_path / str(number)).mkdir()
            await removals.remove(tmp_path / str(number))
            assert not (tmp_path / str(number)).exists()
        goes_on.set()
        await soon(lambda: list(tmp_path.iterdir()) == [])

    monkeypatch.setattr(module, "remove_tree", slow)
    asyncio.run(story())
