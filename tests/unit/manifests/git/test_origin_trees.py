"""A directory that several commits have is on the disk once, and is as its commit has it."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from reconciler.manifests.git.origin_trees import OriginTrees, shared_directories
from reconciler.manifests.git.tree_index import Index, divided
from reconciler.manifests.git.tree_limits import Entry, Tree
from reconciler.manifests.git.trees import Trees
from tests.support.site import REPOSITORY
from tests.unit.manifests.git.test_trees import FIRST, SECOND, THIRD, entries, object_id

APPS = {f"apps/app{number}/wsgi.py": f"application = {number}\n" for number in range(5)}
FILES = {**APPS, "hosts/app0.yaml": "path: ../apps/app0\n", "README": "read\n"}


def tree_id(path: str, files: Mapping[str, str]) -> str:
    """A number for the files of a directory, which is the same for the same ones."""
    inside = sorted((name, text) for name, text in files.items() if name.startswith(f"{path}/"))
    return object_id(repr([(name[len(path) :], text) for name, text in inside]))


def index_of(commit: str, files: Mapping[str, str]) -> Index:
    shared = {path: tree_id(path, files) for path in [f"apps/app{number}" for number in range(5)]}
    own, inside = divided(entries(files), shared)
    return Index(commit=commit, files=own, shared=shared, inside=inside)


def write(trees: OriginTrees, commit: str, files: Mapping[str, str], before: str | None, batch: Path) -> list[str]:
    """Write a commit as git would print it; the texts that were asked for."""
    by_id = {object_id(text): text for text in files.values()}
    missing = trees.missing(index_of(commit, files), before)
    batch.write_text("".join(f"{each} blob {len(by_id[each])}\n{by_id[each]}\n" for each in missing))
    trees.write(index_of(commit, files), batch, before)
    return [by_id[each] for each in missing]


def read(trees: Trees, commit: str) -> dict[str, str]:
    top = trees.directory / "trees" / commit
    found = (Path(above, name) for above, _, names in os.walk(top, followlinks=True) for name in names)
    return {str(path.relative_to(top)): path.read_text() for path in found}


@pytest.fixture
def trees(tmp_path: Path) -> OriginTrees:
    return OriginTrees(tmp_path / "origin")


def test_a_commit_that_changes_one_directory_writes_that_one(trees: OriginTrees, tmp_path: Path) -> None:
    assert len(write(trees, FIRST, FILES, None, tmp_path / "batch")) == len(FILES)
    changed = {**FILES, "apps/app0/wsgi.py": "application = 'new'\n"}
    before = {path.name for path in trees.shared.top.iterdir()}
    assert write(trees, SECOND, changed, FIRST, tmp_path / "batch") == ["application = 'new'\n"]
    assert (read(trees, FIRST), read(trees, SECOND)) == (FILES, changed)
    new = tree_id("apps/app0", changed)
    assert {path.name for path in trees.shared.top.iterdir()} - before == {new, f"{new}.json"}
    assert trees.complete() == {FIRST, SECOND}


@pytest.mark.parametrize("harm", ["rewritten", "added", "removed", "lost", "linked"])
def test_a_directory_that_was_changed_on_the_disk_is_written_again(
    trees: OriginTrees, tmp_path: Path, harm: str
) -> None:
    write(trees, FIRST, FILES, None, tmp_path / "batch")
    write(trees, SECOND, {**FILES, "README": "more\n"}, FIRST, tmp_path / "batch")  # now all are known to be intact
    spoilt = trees.directory / "trees" / SECOND / "apps/app1/wsgi.py"
    before = spoilt.stat()
    if harm == "rewritten":
        spoilt.write_text(FILES["apps/app2/wsgi.py"])
        os.utime(spoilt, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif harm == "added":
        spoilt.with_name("more.py").write_text("x = 1\n")
    elif harm == "removed":
        spoilt.unlink()
    elif harm == "lost":
        for path in (spoilt, spoilt.parent.resolve()):
            path.unlink() if path.is_file() else path.rmdir()
        assert trees.complete() == frozenset()
    else:
        spoilt.unlink()
        spoilt.symlink_to("/etc/hostname")
    last = {**FILES, "README": "most\n"}
    write(trees, THIRD, last, SECOND, tmp_path / "batch")
    assert read(trees, THIRD) == last
    assert THIRD in trees.complete()


def test_what_no_commit_shares_any_more_is_removed_and_nothing_else(trees: OriginTrees, tmp_path: Path) -> None:
    other = {**FILES, "apps/app0/wsgi.py": "application = 'new'\n"}
    write(trees, FIRST, FILES, None, tmp_path / "batch")
    write(trees, SECOND, other, FIRST, tmp_path / "batch")
    trees.take_effect(SECOND)
    trees.tidy(1, ())
    assert trees.complete() == {SECOND}
    assert read(trees, SECOND) == other
    assert not (trees.shared.top / tree_id("apps/app0", FILES)).exists()
    assert sorted(path.name for path in (trees.directory / "trees").iterdir()) == [SECOND, f"{SECOND}.json"]


def test_nothing_is_removed_while_it_is_not_known_what_a_commit_shares(trees: OriginTrees, tmp_path: Path) -> None:
    write(trees, FIRST, FILES, None, tmp_path / "batch")
    trees.take_effect(FIRST)
    (trees.directory / "trees" / f"{FIRST}.json").write_text("{")
    trees.tidy(1, ())
    assert read(trees, FIRST) == FILES


def test_a_commit_that_an_earlier_version_wrote_is_complete_and_followed_by_one_that_shares(
    trees: OriginTrees, tmp_path: Path
) -> None:
    index = Index(commit=FIRST, files=entries(FILES))
    earlier, batch = Trees(trees.directory), tmp_path / "batch"
    batch.write_text("".join(f"{object_id(text)} blob {len(text)}\n{text}\n" for text in FILES.values()))
    assert len(earlier.missing(index, None)) == len(FILES)
    earlier.write(index, batch, None)
    trees.take_effect(FIRST)
    assert (trees.in_force(), trees.complete()) == (FIRST, frozenset({FIRST}))
    write(trees, SECOND, FILES, FIRST, tmp_path / "batch")
    trees.take_effect(SECOND)
    trees.tidy(2, ())
    assert (read(trees, FIRST), read(trees, SECOND)) == (FILES, FILES)


def lay(trees: OriginTrees, commit: str, files: Mapping[str, str], before: str | None, batch: Path) -> None:
    """Write a commit as the follower does, by the tree of one that is needed no more; have it take effect and tidy."""
    by_id = {object_id(text): text for text in files.values()}
    spare = trees.spare(commit, 3, (before, commit))
    missing = trees.missing(index_of(commit, files), before, spare)
    batch.write_text("".join(f"{each} blob {len(by_id[each])}\n{by_id[each]}\n" for each in missing))
    trees.write(index_of(commit, files), batch, before)
    trees.take_effect(commit)
    trees.tidy(3, (before, commit))


def commits(number: int) -> list[str]:
    return [f"{each + 1:040x}" for each in range(number)]


def top(trees: OriginTrees, commit: str) -> Path:
    return trees.directory / "trees" / commit


def test_the_tree_of_an_old_commit_becomes_that_of_a_new_one_and_only_what_differs_is_touched(
    trees: OriginTrees, tmp_path: Path
) -> None:
    names, before = commits(5), None
    for commit in names[:4]:
        lay(trees, commit, {**FILES, "README": f"{commit}\n"}, before, tmp_path / "batch")
        before = commit
    old = names[1]
    assert trees.complete() == {old, *names[2:4]}
    reused = [top(trees, old), *(top(trees, old) / name for name in ("hosts", "hosts/app0.yaml", "apps/app0"))]
    facts = [path.lstat() for path in reused]
    lay(trees, names[4], {**FILES, "README": "new\n"}, before, tmp_path / "batch")
    assert trees.complete() == set(names[2:])
    assert read(trees, names[4]) == {**FILES, "README": "new\n"}
    now = [
        path.lstat()
        for path in (top(trees, names[4]), *(top(trees, names[4]) / path.relative_to(reused[0]) for path in reused[1:]))
    ]
    assert [each.st_ino for each in now] == [each.st_ino for each in facts]
    assert [each.st_ctime_ns for each in now[1:]] == [each.st_ctime_ns for each in facts[1:]]


@pytest.mark.parametrize("harm", ["rewritten", "added", "removed", "linked", "turned", "led", "none"])
def test_nothing_of_an_old_tree_that_was_changed_on_the_disk_is_in_the_new_one(
    trees: OriginTrees, tmp_path: Path, harm: str
) -> None:
    names, before = commits(5), None
    for commit in names[:4]:
        lay(trees, commit, {**FILES, "README": f"{commit}\n"}, before, tmp_path / "batch")
        before = commit
    spoilt, secret = top(trees, names[1]) / "hosts/app0.yaml", tmp_path / "secret"
    secret.mkdir()
    if harm == "rewritten":
        spoilt.unlink()
        spoilt.write_text("path: ../apps/app9\n")
    elif harm == "added":
        (spoilt.parent / "more.yaml").write_text("path: /\n")
    elif harm == "removed":
        spoilt.unlink()
    elif harm == "linked":
        spoilt.unlink()
        spoilt.symlink_to("/etc/hostname")
    elif harm == "turned":
        spoilt.unlink()
        spoilt.parent.rmdir()
        spoilt.parent.symlink_to(secret)
    elif harm == "led":
        link = top(trees, names[1]) / "apps/app1"
        link.unlink()
        link.symlink_to(secret)
    last = {**FILES, "README": "new\n", "hosts/app1.yaml": "path: ../apps/app1\n"}
    lay(trees, names[4], last, before, tmp_path / "batch")
    assert read(trees, names[4]) == last
    assert [*secret.iterdir()] == []


def test_any_row_of_commits_is_on_the_disk_as_git_has_it(trees: OriginTrees, tmp_path: Path) -> None:
    chosen, before = random.Random(5), None
    names = ["README", "hosts/app0.yaml", "hosts/deep/er/x", "hosts/deep", "lib/y", "apps/app0/wsgi.py", "apps/z"]
    for commit in commits(40):
        files = {**APPS, "hosts/app9.yaml": "path: ../apps/app1\n"}
        for name in chosen.sample(names, chosen.randrange(len(names))):
            if not any(other.startswith(f"{name}/") or name.startswith(f"{other}/") for other in files):
                files[name] = f"{chosen.randrange(3)}\n"
        lay(trees, commit, files, before, tmp_path / "batch")
        before = commit
        assert read(trees, commit) == files
        held = [each for each in trees.complete() if read(trees, each) and each != commit]
        assert len(held) == min(2, int(commit, 16) - 1)


def die(directory: str, files: Mapping[str, str], at: int) -> None:
    """Be killed after so many objects of the commit after the fourth were written."""
    trees, names = OriginTrees(Path(directory)), commits(5)
    index, by_id = index_of(names[4], files), {object_id(text): text for text in files.values()}
    missing = trees.missing(index, names[3], trees.spare(names[4], 3, names[3:5]))

    def objects() -> Iterator[tuple[str, bytes]]:
        for each in missing[:at]:
            yield each, by_id[each].encode()
        os.kill(os.getpid(), signal.SIGKILL)

    trees.write_from(index, objects(), names[3])


@pytest.mark.parametrize("at", [0, 1])
def test_a_daemon_that_is_killed_while_it_changes_an_old_tree_leaves_all_others_and_nothing_of_it(
    trees: OriginTrees, tmp_path: Path, at: int
) -> None:
    names, before = commits(5), None
    for commit in names[:4]:
        lay(trees, commit, {**FILES, "README": f"{commit}\n"}, before, tmp_path / "batch")
        before = commit
    last = {**FILES, "README": "new\n", "hosts/app1.yaml": "path: ../apps/app1\n"}
    code = f"from {__name__} import die; die({str(trees.directory)!r}, {last!r}, {at})"
    killed = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False)
    assert killed.returncode == -9
    again = OriginTrees(trees.directory)
    assert again.in_force() == names[3]
    assert again.complete() == set(names[2:4])
    assert read(again, names[3]) == {**FILES, "README": f"{names[3]}\n"}
    lay(again, names[4], last, before, tmp_path / "batch")
    assert read(again, names[4]) == last
    kept = {name for each in again.complete() for name in (each, f"{each}.json")}
    assert {path.name for path in (trees.directory / "trees").iterdir()} == kept


def test_what_cannot_be_written_leaves_nothing_of_the_tree_that_was_changed(trees: OriginTrees, tmp_path: Path) -> None:
    names, before = commits(5), None
    for commit in names[:4]:
        lay(trees, commit, {**FILES, "README": f"{commit}\n"}, before, tmp_path / "batch")
        before = commit
    last = {**FILES, "README": "new\n"}
    trees.missing(index_of(names[4], last), before, trees.spare(names[4], 3, (before, names[4])))
    with pytest.raises(OSError, match="did not print 1 of"):
        trees.write_from(index_of(names[4], last), iter(()), before)
    assert trees.in_force() == names[3]
    assert trees.complete() == set(names[2:4])
    assert not [path.name for path in (trees.directory / "trees").iterdir() if path.name.startswith(".")]
    lay(trees, names[4], last, before, tmp_path / "batch")
    assert read(trees, names[4]) == last


def tree(*paths: str, links: tuple[str, ...] = (), files: tuple[str, ...] = ()) -> Tree:
    link, file = Entry(kind="link", id=FIRST, size=1), Entry(kind="file", id=FIRST, size=1)
    return Tree(files={**dict.fromkeys(files, file), **dict.fromkeys(links, link)}, paths=paths, absent=())


DIRECTORIES = {
    "": "t0",
    "hosts": "t1",
    "hosts/web1": "t2",
    "apps": "t3",
    "apps/shop": "t4",
    "apps/blog": "t5",
    "hosts/web1/shop": "t6",
}


@pytest.mark.parametrize(
    ("found", "named", "expected"),
    [
        (tree("hosts/web1", "apps/shop", "apps/blog"), ["apps/shop", "apps/blog"],
         {"apps/shop": "t4", "apps/blog": "t5"}),
        (tree("hosts/web1", "apps/shop", links=("apps/shop/link",)), ["apps/shop"], {}),
        (tree("hosts/web1", "apps", "apps/shop"), ["apps", "apps/shop"], {}),
        (tree("", "apps/shop"), ["apps/shop"], {"apps/shop": "t4"}),
        (tree("hosts/web1", "", "apps/shop"), ["", "apps/shop"], {}),
        (tree("hosts/web1", "apps/shop", "apps/shop/.env", files=("apps/shop/.env",)), ["apps/shop", "apps/shop/.env"],
         {"apps/shop": "t4"}),
        (tree("hosts/web1", "apps/shop", "hosts/web1/shop"), ["apps/shop", "hosts/web1/shop"],
         {"apps/shop": "t4", "hosts/web1/shop": "t6"}),
        (tree("hosts/web1", "hosts"), ["hosts"], {}),
        (tree("hosts/web1"), ["hosts/web1"], {}),
        (tree("gone", "apps/shop"), ["apps/shop", "README"], {"apps/shop": "t4"}),
    ],
)  # fmt: skip
def test_directories_that_stand_for_themselves_are_shared(
    found: Tree, named: list[str], expected: dict[str, str]
) -> None:
    assert shared_directories(found, named, found.paths[:1], DIRECTORIES) == expected
