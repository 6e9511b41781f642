"""Paths that lead elsewhere in the course of time: the real file system, the real kernel, and what is told of it."""

import asyncio
import errno
import os
import shutil
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reconciler.linux import followed_paths
from reconciler.linux.followed_paths import End, FollowedPath, FollowedPaths, Way, way_of
from reconciler.linux.inotify import Change, Watch
from reconciler.linux.inotify_descriptor import Inotify, Listener
from tests.support.eventually import soon


class Follower:
    """Somebody who renews a path whenever told to, as everything that follows paths does."""

    def __init__(self, paths: FollowedPaths, path: Path, end: End) -> None:
        self.changes: list[str] = []
        self.told = 0
        self.followed: FollowedPath = paths.follow(str(path), end, on_step=self._on_step, on_change=self._on_change)
        self.followed.renew()

    def _on_step(self) -> None:
        self.told += 1
        self.followed.renew()

    def _on_change(self, change: Change) -> None:
        self.changes.append(change.name)


@asynccontextmanager
async def following(path: Path, end: End) -> AsyncIterator[Follower]:
    follower = Follower(FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe)), path, end)
    try:
        yield follower
    finally:
        follower.followed.close()


def turn(link: Path, target: str) -> None:
    """Turn a link as deployment scripts do: by a rename."""
    beside = link.with_name("next")
    beside.symlink_to(target)
    beside.rename(link)


def leads(tmp_path: Path, path: str) -> str | None:
    """Return where a path leads, relative to the test's directory."""
    end = way_of(f"{tmp_path}/{path}").end
    return None if end is None else os.path.relpath(end, tmp_path)


def test_a_way_goes_through_links_of_every_kind(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "relative").symlink_to("a")
    (tmp_path / "absolute").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "up").symlink_to("../a/b")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").write_text("")
    found = {
        path: leads(tmp_path, path)
        for path in (
            "a/b",
            "relative/b",
            "absolute/b",
            "relative/up",
            "circle/b",
            "file",
            "file/b",
            "a/c/d",
            "a/../a/b",
        )
    }
    assert found == {
        "a/b": "a/b",
        "relative/b": "a/b",
        "absolute/b": "a/b",
        "relative/up": "a/b",
        "circle/b": None,
        "file": "file",
        "file/b": None,
        "a/c/d": None,
        "a/../a/b": "a/b",
    }


# What replaces a tree at `one/two/tree`, and where the path to it is then edited.
def _turned_link(base: Path) -> None:
    turn(base / "one", "new")


def _replaced_itself(base: Path) -> None:
    (base / "real" / "two" / "tree").rename(base / "old")
    shutil.copytree(base / "new" / "two" / "tree", base / "real" / "two" / "tree")


def _replaced_parent(base: Path) -> None:
    (base / "real" / "two").rename(base / "old")
    (base / "new" / "two").rename(base / "real" / "two")


def _replaced_grandparent(base: Path) -> None:
    (base / "real").rename(base / "old")
    (base / "new").rename(base / "real")


def _removed_and_made_again(base: Path) -> None:
    shutil.rmtree(base / "real")
    shutil.copytree(base / "new", base / "real")


_REPLACED = [_turned_link, _replaced_itself, _replaced_parent, _replaced_grandparent, _removed_and_made_again]


@pytest.mark.parametrize("replace", _REPLACED)
@pytest.mark.parametrize("end", ["tree", "folder", "file"])
def test_whatever_step_is_replaced_it_is_told_and_the_new_end_is_watched(
    tmp_path: Path, end: End, replace: Callable[[Path], None]
) -> None:
    for name in ("real", "new"):
        (tmp_path / name / "two" / "tree").mkdir(parents=True)
        (tmp_path / name / "two" / "tree" / "file").write_text(name)
    (tmp_path / "one").symlink_to("real")
    tree = tmp_path / "one" / "two" / "tree"

    async def main() -> None:
        async with following(tree / "file" if end == "file" else tree, end) as follower:
            replace(tmp_path)
            await soon(lambda: follower.told > 0 and (tree / "file").read_text() == "new")
            assert follower.followed.problem is None
            follower.changes.clear()
            (tree / "file").write_text("edited")
            await soon(lambda: "file" in follower.changes)

    asyncio.run(main())


