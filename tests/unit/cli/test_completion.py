"""A shell completes the names that the state directory knows, by the argument that is typed."""

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.state.records import Records, ServiceStatus
from reconciler.state.revision_history import RevisionHistory
from reconciler.state.schema import open_database
from tests.support.site import REPOSITORY
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


def test_a_name_that_is_given_is_not_offered_again(state: Path) -> None:
    assert completed(state, "restart", "blog", "") == "plain,shop\n"


@pytest.mark.parametrize("command", ["events", "wait"])
def test_an_app_or_a_service_is_completed(state: Path, command: str) -> None:
    assert completed(state, command, "shop", "b") == "plain,blog\n"
    assert completed(state, command, "service/") == "plain,service/blog-db\n"


def test_every_argument_that_names_something_is_completed() -> None:
    context = click.Context(group, resilient_parsing=True)
    named = {"app", "apps", "service", "revision"}
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        plain = [each.name for each in command.params if each.name in named and each.type is click.STRING]
        assert plain == [], name


def test_no_name_of_this_host_is_completed_for_another(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(state, "status", "--host", "ssh://web1", "s").strip() == ""
    monkeypatch.setenv("RECONCILER_HOST", "ssh://web1")
    assert completed(state, "status", "s").strip() == ""


_BASH = """
eval "$(reconciler completion bash)"
COMP_WORDS=({words} '')
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_reconciler_completion reconciler
printf '%s\n' "${{COMPREPLY[@]}}"
"""


def shell_environment(state: Path, folder: Path) -> dict[str, str]:
    """An environment in which `reconciler` is this one, and its daemon's state that directory."""
    folder.mkdir()
    program = folder / "reconciler"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m reconciler "$@"\n')
    program.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "RECONCILER_STATE": str(state)}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("reconciler restart", ["blog", "shop"]),
        ("reconciler backup", ["blog-db"]),
        ("reconciler rollback blog", [REVISION.id]),
    ],
)
def test_bash_itself_is_offered_the_names(state: Path, tmp_path: Path, words: str, expected: list[str]) -> None:
    done = subprocess.run(
        ["bash", "--norc", "-c", _BASH.format(words=words)],
        env=shell_environment(state, tmp_path / "bin"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == expected


def test_fish_itself_is_offered_the_names(state: Path, tmp_path: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("no fish on this host")
    script = "reconciler completion fish | source; complete --do-complete 'reconciler restart '"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=shell_environment(state, tmp_path / "bin"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert {"blog", "shop"} <= set(done.stdout.split())


@pytest.mark.parametrize(("shell", "offered"), [("zsh", "plain\nshop\n_\n"), ("fish", "plain,shop")])
def test_other_shells_are_offered_the_same(state: Path, shell: str, offered: str) -> None:
    line = f"reconciler restart --state {state} s"
    env = {"_RECONCILER_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": "4"}
    if shell == "fish":
        env["COMP_CWORD"] = "s"
    done = CliRunner(env=env).invoke(group, prog_name="reconciler").output
    assert done.strip() == offered.strip()


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
