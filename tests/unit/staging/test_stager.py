"""Ask for a build: what makes it is imported with the first one."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.convergence.slots import Slots
from reconciler.planning.apps.revision import Build, Recipe, Source
from reconciler.staging.errors import StagingError
from reconciler.staging.stager import Stager


class Maker:
    """Makes nothing, and remembers who asked it."""

    def __init__(self, **_: object) -> None:
        self.asked: list[str] = []

    async def make(self, app: str, *_: object, **__: object) -> "Maker":
        self.asked.append(app)
        return self


def stager_below(root: Path) -> Stager:
    return Stager(
        builds=lambda app: root / app,
        environments=root / "environments",
        cache=root / "cache",
        interpreters=(),
        timeout_s=60,
        slots=Slots(1, 60),
        uv="uv",
        environ=dict,
    )


def stage(stager: Stager, app: str, root: Path) -> Coroutine[Any, Any, object]:
    build = Build(source=Source(path=str(root / "source")), recipe=Recipe(), content="")
    return stager.stage(app, build, root / "log", lambda _: None, kept=root / "kept")


def test_apps_that_are_staged_at_once_share_what_is_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "reconciler.staging.making", SimpleNamespace(Maker=Maker))

    async def story() -> list[object]:
        stager = stager_below(tmp_path)
        return await asyncio.gather(*(stage(stager, app, tmp_path) for app in ("blog", "shop", "wiki")))

    makers = asyncio.run(story())
    assert len(set(makers)) == 1
    assert isinstance(makers[0], Maker)
    assert sorted(makers[0].asked) == ["blog", "shop", "wiki"]


def test_apps_whose_staging_hangs_keep_no_other_outside_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("reconciler.staging.stager._BEGUN_S", 0.01)

    async def story() -> None:
        entrance, begun = stager_below(tmp_path).entrance, list[str]()

        async def hang(app: str) -> None:
            async with entrance.inside(app, app, lambda _: None):
                begun.append(app)
                await asyncio.Event().wait()

        hanging = [asyncio.create_task(hang(str(number))) for number in range(9)]
        await asyncio.sleep(0)
        async with asyncio.timeout(60), entrance.inside("shop", "shop", lambda _: None):
            assert len(begun) > 4
        for task in hanging:
            task.cancel()
        await asyncio.gather(*hanging, return_exceptions=True)

    asyncio.run(story())


def test_a_daemon_whose_program_was_replaced_says_that_it_wants_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reconciler.staging.making", None)
    staging = stage(stager_below(tmp_path), "shop", tmp_path)
    with pytest.raises(
        StagingError, match=r"^cannot stage shop: .*making.*; if another version .* restart the daemon$"
    ):
        asyncio.run(staging)
    assert "failed" in (tmp_path / "log").read_text()
