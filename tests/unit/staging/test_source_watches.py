"""When a change of a source is reported: what is complete soon or at once, and what no event told of by looking."""

import asyncio
import contextlib
import io
import random
import tarfile
import threading
import zipfile
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest

from reconciler.linux import followed_paths, mounts
from reconciler.linux.followed_paths import FollowedPaths
from reconciler.linux.inotify import Change, Watch
from reconciler.staging.source import watches
from reconciler.staging.source.completeness import is_complete
from reconciler.staging.source.watches import Debounce, SourceWatches
from tests.support.eventually import soon

DEFAULT_S = -1.0


class Suspected(list[str]):
    """The names of suspects, and how long each has to be quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.quiet_s: list[float] = []

    def suspect(self, name: str, quiet_s: float = DEFAULT_S) -> None:
        self.append(name)
        self.quiet_s.append(quiet_s)


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
    async with asyncio.timeout(60.0):
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
        monkeypatch.setattr(watches, "_HANGS_S", 1.0)


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
            while len(suspected) < 2:
                await asyncio.sleep(0.01)
            assert sorted(suspected) == ["a", "c"]
            suspected.clear()
            await followed._look_at(list(paths.values()), everything=True)
            assert sorted(suspected) == ["a", "c"]
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


@contextlib.asynccontextmanager
async def following(source: Path, debounce: Debounce) -> AsyncIterator[tuple[SourceWatches, Suspected]]:
    suspected = Suspected()
    paths = FollowedPaths(Watch(asyncio.get_running_loop().call_soon_threadsafe))
    followed = SourceWatches(paths, suspected, debounce)
    try:
        await followed.follow({"blog": str(source)})
        suspected.clear()
        suspected.quiet_s.clear()
        yield followed, suspected
    finally:
        followed.close()


NEVER = Debounce(quiet_s=3600.0, longest_s=3600.0)


def replace_directory(source: Path) -> None:
    (source.with_name("next")).mkdir()
    source.rename(source.with_name("before"))
    source.with_name("next").rename(source)


def turn_link(source: Path) -> None:
    source.with_name("next").symlink_to("other")
    source.with_name("next").rename(source)


def replace_archive(source: Path) -> None:
    source.with_name("next").write_bytes(b"2")
    source.with_name("next").rename(source)


@pytest.mark.parametrize("replaced", [replace_directory, turn_link, replace_archive])
def test_what_is_moved_into_place_is_read_at_once(tmp_path: Path, replaced: Callable[[Path], None]) -> None:
    source = tmp_path / "shop"
    if replaced is replace_archive:
        source = tmp_path / "shop.zip"
        source.write_bytes(b"1")
    elif replaced is turn_link:
        (tmp_path / "first").mkdir()
        (tmp_path / "other").mkdir()
        source.symlink_to("first")
    else:
        source.mkdir()

    async def story() -> None:
        async with following(source, NEVER) as (_, suspected):
            replaced(source)
            await soon(lambda: suspected)
            assert (suspected, suspected.quiet_s) == (["blog"], [0.0])

    asyncio.run(within(story()))


def test_what_is_moved_into_place_again_and_again_has_to_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watches, "_ARRIVALS_S", 3600.0)

    async def story() -> None:
        (tmp_path / "shop").mkdir()
        async with following(tmp_path / "shop", NEVER) as (followed, suspected):
            source = followed._sources[str(tmp_path / "shop")]
            followed._on_arrival(str(tmp_path / "shop"))
            await soon(lambda: suspected)
            followed._on_arrival(str(tmp_path / "shop"))
            assert source.timer is not None
            assert source.timer.when() > asyncio.get_running_loop().time() + 1800.0

    asyncio.run(within(story()))


def test_one_saved_file_has_to_rest_a_third_as_long_as_many(source: Path) -> None:
    async def story() -> None:
        async with following(source, NEVER) as (followed, _):
            loop, path = asyncio.get_running_loop(), str(source)

            def due_s() -> float:
                timer = followed._sources[path].timer
                assert timer is not None
                return timer.when() - loop.time()

            followed._on_change(path, Change(name="app.py", complete=False))
            assert due_s() > 1800.0
            followed._on_change(path, Change(name="app.py", complete=True))
            assert due_s() <= 1200.0
            followed._on_change(path, Change(name="models.py", complete=True))
            assert due_s() > 1800.0

    asyncio.run(within(story()))


def test_a_saved_file_is_reported_as_one(source: Path) -> None:
    async def story() -> None:
        async with following(source, Debounce(quiet_s=0.3)) as (followed, suspected):
            followed._on_change(str(source), Change(name="app.py", complete=True))
            await soon(lambda: suspected)
            assert suspected.quiet_s == [pytest.approx(0.05)]

    asyncio.run(within(story()))


def test_a_checkout_is_read_when_git_gives_its_lock_back(source: Path) -> None:
    (source / ".git").mkdir()
    lock = source / ".git" / "index.lock"

    async def story() -> None:
        async with following(source, Debounce(quiet_s=0.01, longest_s=3600.0)) as (followed, suspected):
            lock.touch()
            (source / "app.py").write_text("2")
            await soon(lambda: followed._sources[str(source)].is_locked)
            (source / "models.py").write_text("2")
            await soon(lambda: (burst := followed._sources[str(source)].burst) and burst.last_at > burst.began_at)
            assert suspected == []
            lock.unlink()
            await soon(lambda: suspected)
            assert suspected.quiet_s == [0.0]

    asyncio.run(within(story()))


def test_a_lock_under_which_nothing_is_written_any_more_is_waited_for_so_long_only(source: Path) -> None:
    (source / ".git").mkdir()
    (source / ".git" / "index.lock").touch()

    async def story() -> None:
        async with following(source, Debounce(quiet_s=0.01, longest_s=0.1)) as (_, suspected):
            (source / "app.py").write_text("2")
            await soon(lambda: suspected)
            assert suspected.quiet_s == [DEFAULT_S]

    asyncio.run(within(story()))


CODE = random.Random(7).randbytes(5_000)


def a_zip() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as zipped:
        zipped.writestr("app.py", CODE)
    return written.getvalue()


def a_tar() -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w:gz") as tarred:
        header = tarfile.TarInfo("app.py")
        header.size = len(CODE)
        tarred.addfile(header, io.BytesIO(CODE))
    return written.getvalue()


ARCHIVES = pytest.mark.parametrize(
    ("name", "content"), [("shop.zip", a_zip()), ("shop.tar.gz", a_tar())], ids=["zip", "tar"]
)


def test_a_link_that_is_removed_and_made_again_is_read_at_once(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "shop").symlink_to("first")

    async def story() -> None:
        async with following(tmp_path / "shop", NEVER) as (_, suspected):
            (tmp_path / "shop").unlink()
            (tmp_path / "shop").symlink_to("other")
            await soon(lambda: suspected)
            assert (suspected, suspected.quiet_s) == (["blog"], [0.0])

    asyncio.run(within(story()))


@ARCHIVES
def test_an_archive_that_is_overwritten_is_read_as_soon_as_it_is_whole(
    tmp_path: Path, name: str, content: bytes
) -> None:
    source = tmp_path / name
    source.write_bytes(content)

    async def story() -> None:
        async with following(source, NEVER) as (_, suspected):
            source.write_bytes(content)
            await soon(lambda: suspected)
            assert (suspected, suspected.quiet_s) == (["blog"], [0.0])

    asyncio.run(within(story()))


@ARCHIVES
def test_an_archive_of_which_a_part_is_missing_has_to_rest(tmp_path: Path, name: str, content: bytes) -> None:
    source = tmp_path / name
    source.write_bytes(content)

    async def story() -> None:
        async with following(source, NEVER) as (followed, suspected):
            looked_at: list[str] = []
            step = followed._sources[str(source)].followed
            tell = step.on_ended
            assert tell is not None

            def ended(place: str) -> None:
                looked_at.append(place)
                tell(place)

            step.on_ended = ended
            for size in (0, 40, len(content) - 200, len(content) // 2):
                source.write_bytes(content[:size])
                assert not is_complete(str(source))
                await soon(lambda: looked_at)
                looked_at.clear()
            assert suspected == []
            source.write_bytes(content)
            await soon(lambda: suspected)

    asyncio.run(within(story()))


def test_an_archive_that_is_written_again_and_again_is_read_by_one_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, reading, may_end = tmp_path / "app.zip", list[str](), threading.Event()
    source.write_bytes(a_zip())

    def slowly(place: str) -> bool:
        reading.append(place)
        return may_end.wait(60) and is_complete(place)

    monkeypatch.setattr("reconciler.staging.source.watches.is_complete", slowly)

    async def story() -> None:
        async with following(source, NEVER) as (followed, suspected):
            ended, tell = list[str](), followed._sources[str(source)].followed.on_ended
            assert tell is not None

            def on_ended(place: str) -> None:
                ended.append(place)
                tell(place)

            followed._sources[str(source)].followed.on_ended = on_ended
            for _ in range(5):
                ended.clear()
                source.write_bytes(a_zip())
                await soon(lambda: ended)
            assert len(reading) == 1
            may_end.set()
            await soon(lambda: suspected)
            assert len(reading) == 2

    asyncio.run(within(story()))


def test_an_archive_that_takes_long_to_read_is_not_known_to_be_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "app.tar.gz"
    source.write_bytes(a_tar())
    assert is_complete(str(source))
    monkeypatch.setattr("reconciler.staging.source.completeness._LONGEST_S", -1.0)
    monkeypatch.setattr("reconciler.staging.source.archive._good", {})
    assert not is_complete(str(source))


def test_a_directory_that_is_made_again_has_to_rest(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    async def story() -> None:
        async with following(tmp_path / "shop", NEVER) as (followed, suspected):
            (tmp_path / "shop").rmdir()
            (tmp_path / "shop").mkdir()
            source = followed._sources[str(tmp_path / "shop")]
            await soon(lambda: source.burst is not None and source.burst.changes > 0)
            assert not is_complete(str(tmp_path / "shop"))
            assert suspected == []

    asyncio.run(within(story()))