@pytest.mark.parametrize("end", ["tree", "file"])
def test_a_path_of_which_nothing_is_there_is_followed_step_by_step(tmp_path: Path, end: End) -> None:
    path = tmp_path / "a" / "b" / "c"

    async def main() -> None:
        async with following(path, end) as follower:
            assert (follower.followed.leads_to, follower.followed.problem) == (None, None)
            path.parent.mkdir(parents=True)
            path.write_text("here")
            await soon(lambda: follower.followed.leads_to == str(path))
            follower.changes.clear()
            path.write_text("edited")
            await soon(lambda: "c" in follower.changes)

    asyncio.run(main())


def test_a_file_in_the_place_of_a_tree_is_watched_and_so_is_the_tree_that_replaces_it(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "one.zip").write_text("1")
        (tmp_path / "tree").mkdir()
        (tmp_path / "current").symlink_to("one.zip")
        async with following(tmp_path / "current", "tree") as follower:
            (tmp_path / "one.zip").write_text("2")
            await soon(lambda: "one.zip" in follower.changes)
            turn(tmp_path / "current", "tree")
            await soon(lambda: follower.followed.leads_to == str(tmp_path / "tree"))
            (tmp_path / "tree" / "new").write_text("")
            await soon(lambda: "new" in follower.changes)

    asyncio.run(main())


def test_what_happens_beside_a_path_is_not_told(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "tree").mkdir()
        async with following(tmp_path / "tree", "tree") as follower:
            for name in ("a", "b"):
                (tmp_path / name).write_text("")
            (tmp_path / "tree" / "last").write_text("")
            await soon(lambda: "last" in follower.changes)
            assert follower.told == 0

    asyncio.run(main())


def test_paths_that_share_steps_keep_them_until_the_last_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "file").write_text("")
        paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
        first, second = (Follower(paths, tmp_path / "file", "file") for _ in range(2))
        first.followed.close()
        (tmp_path / "file").write_text("edited")
        await soon(lambda: "file" in second.changes)
        assert first.changes == []
        second.followed.close()

    asyncio.run(main())


def test_a_tree_that_storms_is_watched_again_only_once_it_rests(tmp_path: Path) -> None:
    async def main() -> None:
        for number in range(300):
            (tmp_path / "tree" / "a" / str(number)).mkdir(parents=True)
        async with following(tmp_path / "tree", "tree") as follower:
            watched = follower.followed._watched
            assert watched is not None

            def is_given_up() -> bool:
                (tmp_path / "tree" / "a").rename(tmp_path / "tree" / "b")
                (tmp_path / "tree" / "b").rename(tmp_path / "tree" / "a")
                return watched.problem is not None

            await soon(is_given_up, within=60)
            follower.followed.renew()
            assert follower.followed._watched is watched
            assert "again and again" in str(follower.followed.problem)
            watched._rests_until = 1.0  # long ago
            follower.followed.renew()
            assert follower.followed.problem is None
            (tmp_path / "tree" / "new").write_text("x")
            await soon(lambda: "new" in follower.changes)

    asyncio.run(main())


def test_an_end_that_cannot_be_watched_is_news_again_only_once_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, full, add = tmp_path / "end", True, Inotify.add
    end.mkdir()

    def limited(self: Inotify, directory: bytes, mask: int, listener: Listener) -> int:
        if full and directory == bytes(end):
            raise OSError(errno.ENOSPC, "no room")
        return add(self, directory, mask, listener)

    monkeypatch.setattr(Inotify, "add", limited)

    async def follow() -> None:
        nonlocal full
        async with following(end, "tree") as follower:
            for _ in range(3):
                await asyncio.sleep(0)
                assert not follower.followed.renew()
                assert follower.followed.problem is not None
            assert (follower.told, follower.changes) == (0, [])
            full = False
            assert follower.followed.renew()
            assert follower.followed.problem is None
            assert not follower.followed.renew()

    asyncio.run(follow())


def test_a_path_is_closed_at_once_while_a_renewal_hangs_and_keeps_no_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()

    def hanging(path: str) -> Way:
        begun.set()
        assert go.wait(60.0)
        return way_of(path)

    async def follow() -> None:
        paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
        followed = paths.follow(str(tmp_path), "folder", on_step=lambda: None, on_change=lambda _: None)
        followed.renew()
        monkeypatch.setattr(followed_paths, "way_of", hanging)
        renewing = asyncio.create_task(asyncio.to_thread(followed.renew))
        assert await asyncio.to_thread(begun.wait, 30.0)
        followed.close()
        assert not renewing.done()
        go.set()
        await renewing
        assert paths._folders == {}

    asyncio.run(follow())
