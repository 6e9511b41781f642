"""Files of a commit that the one before has too are linked, unless they changed on the disk since."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.trees import Trees

FIRST, SECOND, THIRD = "1" * 40, "2" * 40, "3" * 40
MANY = {f"app{number}/wsgi.py": f"application = {number}\n" for number in range(30)}  # so many directories


def entries(files: Mapping[str, str]) -> dict[str, Entry]:
    return {path: Entry(kind="file", id=object_id(text), size=len(text)) for path, text in files.items()}


def object_id(text: str) -> str:
    return hashlib.sha1(f"blob {len(text)}\0{text}".encode(), usedforsecurity=False).hexdigest()


def write(trees: Trees, commit: str, files: Mapping[str, str], before: str | None, batch: Path) -> list[str]:
    """Write a commit as git would print it; the objects that were asked for."""
    index = Index(commit=commit, files=entries(files))
    by_id = {object_id(text): text for text in files.values()}
    missing = trees.missing(index, before)
    batch.write_text("".join(f"{each} blob {len(by_id[each])}\n{by_id[each]}\n" for each in missing))
    trees.write(index, batch, before)
    return missing


@pytest.fixture
def trees(tmp_path: Path) -> Trees:
    return Trees(tmp_path / "origin")


def read(trees: Trees, commit: str) -> dict[str, str]:
    top = trees.directory / "trees" / commit
    return {str(path.relative_to(top)): path.read_text() for path in top.rglob("*") if path.is_file()}


def test_what_is_as_before_is_linked_and_nothing_else_is_asked_for(trees: Trees, tmp_path: Path) -> None:
    assert len(write(trees, FIRST, MANY, None, tmp_path / "batch")) == len(MANY)
    changed = {**MANY, "app0/wsgi.py": "application = 'new'\n", "lib/deep/er/x.py": "application = 1\n"}
    assert write(trees, SECOND, changed, FIRST, tmp_path / "batch") == [object_id("application = 'new'\n")]
    assert read(trees, SECOND) == changed
    files = [trees.directory / "trees" / commit / "app1/wsgi.py" for commit in (FIRST, SECOND)]
    assert files[0].samefile(files[1])


def test_what_was_changed_on_the_disk_is_asked_for_again(trees: Trees, tmp_path: Path) -> None:
    write(trees, FIRST, MANY, None, tmp_path / "batch")
    spoilt = trees.directory / "trees" / FIRST / "app1/wsgi.py"
    before = spoilt.stat()
    spoilt.write_text(MANY["app2/wsgi.py"])
    os.utime(spoilt, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert write(trees, SECOND, MANY, FIRST, tmp_path / "batch") == [object_id(MANY["app1/wsgi.py"])]
    assert read(trees, SECOND) == MANY
    # What was found out for a write that never came is not gone by.
    index = Index(commit=THIRD, files=entries(MANY))
    assert trees.missing(index, SECOND) == []
    (trees.directory / "trees" / SECOND / "app3/wsgi.py").unlink()
    assert trees.missing(index, SECOND) == [object_id(MANY["app3/wsgi.py"])]


def test_an_old_tree_is_removed_with_what_nobody_knows_of(trees: Trees, tmp_path: Path) -> None:
    for commit, before in ((FIRST, None), (SECOND, FIRST), (THIRD, SECOND)):
        write(trees, commit, MANY, before, tmp_path / "batch")
    (trees.directory / "trees" / FIRST / "app1/more").mkdir()
    (trees.directory / "trees" / SECOND / "app1/wsgi.py").unlink()
    trees.take_effect(THIRD)
    trees.tidy(1, ())
    assert sorted(path.name for path in (trees.directory / "trees").iterdir()) == [THIRD, f"{THIRD}.json"]
