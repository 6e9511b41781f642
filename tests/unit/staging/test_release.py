"""The release command, as the staging log tells of it."""

import asyncio
import sys
from pathlib import Path

import pytest

from reconciler.staging.errors import StagingError
from reconciler.staging.release import ReleaseCommand, run_release
from reconciler.vault.secret import HIDDEN


def test_neither_the_command_nor_its_output_nor_its_failure_shows_a_secret(tmp_path: Path) -> None:
    release = ReleaseCommand(
        app="blog", command="echo loading $GIVEN; exit 3 --password swordfish", directory=str(tmp_path),
        environment={"GIVEN": "catfish", "PATH": "/usr/bin:/bin"}, log=tmp_path / "staging.log",
        own_log=tmp_path / "own.log", timeout_s=60,
    )  # fmt: skip
    with pytest.raises(StagingError) as failed:
        asyncio.run(run_release(release, lambda _: None, lambda line: line.replace("catfish", HIDDEN)))
    told = f"{failed.value}\n{release.log.read_text(encoding='utf-8')}"
    assert f"loading {HIDDEN}" in told
    assert f"exit 3 --password {HIDDEN}" in told
    assert "swordfish" not in told
    assert release.own_log.read_text(encoding="utf-8") == release.log.read_text(encoding="utf-8")
    assert "catfish" not in told


def test_a_failed_command_is_told_by_its_exception_and_the_migration_it_was_applying(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "print('  Applying shop.0001_initial... OK')\n"
        "print('  Applying blog.0001_initial...', end='', flush=True)\n"
        "import sqlite3\n"
        "sqlite3.connect(':memory:').execute('select * from nonexistent').fetchall()\n"
    )
    (tmp_path / "manage.py").write_text(script)
    release = ReleaseCommand(
        app="shop", command="python3 manage.py migrate", directory=str(tmp_path),
        environment={"PATH": str(Path(sys.executable).parent)}, log=tmp_path / "staging.log",
        own_log=tmp_path / "own.log", timeout_s=60,
    )  # fmt: skip
    with pytest.raises(StagingError) as failed:
        asyncio.run(run_release(release, lambda _: None, str))
    assert str(failed.value) == (
        "cannot release shop: the release command 'python3 manage.py migrate' failed (exit code 1) while applying"
        " blog.0001_initial: OperationalError: no such table: nonexistent;"
        " 'reconciler logs shop --which staging' shows the whole output"
    )
