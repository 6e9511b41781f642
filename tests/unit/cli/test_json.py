"""Every command that prints facts or acts speaks JSON, and all of them tell a failure in one shape."""

import ast
import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from reconciler.cli.failure import REASONS
from reconciler.cli.main import _COMMANDS, group
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.site import REPOSITORY

# What has no --json, and why.
WITHOUT = {
    "run": "prints events until it ends; --events json prints them as JSON",
    "metrics": "prints the format of Prometheus",
    "shell": "becomes the program that it runs",
    "service-shell": "becomes the program that it runs",
    "completion": "prints a script",
}


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(group, [str(word) for word in words], prog_name="reconciler")


def error_of(done: Result) -> dict[str, str]:
    """The one line of an error, which is all that is on standard error."""
    (line,) = done.stderr.splitlines()
    error: dict[str, str] = json.loads(line)["error"]
    return error


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory without a daemon."""
    directory = tmp_path / "state"
    directory.mkdir()
    open_database(StatePaths(state=directory).database).close()
    return directory


def test_every_command_speaks_json_or_says_why_not() -> None:
    context = click.Context(group)
    commands = {name: group.get_command(context, name) for name in _COMMANDS}
    silent = {
        name
        for name, command in commands.items()
        if command and not any("--json" in parameter.opts for parameter in command.params)
    }
    assert silent == WITHOUT.keys()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("restart", "blog"), 3, None),
        (("rollback", "blog"), 3, "no-daemon"),
        (("rotate", "db"), 3, "no-daemon"),
        (("prune",), 3, "no-daemon"),
        (("wait",), 3, "no-daemon"),
        (("status", "--check"), 3, "no-daemon"),
        (("status", "blog"), 1, "not-found"),
        (("status", "blog*"), 1, "not-found"),
        (("releases", "blog"), 1, "not-found"),
        (("env", "blog"), 1, "not-found"),
        (("status", "--nope"), 2, "usage"),
        (("rollback",), 2, "usage"),
        (("top", "--interval", "soon"), 2, "usage"),
        (("status", "--host", "http://web1"), 2, "usage"),
        (("plan", "--settings", "/nowhere.yaml"), 1, "unusable-settings"),
    ],
)
def test_a_failure_is_one_line_with_a_reason(
    state: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, reason: str | None
) -> None:
    monkeypatch.chdir(state.parent)
    (state.parent / "manifests").mkdir()
    done = run(*words, "--json", "--state", state)
    assert done.exit_code == code, done.output
    if reason is None:  # of several apps, each has a line of its own
        assert json.loads(done.stdout)["error"]["reason"] == "no-daemon"
        return
    error = error_of(done)
    assert (error["reason"], sorted(error)) == (reason, ["message", "reason"])
    assert error["message"]
    text = run(*words, "--state", state)
    assert f"Error: {error['message']}" in text.stderr


def test_without_json_a_failure_is_a_sentence(state: Path) -> None:
    assert run("restart", "blog", "--state", state).stderr.startswith("Error: no daemon is running in ")


def test_a_directory_that_no_daemon_used_has_a_reason(tmp_path: Path) -> None:
    done = run("status", "--json", "--state", tmp_path)
    assert (done.exit_code, error_of(done)["reason"]) == (1, "no-daemon")


def test_json_after_two_dashes_is_a_word(state: Path) -> None:
    assert run("restart", "--state", state, "--", "blog", "--json").stderr.startswith("Error: ")


def test_the_reasons_that_are_given_are_those_of_the_reference() -> None:
    given: set[str] = {"usage", "failed"}
    for file in (REPOSITORY / "reconciler" / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant)):
                continue
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            inherits = isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"
            if name == "Failure" or (inherits and len(node.args) > 1):
                given.add(str(node.args[0].value))
    assert given == REASONS.keys()


def test_what_is_stopped_is_counted(state: Path) -> None:
    done = run("down", "--json", "--state", state)
    assert json.loads(done.stdout) == {"daemon": None, "instances": 0, "strays": 0}


def test_an_installation_is_told_step_by_step(tmp_path: Path) -> None:
    steps = json.loads(run("install", "--json", "--root", tmp_path).stdout)
    assert {"change": "writes", "path": "/etc/reconciler/host.yaml", "hint": ""} in steps["steps"]
    assert steps["next"].startswith("systemctl daemon-reload")
    (tmp_path / "etc/reconciler/host.yaml").write_text("edited: true\n")
    steps = json.loads(run("uninstall", "--json", "--root", tmp_path, "--dry-run").stdout)
    kept = {"change": "kept", "path": "/etc/reconciler/host.yaml", "hint": "--force removes it"}
    assert (kept in steps["steps"], steps["next"]) == (True, None)


def test_a_new_manifest_is_told_with_its_text(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    manifests, state = tmp_path / "manifests", tmp_path / "state"
    done = run("init", tmp_path / "app", "--name", "blog", "--json", "--manifests", manifests, "--state", state)
    told = json.loads(done.stdout)
    assert (told["app"], told["manifest"], told["written"]) == ("blog", str(manifests / "blog.yaml"), True)
    assert (manifests / "blog.yaml").read_text() == told["text"]
    found = json.loads(run("validate", "--json", "--manifests", manifests, "--state", state).stdout)
    assert found["apps"] == ["blog"]


def test_new_keys_are_counted(state: Path) -> None:
    told = json.loads(run("rekey", "--json", "--state", state).stdout)
    assert (told["secrets"], told["key"], told["error"]) == (0, str(state / "key"), None)
