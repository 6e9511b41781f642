"""A shell completes the names that the state directory knows, by the argument that is typed."""

from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.state.records import Records, ServiceStatus
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from tests.world import an_app

REVISION = an_app().revision("c0ffee")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with the apps blog and shop, the service blog-db, and a known good revision of blog."""
    for app in ("blog", "shop"):
        (tmp_path / "apps" / app).mkdir(parents=True)
    with closing(open_database(tmp_path / "reconciler.db")) as database:
        records = Records(database)
        records.set_service_status("blog-db", ServiceStatus(state="ready", message="", since=0.0))
        RevisionHistory(records, "boot").mark_good("blog", REVISION)
    return tmp_path


def completed(state: Path, command: str, *words: str) -> str:
    """What bash is offered for the last of the words."""
    line = " ".join(("reconciler", command, "--state", str(state), *words))
    env = {"_RECONCILER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(len(words) + 3)}
    return CliRunner(env=env).invoke(group, prog_name="reconciler").output


@pytest.mark.parametrize("command", ["service-shell", "backup", "backups", "verify-backup", "restore", "rotate"])
def test_a_service_is_completed(state: Path, command: str) -> None:
    assert completed(state, command, "b") == "plain,blog-db\n"


@pytest.mark.parametrize("command", ["logs", "status", "restart", "stop"])
def test_an_app_is_completed(state: Path, command: str) -> None:
    assert completed(state, command, "s") == "plain,shop\n"


@pytest.mark.parametrize("command", ["status", "restart", "stop", "start", "forget-failure"])
def test_every_one_of_several_apps_is_completed(state: Path, command: str) -> None:
    assert completed(state, command, "blog", "s") == "plain,shop\n"


def test_a_revision_of_the_app_is_completed(state: Path) -> None:
    assert completed(state, "rollback", "blog", REVISION.id[:3]) == f"plain,{REVISION.id}\n"
    assert completed(state, "rollback", "shop", "").strip() == ""


def test_a_variable_of_the_app_is_completed(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state / "m").mkdir()
    (state / "m" / "blog.yaml").write_text("path: x\nenv: {LOG_LEVEL: info, KEY: {file: k}}\n")
    monkeypatch.setenv("RECONCILER_MANIFESTS", str(state / "m"))
    assert completed(state, "config", "blog", "set", "L") == "plain,LOG_LEVEL=\n"
    assert completed(state, "config", "blog", "unset", "KEY", "L") == "plain,LOG_LEVEL\n"
    assert completed(state, "secrets", "unset", "blog", "K") == "plain,KEY\n"
    assert completed(state, "config", "shop", "unset", "K").strip() == ""


def test_a_backup_of_the_service_is_completed_and_else_a_file(state: Path) -> None:
    (state / "backups").mkdir()
    name = "blog-db-0123456789ab-20260101T000000Z.sqlite"
    (state / "backups" / name).touch()
    assert completed(state, "restore", "blog-db", "b") == f"plain,{name}\n"
    assert completed(state, "verify-backup", "other-db", "b") == "file,b\n"


def test_what_cannot_be_read_completes_nothing(tmp_path: Path) -> None:
    (tmp_path / "reconciler.db").write_bytes(b"no database" * 100)
    assert completed(tmp_path, "backup", "b").strip() == ""
