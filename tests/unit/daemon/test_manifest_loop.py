"""The loop over the manifests says once what cannot be watched, and goes on without it."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.daemon.secret_files import SecretFiles
from reconciler.host.stores import Stores
from reconciler.linux.inotify import WatchFailure, WatchProblem
from reconciler.manifests.origin import Listing, Look, Origin
from reconciler.planning.desired_state import DesiredState
from reconciler.settings.settings import Settings
from reconciler.staging.source.watches import SourceWatches
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.records import Records
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from reconciler.vault.watched_files import Files

STORMY = WatchProblem(failure=WatchFailure.STORM, text="the directories of /apps/blog are moved again and again")
OTHER = WatchProblem(failure=WatchFailure.STORM, text="the directories of /apps/shop are moved again and again")
LIMIT = WatchProblem(failure=WatchFailure.WATCH_LIMIT, text="the host's limit of watches is reached")


class Origins:
    """One origin and all that is watched for it; each look is answered by what is not watched at that moment."""

    name, problem, is_unsettled = "/m", None, False

    def __init__(self, loop: ManifestLoop, unwatched: Sequence[Sequence[WatchProblem]]) -> None:
        self._loop = loop
        self._unwatched = iter(unwatched)
        self._now: dict[str, WatchProblem] = {}
        self.waits_s: list[float] = []

    async def look(self) -> Look:
        found = next(self._unwatched, None)
        if found is None:
            raise asyncio.CancelledError
        self._now = {str(number): problem for number, problem in enumerate(found)}
        self._loop.look_now.set()
        return Listing(origin="/m", files={}, identity=(1, 1))

    async def follow(self, _: object) -> None:
        self.waits_s.append(self._loop._seconds_to_next_look())

    def problems(self) -> dict[str, WatchProblem]:
        return self._now


class Written:
    """One origin with one file; each look finds the next of its contents, and the loop ends after the last."""

    name, problem, is_unsettled = "/m", None, False

    def __init__(self, loop: ManifestLoop, file: str, contents: Iterator[bytes]) -> None:
        self._loop = loop
        self._file = file
        self._contents = contents
        self.current: list[bool] = []  # whether the loop was, after each look

    async def run(self) -> None:
        with pytest.raises(asyncio.CancelledError):
            await self._loop.run([cast("Origin", self)], cast("SourceWatches", self), cast("Files", NoFiles()))

    async def look(self) -> Look:
        content = next(self._contents, None)
        if content is None:
            raise asyncio.CancelledError
        return Listing(origin=self.name, files={self._file: content}, identity=(1, 1))

    async def follow(self, _: object) -> None:
        self._loop._is_looking = False
        self.current.append(self._loop.is_current)
        self._loop.look_now.set()

    def problems(self) -> dict[str, WatchProblem]:
        return {}


class NoSecrets:
    def follow(self, _: DesiredState) -> frozenset[Any]:
        return frozenset()


class NoFiles:
    async def follow(self, _: object) -> None:
        pass

    def problems(self) -> tuple[WatchProblem, ...]:
        return ()


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    with closing(open_database(StatePaths(state=tmp_path).database)) as database:
        yield Stores(
            records=Records(database), history=RevisionHistory(Records(database), "boot"), journal=Journal(database)
        )


class Quiet:
    """One origin of which nothing is ever noticed, and with it all that is watched; `unseen` answers until it ends."""

    name, problem, is_unsettled = "/m", None, False

    def __init__(self, unseen: Iterator[bool], watched: Sequence[WatchProblem] = ()) -> None:
        self._unseen = unseen
        self._watched = watched
        self.looks = self.asked = 0

    async def look(self) -> Look:
        self.looks += 1
        return Listing(origin="/m", files={}, identity=(1, 1))

    async def may_have_changed_unseen(self) -> bool:
        self.asked += 1
        answer = next(self._unseen, None)
        if answer is None:
            raise asyncio.CancelledError
        return answer

    async def follow(self, _: object) -> None:
        pass

    def problems(self) -> dict[str, WatchProblem]:
        return {str(number): problem for number, problem in enumerate(self._watched)}


def followed(place: Path, stores: Stores, quiet: Quiet) -> Quiet:
    """Follow a quiet origin until it ends the loop."""
    settings = Settings(manifests=place / "m", paths=StatePaths(state=place), rescan_s=0.001)
    loop = ManifestLoop(settings, stores, WakeQueue(), cast("SecretFiles", NoSecrets()), ())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(loop.run([cast("Origin", quiet)], cast("SourceWatches", quiet), cast("Files", NoFiles())))
    return quiet


def test_what_cannot_have_changed_unseen_is_looked_at_seldom(tmp_path: Path, stores: Stores) -> None:
    quiet = followed(tmp_path, stores, Quiet(iter([False] * 25)))
    assert (quiet.looks, quiet.asked) == (3, 26)


def test_what_may_have_changed_unseen_is_looked_at_each_time(tmp_path: Path, stores: Stores) -> None:
    quiet = followed(tmp_path, stores, Quiet(iter([True] * 25)))
    assert (quiet.looks, quiet.asked) == (26, 26)


def told(place: Path, stores: Stores, *unwatched: Sequence[WatchProblem]) -> list[tuple[str, str]]:
    """What is journaled while these cannot be watched, look by look, each with its cause."""
    settings = Settings(manifests=place / "m", paths=StatePaths(state=place))

    async def follow() -> None:
        loop = ManifestLoop(settings, stores, WakeQueue(), cast("SecretFiles", NoSecrets()), ())
        origins = Origins(loop, unwatched)
        with pytest.raises(asyncio.CancelledError):
            await loop.run([cast("Origin", origins)], cast("SourceWatches", origins), cast("Files", NoFiles()))
        assert len(origins.waits_s) == len(unwatched)

    asyncio.run(follow())
    return [(event.text, event.cause) for event in stores.journal.newest(None, 100)]


def test_a_storm_is_told_once_for_each_source_however_often_it_rests(tmp_path: Path, stores: Stores) -> None:
    found = told(tmp_path, stores, [], [STORMY], [STORMY], [], [STORMY, OTHER], [OTHER])
    assert [text for text, _ in found] == [STORMY.text, OTHER.text]
    assert all(cause.startswith("until it rests the daemon looks for its changes every ") for _, cause in found)


def test_a_limit_of_the_host_is_told_again_when_it_is_reached_again(tmp_path: Path, stores: Stores) -> None:
    found = told(tmp_path, stores, [LIMIT], [LIMIT, STORMY], [], [LIMIT])
    assert [text for text, _ in found] == [LIMIT.text, STORMY.text, LIMIT.text]


@pytest.mark.parametrize(("then", "workers"), [(b"path: x\nworkers: 2", 2), (b"path: x", 1)])
def test_a_manifest_that_is_held_back_is_not_in_effect_yet(
    tmp_path: Path, stores: Stores, then: bytes, workers: int
) -> None:
    settings = Settings(manifests=tmp_path / "m", paths=StatePaths(state=tmp_path))
    loop = ManifestLoop(settings, stores, WakeQueue(), cast("SecretFiles", NoSecrets()), ())
    contents = iter((b"path: x", b"path: x\nwork", then))
    written = Written(loop, "/m/blog.yaml", contents)
    asyncio.run(written.run())
    assert written.current == [True, False, True]
    assert loop.catalog.apps["blog"].workers == workers
    assert loop._seconds_to_next_look() > 1.0


def test_a_file_of_many_apps_that_is_refused_does_not_fill_the_journal(tmp_path: Path, stores: Stores) -> None:
    settings = Settings(manifests=tmp_path / "m", paths=StatePaths(state=tmp_path))
    loop = ManifestLoop(settings, stores, WakeQueue(), cast("SecretFiles", NoSecrets()), ())
    documents = [f"name: shop-{number}\npath: x\nport: 1" for number in range(999)]
    content = "\n---\n".join(documents).encode()
    until_read = iter(lambda: None if loop.catalog.files else content, None)
    asyncio.run(Written(loop, "/m/shops.yaml", until_read).run())
    (entry,) = loop.catalog.files.values()
    assert len(entry.problems) == 101
    events = stores.journal.newest(None, 10_000)
    assert len(events) == 201
    assert "/m/shops.yaml has 101 problems of 999 apps and services" in events[-1].text


def test_without_changes_the_manifests_are_read_when_other_work_is_due(tmp_path: Path, stores: Stores) -> None:
    settings = Settings(manifests=tmp_path / "m", paths=StatePaths(state=tmp_path))
    loop = ManifestLoop(settings, stores, WakeQueue(), cast("SecretFiles", NoSecrets()), ())
    before = time.monotonic()
    wait_s = loop._seconds_to_next_look()
    after = time.monotonic()
    assert 60.0 <= wait_s <= 65.0
    tick = math.floor((after + wait_s) / 5.0 + 1e-6) * 5.0
    assert tick >= before + wait_s - 1e-6
