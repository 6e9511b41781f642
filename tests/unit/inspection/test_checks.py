"""What `doctor` finds on a host, and what it advises."""

import os
import resource
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.inspection.checks import disk, kernel, reconciler, software, users
from reconciler.inspection.checks.check import Check
from reconciler.inspection.checks.host import checks
from reconciler.settings.settings import Api, Settings
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(manifests=tmp_path / "manifests", paths=StatePaths(state=tmp_path / "state"))


def by_subject(found: list[Check]) -> dict[str, Check]:
    return {check.subject: check for check in found}


def test_every_failure_and_warning_has_an_advice_and_nothing_is_made(settings: Settings, tmp_path: Path) -> None:
    found = list(checks(settings))
    assert [check for check in found if check.level != "ok" and not check.advice] == []
    assert by_subject(found)["manifests"].level == "fail"
    assert list(tmp_path.iterdir()) == []


def test_running_as_root_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    for uid, level in ((0, "warn"), (1000, "ok")):
        monkeypatch.setattr(os, "geteuid", lambda uid=uid: uid)
        (found,) = users.user()
        assert (found.level, "root" in found.found) == (level, uid == 0)


def test_what_other_users_may_write_or_read_that_decides_what_runs_is_a_warning(
    settings: Settings, tmp_path: Path
) -> None:
    token, manifest = tmp_path / "token", settings.manifests / "blog.yaml"
    settings.manifests.mkdir(mode=0o755)
    for path in (token, manifest):
        path.touch(mode=0o600)
    settings = replace(settings, api=Api(host="127.0.0.1", port=1, token=token))
    assert list(users.files(settings)) == []
    manifest.chmod(0o666)
    token.chmod(0o644)
    found = list(users.files(settings))
    assert [check.level for check in found] == ["warn", "warn"]
    assert str(manifest) in found[0].found
    assert str(token) in found[1].found


def test_more_apps_than_files_can_be_opened_for_are_a_failure() -> None:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert next(kernel.open_files(0)).level == "ok"
    assert next(kernel.open_files(soft)).level == "fail"


def test_a_state_directory_that_is_no_directory_is_a_failure(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (check,) = disk.state_directory(file)
    assert check.level == "fail"


@pytest.mark.parametrize(("mode", "level"), [(0o700, "ok"), (0o755, "warn")])
def test_a_state_directory_that_others_may_read_is_warned_of(tmp_path: Path, mode: int, level: str) -> None:
    tmp_path.chmod(mode)
    assert next(disk.state_directory(tmp_path)).level == level


def test_the_file_system_of_proc_is_proc() -> None:
    assert disk.kind_of_file_system(Path("/proc/self")) == "proc"


def test_an_interpreter_of_the_settings_that_is_missing_is_named() -> None:
    assert next(software.interpreters(("/nowhere/python3",))).found == "missing: /nowhere/python3"


def test_a_range_that_is_leased_to_the_last_port_is_a_failure(settings: Settings, tmp_path: Path) -> None:
    few = replace(settings, first_port=20001, last_port=20001)
    settings.paths.state.mkdir()
    with closing(open_database(settings.paths.database)) as database:
        database.execute("INSERT INTO lease VALUES ('blog', 20001)")
    assert next(reconciler.ports(few)).level == "fail"


def test_a_clock_that_is_behind_what_was_written_is_a_failure(tmp_path: Path) -> None:
    written = tmp_path / "database"
    written.touch()
    assert next(reconciler.clock(written)).level == "ok"
    os.utime(written, (4e9, 4e9))
    assert next(reconciler.clock(written)).level == "fail"


def test_the_clock_is_compared_with_the_program_itself(tmp_path: Path) -> None:
    assert Path(reconciler.__file__).is_file()
    assert next(reconciler.clock(tmp_path / "none")).level == "ok"
