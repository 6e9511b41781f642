"""Looking now and then at sources: read is only what may have changed without an event."""

import asyncio
from pathlib import Path

import pytest

from reconciler.linux import mounts
from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Watch
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
