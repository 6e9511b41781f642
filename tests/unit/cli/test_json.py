"""Every command that prints facts or acts speaks JSON, and all of them tell a failure in one shape."""

import ast
import json
import time
from contextlib import closing
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from reconciler.cli.failure import REASONS
from reconciler.cli.main import _COMMANDS, group
from reconciler.daemon.shutdown import Stopped
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.site import REPOSITORY
from tests.unit.state.test_running_daemons import held

# What has no --json, and why.
WITHOUT = {
    "run": "prints events until it ends; --events json prints them as JSON",
    "metrics": "prints the format of Prometheus",
    "shell": "becomes the program that it runs",
    "service-shell": "becomes the program that it runs",
    "exec": "becomes the program that it runs",
    "completion": "prints a script",
    "warden": "serves until it ends",
}
# What a command needs to get as far as the state directory; {app} is an empty directory.
ARGUMENTS = {
    "init": ("{app}",),
    "import": ("{app}",),
    "bundle": ("{app}",),
    "config": ("blog",),
    "secrets": ("set", "blog", "KEY"),
    "scale": ("blog", "2"),
    "maintenance": ("blog", "on"),
    "edit": ("blog",),
    "open": ("blog",),
    "releases": ("blog",),
    "restart": ("blog",),
    "rollback": ("blog",),
    "stop": ("blog",),
    "start": ("blog",),
    "forget-failure": ("blog",),
    "env": ("blog",),
    "shell": ("blog",),
    "exec": ("blog",),
    "image": ("blog", "--base", "{app}", "--output", "{app}/image"),
    "rotate": ("blog-db",),
    "service-shell": ("blog-db",),
    "backup": ("blog-db",),
    "verify-backup": ("blog-db",),
    "restore": ("blog-db", "it"),
    "notify": ("--test",),
    "completion": ("bash",),
}
# What goes on as a daemon, or is about the whole host.
ON_THE_HOST = frozenset(("run", "install", "uninstall", "doctor", "warden"))


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(group, [str(word) for word in words], prog_name="reconciler")


def error_of(done: Result) -> dict[str, str]:
    """The line of an error, which is the last one on standard error."""
    told = json.loads(done.stderr.splitlines()[-1])
    assert ([*told], sorted(told["error"])) == (["error"], ["message", "reason"])
    error: dict[str, str] = told["error"]
    assert error["reason"] in REASONS
    assert error["message"]
    return error


