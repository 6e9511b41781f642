"""Whether git is changing the files of a source, by the lock that it holds meanwhile."""

import os
import time
from pathlib import Path

import pytest

from reconciler.staging.source.checkouts import is_being_checked_out

NOW_S = 0.0


def locked(directory: Path, age_s: float = 0.0) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / "index.lock"
    lock.touch()
    made_ns = time.time_ns() - int(age_s * 1e9)
    os.utime(lock, ns=(made_ns, made_ns))
    return lock


def test_the_lock_of_the_working_tree_that_a_source_is_in_counts(tmp_path: Path) -> None:
    source = tmp_path / "repository" / "apps" / "shop"
    source.mkdir(parents=True)
    lock = locked(tmp_path / "repository" / ".git")
    assert is_being_checked_out(str(source), NOW_S)
    assert is_being_checked_out(str(tmp_path / "repository"), NOW_S)
    assert not is_being_checked_out(str(tmp_path), NOW_S)
    lock.unlink()
    assert not is_being_checked_out(str(source), NOW_S)


@pytest.mark.parametrize("pointer", ["{here}/.git/worktrees/shop", "../repository/.git/worktrees/shop"])
def test_a_linked_working_tree_has_a_lock_of_its_own(tmp_path: Path, pointer: str) -> None:
    repository, tree = tmp_path / "repository", tmp_path / "shop"
    tree.mkdir()
    (tree / ".git").write_text(f"gitdir: {pointer.format(here=repository)}\n")
    lock = locked(repository / ".git" / "worktrees" / "shop")
    assert is_being_checked_out(str(tree), NOW_S)
    lock.rename(repository / ".git" / "index.lock")
    assert not is_being_checked_out(str(tree), NOW_S)


def test_a_lock_that_was_there_long_before_is_one_that_a_killed_git_left_behind(tmp_path: Path) -> None:
    locked(tmp_path / ".git", age_s=3600.0)
    assert not is_being_checked_out(str(tmp_path), 0.0)
    assert is_being_checked_out(str(tmp_path), 3600.0), "the checkout takes that long"


@pytest.mark.parametrize("text", ["", "gitdir", "gitdir: /nowhere\n", "gitdir: " + "x" * 5000])
def test_what_is_no_git_directory_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / ".git").write_text(text)
    assert not is_being_checked_out(str(tmp_path), NOW_S)
