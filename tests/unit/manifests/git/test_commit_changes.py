"""What two commits differ in is read as git prints it, and leads to the same files as the listing of the newer one."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.manifests.git.commit_changes import Change, changes_of
from reconciler.manifests.git.tree_limits import Limits, Tree, TreeReader, UnfitTree

NONE, ONE, OTHER = "0" * 40, "1" * 40, "2" * 40
LIMITS = Limits(files=6, file_size=100, total_size=250, path_length=60, depth=3)
PATHS = ("hosts", "apps/shop")


def printed(before: str, after: str, path: str, one: str = ONE, other: str = OTHER) -> bytes:
    return f":{before} {after} {one} {other} M".encode() + b"\0" + path.encode() + b"\0"


def test_files_and_directories_that_differ_are_told_apart() -> None:
    found = changes_of(
        printed("040000", "040000", "apps")
        + printed("100644", "100755", "apps/run")
        + printed("000000", "100644", "apps/new", NONE)
        + printed("120000", "000000", "apps/link", ONE, NONE)
        + printed("040000", "000000", "lib", ONE, NONE)
        + printed("000000", "160000", "lib", NONE)
    )
    assert found is not None
    assert found.directories == {"apps": OTHER}
    assert found.directories_gone == {"lib"}
    assert [*found.gone] == [b"apps/run", b"apps/link"]
    assert [*found.files] == [
        Change(mode=b"100755", id=OTHER, path=b"apps/run"),
        Change(mode=b"100644", id=OTHER, path=b"apps/new"),
        Change(mode=b"160000", id=OTHER, path=b"lib"),
    ]


@pytest.mark.parametrize("text", [b"x", b":1 2\0a\0", b":100644 100644 1 2 M\0", b"100644 100644 1 2 M\0a\0", b"\0"])
def test_what_is_not_known_or_incomplete_is_nothing(text: bytes) -> None:
    assert changes_of(text) is None


def test_no_difference_is_one_too() -> None:
    found = changes_of(b"")
    assert found is not None
    assert ([*found.files], [*found.gone], found.directories) == ([], [], {})


def line(path: str, size: int) -> bytes:
    return f"100644 blob {ONE} {size:>7}\t{path}".encode() + b"\0"


def whole(files: Mapping[str, int]) -> tuple[Tree, TreeReader]:
    reader = TreeReader(LIMITS, PATHS)
    reader.read(b"".join(line(path, size) for path, size in files.items()))
    return reader.end(), reader


NAMES = st.sampled_from(["a", "b", "hosts", "shop", "apps", ".git"])
FILES = st.dictionaries(st.lists(NAMES, min_size=1, max_size=4).map("/".join), st.integers(0, 110), max_size=8)


@given(FILES, FILES)
def test_what_was_read_of_one_commit_and_what_differs_come_to_what_the_other_one_is(
    one: dict[str, int], other: dict[str, int]
) -> None:
    try:
        _, reader = whole(one)
    except UnfitTree:
        return
    kept = reader.without(path for path, size in one.items() if other.get(path) != size)
    new = {path: size for path, size in other.items() if one.get(path) != size}
    try:
        expected = whole(other)[0]
    except UnfitTree:
        expected = None
    try:
        kept.read(b"".join(line(path, size) for path, size in new.items()))
        found = kept.end()
    except UnfitTree:
        found = None
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (dict(found.files), found.paths, found.absent) == (dict(expected.files), expected.paths, expected.absent)
    assert dict(reader.end().files) == dict(whole(one)[0].files), "the one before is as it was"