def command_of(name: str) -> click.Command:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def options_of(name: str) -> set[str]:
    return {option for parameter in command_of(name).params for option in parameter.opts}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory without a daemon."""
    directory = tmp_path / "state"
    directory.mkdir()
    open_database(StatePaths(state=directory).database).close()
    return directory


def test_every_command_speaks_json_or_says_why_not() -> None:
    assert {name for name in _COMMANDS if "--json" not in options_of(name)} == WITHOUT.keys()


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_command_tells_wrong_words_in_one_shape(name: str) -> None:
    if name in WITHOUT:
        done = run(name) if name in {"shell", "service-shell"} else run(name, "--no-such-option")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.splitlines()[-1].startswith("Error: ")
        return
    done = run(name, "--no-such-option", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert error_of(done)["reason"] == "usage"


@pytest.mark.parametrize("name", sorted({*_COMMANDS} - ON_THE_HOST))
@pytest.mark.parametrize("version", [None, 99], ids=["without a daemon", "of a newer version"])
def test_every_command_tells_a_failure_in_one_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: int | None
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "state").mkdir()
    (tmp_path / "manifests" / "refused.yaml").write_text("nonsense: true\n")
    with closing(open_database(StatePaths(state=tmp_path / "state").database)) as database:
        if version is not None:
            database.execute(f"PRAGMA user_version={version}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECONCILER_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EDITOR", "false")
    words = [name, *(word.format(app=tmp_path / "app") for word in ARGUMENTS.get(name, ()))]
    words += ["--interval", "100ms"] if name == "top" else ["--timeout", "1s"] if name == "apply" else []
    done = run(*words, *([] if name in WITHOUT else ["--json"]))
    assert done.exception is None or isinstance(done.exception, SystemExit)
    if name in WITHOUT and done.exit_code:
        assert "\nError: " in f"\n{done.stderr}"
    elif done.exit_code:
        reason = error_of(done)["reason"]
        assert (reason == "no-daemon") == (done.exit_code == 3)
        assert (reason == "usage") == (done.exit_code == 2)


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("restart", "blog"), 3, "no-daemon"),
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
    state: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, reason: str
) -> None:
    monkeypatch.chdir(state.parent)
    (state.parent / "manifests").mkdir()
    done = run(*words, "--json", "--state", state)
    error = error_of(done)
    assert (done.exit_code, error["reason"]) == (code, reason), done.output
    text = run(*words, "--state", state)
    assert f"Error: {error['message']}" in text.stderr


def test_without_json_a_failure_is_a_sentence(state: Path) -> None:
    assert run("restart", "blog", "--state", state).stderr.startswith("Error: no daemon is running in ")


def test_a_directory_that_no_daemon_used_has_a_reason(tmp_path: Path) -> None:
    done = run("status", "--json", "--state", tmp_path)
    assert (done.exit_code, error_of(done)["reason"]) == (1, "never-used")
    for words in (("restart", "blog"), ("rollback", "blog"), ("wait",), ("page",)):
        done = run(*words, "--json", "--state", tmp_path)
        assert (done.exit_code, error_of(done)["reason"]) == (3, "no-daemon")


def test_each_of_several_apps_has_a_line_and_the_failure_is_told_once(state: Path) -> None:
    done = run("restart", "blog", "shop", "--json", "--state", state)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(each["app"], each["done"]) for each in told] == [("blog", None), ("shop", None)]
    assert told[0]["error"] == told[1]["error"] == error_of(done)


def test_what_is_told_in_the_output_is_a_failure_for_programs_only(tmp_path: Path) -> None:
    (tmp_path / "refused.yaml").write_text("nonsense: true\n")
    words = ("--manifests", tmp_path, "--state", tmp_path / "state")
    for command in ("validate", "plan"):
        done = run(command, "--json", *words)
        assert (done.exit_code, error_of(done)["reason"]) == (1, "manifest-errors")
        assert json.loads(done.stdout)
        assert (run(command, *words).exit_code, run(command, *words).stderr) == (1, "")


@pytest.mark.parametrize(
    "words",
    [
        ("validate", "--format", "json"),
        ("validate", "--format=json"),
        ("run", "--events", "json"),
        ("nonsense", "--json"),
    ],
)
def test_every_way_to_ask_for_json_asks_for_failures_as_json(words: tuple[str, ...]) -> None:
    assert error_of(run(*words, "--nope"))["reason"] == "usage"


def test_a_variable_asks_for_json_as_its_option_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_EVENTS", "json")
    assert error_of(run("run", "--nope"))["reason"] == "usage"
    assert run("run", "--nope", "--events", "text").stderr.splitlines()[-1].startswith("Error: ")


def test_a_command_that_is_interrupted_says_so_in_the_same_shape(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    with held(state):
        done = run("wait", "--json", "--state", state)
    assert (done.exit_code, error_of(done)["reason"]) == (1, "interrupted")


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
            if name in {"Failure", "Told"} or (inherits and len(node.args) > 1):
                given.add(str(node.args[0].value))
    assert given == REASONS.keys()


def test_what_is_stopped_is_counted(state: Path) -> None:
    done = run("down", "--json", "--state", state)
    nothing = {"daemon": None, "instances": 0, "processes": 0, "tasks": 0, "strays": 0, "left": ""}
    assert json.loads(done.stdout) == nothing


def test_what_could_not_be_removed_is_told(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state.mkdir(parents=True, exist_ok=True)
    (state / "reconciler.db").touch()
    left = "process 12 of shop is still running"
    monkeypatch.setattr("reconciler.daemon.shutdown.shut_down", lambda *_: Stopped(strays=1, left=left))
    done = run("down", "--json", "--state", state)
    assert (done.exit_code, error_of(done)["message"], json.loads(done.stdout)["left"]) == (1, left, left)


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
