"""Ask for a build: what makes it is imported with the first one."""

import asyncio
import sys
from pathlib import Path

import pytest

from reconciler.convergence.slots import Slots
from reconciler.planning.apps.revision import Build, Recipe, Source
from reconciler.staging.errors import StagingError
from reconciler.staging.stager import Stager


def test_a_daemon_whose_program_was_replaced_says_that_it_wants_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "reconciler.staging.making", None)
    stager = Stager(
        builds=lambda app: tmp_path / app,
        environments=tmp_path / "environments",
        cache=tmp_path / "cache",
        interpreters=(),
        timeout_s=60,
        slots=Slots(1, 60),
        uv="uv",
        environ=dict,
    )
    build = Build(source=Source(path=str(tmp_path / "source")), recipe=Recipe(), content="")
    staging = stager.stage("shop", build, tmp_path / "log", lambda _: None, kept=tmp_path / "kept")
    with pytest.raises(
        StagingError, match=r"^cannot stage shop: .*making.*; if another version .* restart the daemon$"
    ):
        asyncio.run(staging)
    assert "failed" in (tmp_path / "log").read_text()
