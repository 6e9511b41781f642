"""The kernel itself keeps a path below a directory, whatever `..`, links and the links of /proc say."""

import errno
import os
from pathlib import Path

import pytest

from reconciler.linux.beneath import directory, open_beneath


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "top"
    (top / "a" / "b").mkdir(parents=True)
    (top / "file").write_text("inside")
    (top / "a" / "up").symlink_to("../file")
    (top / "a" / "out").symlink_to("../../secret")
    (top / "absolute").symlink_to(tmp_path / "secret")
    (top / "deep").symlink_to("a")
    (top / "magic").symlink_to("/proc/self/root")
    return top


def content(top: Path, path: str, *, links: bool = True) -> str:
    with directory(top) as root, os.fdopen(open_beneath(root, path, links=links)) as file:
        return file.read()


@pytest.mark.parametrize("path", ["file", "a/b/../../file", "a/up", "./deep/up"])
def test_what_is_inside_is_opened(top: Path, path: str) -> None:
    assert content(top, path) == "inside"


@pytest.mark.parametrize(
    "path", ["../secret", "a/out", "absolute", "a/../../secret", "/etc/passwd", "deep/../../secret", "magic/etc/passwd"]
)
def test_what_is_outside_is_refused(top: Path, path: str) -> None:
    with pytest.raises(OSError, match=r"cross-device|Too many levels") as found:
        content(top, path)
    assert found.value.errno in (errno.EXDEV, errno.ELOOP)


def test_links_can_be_refused_altogether(top: Path) -> None:
    with pytest.raises(OSError, match="Too many levels"):
        content(top, "a/up", links=False)


def test_a_file_that_is_missing_and_a_path_that_is_none_are_told_apart(top: Path) -> None:
    with pytest.raises(FileNotFoundError):
        content(top, "missing")
    with pytest.raises(OSError, match="Invalid argument"):
        content(top, "a\0b")


def test_a_pipe_is_not_waited_for_and_no_descriptor_is_inherited(top: Path) -> None:
    os.mkfifo(top / "pipe")
    with directory(top) as root:
        opened = open_beneath(root, "pipe")
        try:
            assert not os.get_inheritable(opened)
        finally:
            os.close(opened)


def test_the_directory_itself_may_be_no_link(top: Path) -> None:
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"), directory(top / "deep"):
        pass
