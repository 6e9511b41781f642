"""The release command, as the staging log tells of it."""

import asyncio
from pathlib import Path

import pytest

from reconciler.staging.errors import StagingError
from reconciler.staging.release import ReleaseCommand, run_release
from reconciler.vault.secret import HIDDEN


def test_neither_the_command_nor_its_output_nor_its_failure_shows_a_secret(tmp_path: Path) -> None:
    release = ReleaseCommand(
        app="blog", command="echo loading $GIVEN; exit 3 --password swordfish", directory=str(tmp_path),
        environment={"GIVEN": "catfish", "PATH": "/usr/bin:/bin"}, log=tmp_path / "staging.log", timeout_s=60,
    )  # fmt: skip
    with pytest.raises(StagingError) as failed:
        asyncio.run(run_release(release, lambda _: None, lambda line: line.replace("catfish", HIDDEN)))
    told = f"{failed.value}\n{release.log.read_text(encoding='utf-8')}"
    assert f"loading {HIDDEN}" in told
    assert f"exit 3 --password {HIDDEN}" in told
    assert "swordfish" not in told
    assert "catfish" not in told
