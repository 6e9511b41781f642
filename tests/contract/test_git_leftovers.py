"""What was fetched for an origin or a source that nothing names any more: kept for a week, then removed."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import pytest

from reconciler.daemon.git_leftovers import GitLeftovers
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.linux.file_lock import try_lock
from reconciler.manifests.catalog import Catalog
from reconciler.manifests.git.directories import Directories
from reconciler.manifests.git.tree_index import Index
from reconciler.manifests.manifest_file import ManifestFile
from reconciler.planning.apps.app import App
from reconciler.planning.apps.git_source import Followed, GitSource
from reconciler.planning.apps.revision import Source
from reconciler.settings.git import GitOrigin, Repository
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.schema import open_database

WEEK = 7 * 24
MAIN = Followed(repository="code", branch="main")
TREE, OTHER = "a" * 40, "b" * 40


@dataclass(slots=True)
class Manifests:
    """What the manifests ask for."""

    catalog: Catalog = field(default_factory=Catalog)


@dataclass(slots=True)
class Host:
    """A host on whose disk is what was fetched for the origin `fleet` and the source `code@main`."""

    settings: Settings
    records: Records
    journal: Journal
    manifests: Manifests = field(default_factory=Manifests)

    @property
    def paths(self) -> StatePaths:
        return self.settings.paths

    def look(self, hours: int = 1) -> tuple[str, ...]:
        manifests = cast("ManifestLoop", self.manifests)
        return asyncio.run(GitLeftovers(self.settings, manifests, self.records, self.journal).look(hours))

    def kept(self) -> set[str]:
        found = [*self.paths.git.iterdir(), *(self.paths.state / "origins").iterdir(), *self.paths.sources.iterdir()]
        return {path.name for path in found if path.is_dir()}


def app(tree: str) -> App:
    return App(
        name="shop",
        manifest="/m/shop.yaml",
        source=Source(path=tree, pinned="tree:x"),
        address=None,
        in_git=GitSource(followed=MAIN),
    )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    paths = StatePaths(state=tmp_path / "state")
    for directory in (paths.git / "fleet.git", paths.git / "code@main.git", paths.origin("fleet") / "trees"):
        directory.mkdir(parents=True)
    (paths.source("code@main") / "commits").mkdir(parents=True)
    shared = Directories(paths.source("code"))
    for tree in (TREE, OTHER):
        shared._trees.write_from(Index(commit=tree), iter(()), None)
    with closing(open_database(paths.database)) as database:
        yield Host(Settings(manifests=tmp_path, paths=paths), Records(database), Journal(database))


ALL: Mapping[str, set[str]] = {
    "fleet": {"fleet.git", "fleet"},
    "code@main": {"code@main.git", "code@main", "code"},
}


def test_what_nothing_names_is_kept_for_a_week_and_then_removed_and_told(host: Host) -> None:
    assert host.look(WEEK) == ()
    assert host.kept() == ALL["fleet"] | ALL["code@main"]
    assert host.look() == ("code@main", "fleet")
    assert host.kept() == set()
    told = [event.text for event in host.journal.newest(None, 10)]
    assert told == ["what was fetched for code@main, fleet, which nothing has named for a week"]
    assert host.look() == ()


def test_what_is_named_again_begins_anew(host: Host) -> None:
    host.look(WEEK)
    origin = GitOrigin(name="fleet", repository=Repository(name="fleet", urls=()), host="", branch="main")
    named, host.settings = replace(host.settings, origins=(origin,)), host.settings
    unnamed, host.settings = host.settings, named
    assert host.look() == ("code@main",)
    host.settings = unnamed
    assert host.look(WEEK) == ()
    assert host.look() == ("fleet",)


def test_what_an_app_takes_and_an_origin_whose_apps_are_in_force_stay(host: Host) -> None:
    top = Directories(host.paths.source("code")).top
    file = ManifestFile(file="fleet/blog.yaml", origin="fleet")
    host.manifests.catalog = Catalog(apps={"shop": app(f"{top}/{TREE}")}, files={file.file: file})
    assert host.look(WEEK) == ()
    assert host.look(WEEK) == ()
    assert host.kept() == ALL["fleet"] | ALL["code@main"]
    assert {path.name for path in top.iterdir() if path.is_dir()} == {TREE}


def test_a_directory_that_an_app_has_read_stays_though_nothing_is_followed(host: Host) -> None:
    top = Directories(host.paths.source("code")).top
    host.records.set_source("shop", Source(path=f"{top}/{TREE}", pinned="tree:x"), "content")
    host.look(WEEK)
    assert host.look() == ("code@main", "fleet")
    assert {path.name for path in top.iterdir() if path.is_dir()} == {TREE}


def test_a_store_that_a_process_writes_to_is_not_removed_meanwhile(host: Host) -> None:
    host.look(WEEK)
    lock = try_lock(host.paths.git / "code@main.lock")
    assert lock is not None
    try:
        assert host.look() == ("fleet",)
    finally:
        os.close(lock)
    assert "code@main.git" in host.kept()
    assert host.look() == ("code@main",)
