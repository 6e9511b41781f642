"""A file that others write, too, is replaced as a whole, keeps its facts, and never over a change that was not seen."""

import os
import stat
import threading
from pathlib import Path

import pytest

from reconciler.linux.shared_files import (
    ChangedMeanwhile,
    make_private_directory,
    real_path,
    remove_file,
    rewrite,
    write_private,
)

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


def test_mode_and_extended_attributes_stay_and_no_draft_does(tmp_path: Path) -> None:
    file = tmp_path / "blog.yaml"
    file.write_bytes(b"a")
    file.chmod(0o640)
    try:
        os.setxattr(file, "user.note", b"kept")
    except OSError:
        pytest.skip("this file system has no extended attributes")
    rewrite(file, b"a", b"longer")
    assert file.read_bytes() == b"longer"
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert os.getxattr(file, "user.note") == b"kept"
    assert [*tmp_path.iterdir()] == [file]


@ROOT
def test_the_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "blog.yaml"
    file.write_bytes(b"a")
    os.chown(file, 12345, 23456)
    rewrite(file, b"a", b"b")
    assert (file.stat().st_uid, file.stat().st_gid) == (12345, 23456)


@pytest.mark.parametrize("now", [b"b", b"ab", b"", None])
def test_what_was_changed_meanwhile_is_left(tmp_path: Path, now: bytes | None) -> None:
    file = tmp_path / "blog.yaml"
    if now is not None:
        file.write_bytes(now)
    with pytest.raises(ChangedMeanwhile):
        rewrite(file, b"a", b"mine")
    assert (file.read_bytes() if file.exists() else None) == now
    assert {*tmp_path.iterdir()} <= {file}


def test_of_many_who_count_at_once_none_is_lost(tmp_path: Path) -> None:
    file = tmp_path / "count.yaml"
    file.write_bytes(b"0")

    def count() -> None:
        done = 0
        while done < 20:
            before = file.read_bytes()
            try:
                rewrite(file, before, str(int(before) + 1).encode())
            except ChangedMeanwhile:
                continue
            done += 1

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == b"80"


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    (tmp_path / "m").mkdir()
    target, link = tmp_path / "repository" / "blog.yaml", tmp_path / "m" / "blog.yaml"
    target.write_bytes(b"a")
    link.symlink_to("../repository/blog.yaml")
    rewrite(link, b"a", b"b")
    assert link.is_symlink()
    assert target.read_bytes() == b"b"


@ROOT
def test_a_link_that_another_user_made_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"a")
    link = tmp_path / "link"
    link.symlink_to("target")
    os.chown(link, 12345, 12345, follow_symlinks=False)
    with pytest.raises(OSError, match="another user made"):
        rewrite(link, b"a", b"b")
    with pytest.raises(OSError, match="another user made"):
        write_private(link, b"b", None)
    assert (tmp_path / "target").read_bytes() == b"a"


def test_a_circle_of_links_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        real_path(tmp_path / "a")


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_private_file_is_its_owners_alone_whatever_the_umask_and_whatever_was_there(
    tmp_path: Path, umask: int
) -> None:
    file = tmp_path / "secrets" / "blog.KEY"
    before = os.umask(umask)
    try:
        assert make_private_directory(file.parent, None)
        assert not make_private_directory(file.parent, None)
        assert write_private(file, b"one", None)
        file.chmod(0o644)
        assert not write_private(file, b"two", None)
    finally:
        os.umask(before)
    assert file.read_bytes() == b"two"
    assert [stat.S_IMODE(each.stat().st_mode) for each in (file, file.parent)] == [0o600, 0o700]
    assert remove_file(file)
    assert not remove_file(file)


def test_only_a_file_is_written_to_or_removed(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    with pytest.raises(OSError, match="not a file"):
        write_private(tmp_path / "pipe", b"x", None)
    with pytest.raises(OSError, match="not a file"):
        remove_file(tmp_path / "pipe")
