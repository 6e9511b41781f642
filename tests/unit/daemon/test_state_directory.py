"""A state directory that is moved, removed or replaced under the daemon: told, and nothing is done meanwhile."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reconciler.daemon import state_directory
from reconciler.daemon.state_directory import NotInPlace, StateDirectory, WorldInPlace
from reconciler.state.journal import Event, Journal
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.simulation.clock import run
from tests.world import FakeWorld


def moved(state: Path) -> None:
    state.rename(state.with_name("elsewhere"))


def replaced(state: Path) -> None:
    moved(state)
    state.mkdir()
    (state / "lock").touch()


@pytest.mark.parametrize("gone", [moved, replaced])
def test_it_is_told_once_and_again_when_it_is_back(tmp_path: Path, gone: Callable[[Path], None]) -> None:
    paths, events = StatePaths(state=tmp_path / "state"), list[Event]()

    async def story(state: StateDirectory) -> None:
        watching = asyncio.get_running_loop().create_task(state.watch())
        await asyncio.sleep(40)
        assert (state.problem, events) == ("", [])
        gone(paths.state)
        await asyncio.sleep(40)
        assert state.problem.endswith("was moved, removed or replaced while the daemon runs")
        assert [event.text for event in events] == [state.problem]
        assert "put it back" in events[0].cause
        with contextlib.suppress(OSError):
            (paths.state / "lock").unlink()
            paths.state.rmdir()
        (tmp_path / "elsewhere").rename(paths.state)
        await asyncio.sleep(40)
        assert state.problem == ""
        assert events[-1].text.endswith("is back")
        watching.cancel()

    with acquire(paths) as lock, contextlib.closing(open_database(paths.database)) as database:
        journal = Journal(database)
        journal.followers.append(events.append)
        run(story(StateDirectory(paths.state, lock, journal)))


@pytest.mark.parametrize("gone", [moved, replaced])
def test_the_kernel_tells_at_once_of_one_that_goes(
    tmp_path: Path, gone: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_directory, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(state_directory, "_SELDOM_S", 3600.0)
    paths, told = StatePaths(state=tmp_path / "state"), asyncio.Event()

    async def story(state: StateDirectory) -> None:
        async with asyncio.timeout(60):
            watching = asyncio.get_running_loop().create_task(state.watch())
            await asyncio.sleep(0.1)
            gone(paths.state)
            await told.wait()
            assert state.problem
            watching.cancel()

    with acquire(paths) as lock, contextlib.closing(open_database(paths.database)) as database:
        journal = Journal(database)
        journal.followers.append(lambda _: told.set())
        asyncio.run(story(StateDirectory(paths.state, lock, journal)))


def test_nothing_is_done_while_it_is_gone(tmp_path: Path) -> None:
    paths, done = StatePaths(state=tmp_path / "state"), list[str]()

    class Acting(FakeWorld):
        async def do(self, name: str, action: Any) -> None:
            done.append(action)

    async def story(world: WorldInPlace) -> None:
        await world.do("blog", "first")
        moved(paths.state)
        with pytest.raises(NotInPlace):
            await world.do("blog", "second")
        assert done == ["first"]
        assert not paths.state.exists()

    with acquire(paths) as lock, contextlib.closing(open_database(paths.database)) as database:
        run(story(WorldInPlace(Acting(), StateDirectory(paths.state, lock, Journal(database)))))
