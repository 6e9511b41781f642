"""What is read of the commit in force: its manifests, and none that nobody has held against the fence."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from reconciler.manifests.git.git_origin import GitOrigin
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.git.tree_limits import Entry
from reconciler.manifests.git.trees import Trees
from reconciler.manifests.origin import Listing
from reconciler.settings.git import GitOrigin as Settings
from reconciler.settings.git import Repository
from reconciler.state.paths import StatePaths

COMMIT = "1" * 40
SETTINGS = Settings(
    name="fleet", repository=Repository(name="fleet", urls=("/fleet.git",)), branch="main", host="web1", whole=False
)


def read(state: Path, files: Mapping[str, str], invalid: frozenset[str]) -> Mapping[str, bytes | str]:
    """The manifests of a commit with these files, of which some were invalid when it was judged."""
    paths, batch, entries = StatePaths(state=state), state / "batch", {}
    with batch.open("wb") as objects:
        for path, text in files.items():
            content = text.encode()
            size = len(content)
            named = hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest()
            entries[path] = Entry(kind="file", id=named, size=size)
            objects.write(f"{named} blob {size}\n".encode() + content + b"\n")
    trees = Trees(paths.origin("fleet"))
    trees.write(Index(commit=COMMIT, files=entries, invalid=invalid), batch, None)
    trees.take_effect(COMMIT)
    found = GitOrigin(SETTINGS, paths).read()
    assert isinstance(found, Listing)
    return found.files


def test_a_manifest_that_only_a_newer_version_understands_waits_for_the_next_commit(tmp_path: Path) -> None:
    beyond = "path: shop\nenv: {KEY: {file: /etc/reconciler/key}}\n"
    found = read(tmp_path, {"blog.yaml": "path: blog\n", "shop.yaml": beyond}, frozenset({"shop.yaml"}))
    assert found["fleet/blog.yaml"] == b"path: blog\n"
    assert str(found["fleet/shop.yaml"]).endswith("it takes effect with the next commit, which is judged")


def test_a_manifest_that_is_still_invalid_is_told_with_its_place(tmp_path: Path) -> None:
    found = read(tmp_path, {"shop.yaml": "wrokers: 2\n"}, frozenset({"shop.yaml"}))
    assert found == {"fleet/shop.yaml": b"wrokers: 2\n"}
