"""Looking now and then at sources: read is only what may have changed without an event."""

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path

import pytest

from reconciler.linux import followed_paths, mounts
from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
from reconciler.staging.source import watches
from reconciler.staging.source.watches import Debounce, SourceWatches


class Suspected(list[str]):
    def suspect(self, name: str) -> None:
        self.append(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "app.py").write_text("1")
    return tmp_path / "blog"


def looked(source: Path, *, rounds: int = 1, everything: bool = False, change: bool = False) -> list[str]:
    """Follow a source, then look at it so often; return who is suspected because of the looks."""

    async def story() -> list[str]:
        suspected = Suspected()
        loop = asyncio.get_running_loop()
        followed = SourceWatches(FollowedPaths(Watch(loop.call_soon_threadsafe)), suspected, Debounce(quiet_s=60.0))
        await followed.follow({"blog": str(source)})
        assert suspected == ["blog"]
        suspected.clear()
        if change:
            source.rename(source.with_name("before"))
            source.mkdir()
        for _ in range(rounds):
            await followed._look_at([str(source), "/gone"], everything=everything)
        followed.close()
        return list(suspected)

    return asyncio.run(story())


@pytest.fixture
def _local(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    table = mounts.Mounts.now()
    monkeypatch.setattr(mounts, "_LOCAL", frozenset(table.types.values()))
    if not table.notify_of_all_below(str(source)):
        pytest.skip("the file system of temporary files is not in the table of mounts")


@pytest.mark.usefixtures("_local")
def test_a_source_of_which_every_change_is_noticed_is_not_read_again(source: Path) -> None:
    assert looked(source, rounds=3) == []


@pytest.mark.usefixtures("_local")
def test_seldom_it_is_read_all_the_same(source: Path) -> None:
    assert looked(source, everything=True) == ["blog"]


@pytest.mark.usefixtures("_local")
def test_it_is_read_when_its_path_leads_elsewhere(source: Path) -> None:
    assert looked(source, change=True) == ["blog"]


def test_a_source_whose_file_system_may_tell_of_nothing_is_read_at_each_look(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "_LOCAL", frozenset())
    assert looked(source, rounds=3) == ["blog"] * 3


@pytest.mark.usefixtures("_local")
def test_something_mounted_since_is_a_reason_to_read_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, tables = mounts.Mounts.now(), iter(range(100))

    def more() -> mounts.Mounts:
        return mounts.Mounts(table=str(min(next(tables), 1)), types=before.types, points=before.points)

    monkeypatch.setattr(mounts.Mounts, "now", more)
    assert looked(source, rounds=3) == ["blog"]


async def within(story: Coroutine[object, object, None]) -> None:
    async with asyncio.timeout(30.0):
        await story


class HangingMount:
    """A path that no system call comes back from until it is let go."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_there, way_of = threading.Event(), followed_paths.way_of

        def hangs(asked: str) -> followed_paths.Way:
            if asked == str(path):
                self.is_there.wait()
            return way_of(asked)

        monkeypatch.setattr(followed_paths, "way_of", hangs)
        monkeypatch.setattr(watches, "_HANGS_S", 0.05)


def test_a_source_that_hangs_keeps_no_other_from_being_followed_and_is_reported_when_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount = HangingMount(tmp_path / "b", monkeypatch)

    async def story() -> None:
        suspected = Suspected()
        loop = asyncio.get_running_loop()
        paths = {name: str(tmp_path / name) for name in "abc"}
        followed = SourceWatches(FollowedPaths(Watch(loop.call_soon_threadsafe)), suspected, Debounce(quiet_s=0.01))
        try:
            await followed.follow(paths)
            while "c" not in suspected:
                await asyncio.sleep(0.01)
            assert suspected == ["a", "c"]
            suspected.clear()
            await followed._look_at(list(paths.values()), everything=True)
            assert suspected == ["a", "c"]
            mount.is_there.set()
            while "b" not in suspected:
                await asyncio.sleep(0.01)
        finally:
            mount.is_there.set()
            followed.close()

    asyncio.run(within(story()))


def test_a_look_that_hangs_later_is_left_out_of_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        suspected = Suspected()
        loop = asyncio.get_running_loop()
        paths = {name: str(tmp_path / name) for name in "ab"}
        followed = SourceWatches(FollowedPaths(Watch(loop.call_soon_threadsafe)), suspected, Debounce(quiet_s=0.01))
        await followed.follow(paths)
        mount = HangingMount(tmp_path / "a", monkeypatch)
        try:
            suspected.clear()
            await followed._look_at(list(paths.values()), everything=True)
            assert suspected == []
            await followed._look_at(list(paths.values()), everything=True)
            assert suspected == ["b"]
        finally:
            mount.is_there.set()
            followed.close()

    asyncio.run(within(story()))
