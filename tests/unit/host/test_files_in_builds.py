"""A build whose top changes is looked at soon, the others a few at a time."""

import asyncio
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.host import files_in_builds as files_in_builds_module
from reconciler.host.builds import AppBuilds
from reconciler.host.files_in_builds import FilesInBuilds
from reconciler.linux.next_changes import NextChanges
from reconciler.planning.subject import Subject
from reconciler.serving.instances import Instances
from reconciler.staging.written_files import mark_served
from reconciler.state.paths import StatePaths

_APPS = [f"app{number}" for number in range(5)]


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    paths = StatePaths(state=tmp_path)
    for app in _APPS:
        build = paths.builds(app) / "b1"
        (build / "code").mkdir(parents=True)
        mark_served(build)
        after = (build / "code").stat().st_ctime_ns + 1  # the kernel's clock may not have moved on since
        os.utime(build / "served", ns=(after, after))
    return paths


def files_in_builds(paths: StatePaths) -> FilesInBuilds:
    live = SimpleNamespace(record=SimpleNamespace(build="b1", ready_at=1.0))
    instances = SimpleNamespace(apps=lambda: _APPS, lives=lambda _: (live,))
    builds = SimpleNamespace(written=lambda _: {})
    return FilesInBuilds(paths, cast("AppBuilds", builds), cast("Instances", instances), WakeQueue(), lambda *_: None)


def test_a_build_in_which_nothing_changed_waits_for_its_turn(paths: StatePaths) -> None:
    looks = files_in_builds(paths)
    for number, app in enumerate(_APPS):
        due = looks._due(30.0 * number)
        assert due == [(app, "b1")]
        looks._looked_at[due[0]] = 30.0 * number
    assert looks._due(150.0) == []


def test_a_top_of_which_the_next_change_is_told_is_not_looked_at_before(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        looks, top = files_in_builds(paths), paths.builds("app4") / "b1/code"
        looks._looked_at = {(app, "b1"): 0.0 for app in _APPS}
        changes = looks._changes = NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=False)
        assert looks._due(0.0) == []
        looked, stat = list[str](), os.stat

        def counted(path: str) -> os.stat_result:
            looked.append(path)
            return stat(path)

        monkeypatch.setattr(os, "stat", counted)
        assert looks._due(0.0) == []
        assert looked == []
        (top / "written").touch()
        await changes.happened.wait()
        assert looks._due(0.0) == [("app4", "b1")]
        assert looked == [str(top)]

    asyncio.run(story())


def test_a_few_tops_are_watched_with_each_look(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        monkeypatch.setattr(files_in_builds_module, "_ASKED_AT_ONCE", 2)
        looks = files_in_builds(paths)
        looks._changes = NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=False)
        for count in (2, 4, 5, 5):
            looks._due(0.0)
            assert len(looks._still) == count

    asyncio.run(story())


def test_builds_that_changed_before_the_daemon_started_are_looked_at_a_few_at_a_time(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_in_builds_module, "_SEEN_AT_ONCE", 2)
    looks = files_in_builds(paths)
    looks._looked_at = {(app, "b1"): 0.0 for app in _APPS}
    for app in _APPS:
        top = paths.builds(app) / "b1/code"
        while top.stat().st_ctime_ns <= (top.parent / "served").stat().st_mtime_ns:
            (top / "written").touch()
            (top / "written").unlink()
    found = [looks._due(0.0) for _ in range(4)]
    assert [len(builds) for builds in found] == [2, 2, 1, 0]
    assert sorted(name for builds in found for name, _ in builds) == _APPS


def test_very_many_builds_are_all_seen_within_ten_minutes(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_in_builds_module, "_SEEN_AT_ONCE", 1)
    monkeypatch.setattr(files_in_builds_module, "_SEEN_WITHIN_S", 60.0)
    looks = files_in_builds(paths)
    for count in (3, 5):
        looks._due(0.0)
        assert len(looks._seen) == count


def test_each_of_very_many_builds_has_its_turn_within_an_hour(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_in_builds_module, "_LOOK_DEEP_EVERY_S", 60.0)
    assert len(files_in_builds(paths)._due(0.0)) == 3


def test_a_change_at_the_top_waits_for_no_turn(paths: StatePaths) -> None:
    looks, top = files_in_builds(paths), paths.builds("app4") / "b1/code"
    seen_ns = (top.parent / "served").stat().st_mtime_ns
    for _ in range(2):
        while top.stat().st_ctime_ns <= seen_ns:
            (top / "written").touch()
            (top / "written").unlink()
        seen_ns = top.stat().st_ctime_ns
        assert looks._due(0.0)[0] == ("app4", "b1")
        assert ("app4", "b1") not in looks._due(0.0)


def test_nothing_is_looked_at_while_every_change_is_told_until_it_is_some_builds_turn(paths: StatePaths) -> None:
    async def story() -> None:
        looks = files_in_builds(paths)
        changes = looks._changes = NextChanges(asyncio.get_running_loop().call_soon_threadsafe, content=False)
        looks._looked_at = {(app, "b1"): 3600.0 for app in _APPS}
        assert looks._may_be_due(3600.0)
        assert looks._due(3600.0) == []
        assert not looks._may_be_due(3630.0)
        looks.on_report(Subject("service", "db"), None)
        assert not looks._may_be_due(3630.0)
        looks.on_report(Subject("app", "app1"), None)
        assert looks._may_be_due(3630.0)
        assert looks._due(3630.0) == []
        assert not looks._may_be_due(3660.0)
        (paths.builds("app4") / "b1/code/written").touch()
        await changes.happened.wait()
        assert looks._may_be_due(3660.0)
        assert looks._due(3660.0) == [("app4", "b1")]
        assert looks._may_be_due(3960.0)

    asyncio.run(story())


def test_turns_that_were_left_out_are_made_up_for(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_in_builds_module, "_LOOK_DEEP_EVERY_S", 600.0)
    looks = files_in_builds(paths)
    looks._last_at = 0.0
    assert len(looks._due(30.0)) == 1
    assert len(looks._due(330.0)) == 3
