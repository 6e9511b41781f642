"""The commands that need nothing to run: what they print, how they exit, and that they leave no trace."""

import contextlib
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from reconciler.cli.main import _COMMANDS, _TASKS, group
from reconciler.linux.control_groups import Group, hierarchies
from reconciler.linux.process_identity import boot_id
from reconciler.linux.unix_sockets import reachable
from reconciler.planning.address import Address
from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
from reconciler.state.records import AppStatus, InstanceRecord, Records
from reconciler.state.schema import open_database
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import masked
from tests.support.site import REPOSITORY

WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"


def run(*words: str | Path, code: int = 0) -> Result:
    done = CliRunner().invoke(group, [str(word) for word in words], prog_name="reconciler")
    assert done.exit_code == code, done.output + repr(done.exception)
    return done


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    """A directory with one good manifest, of an app that can be read."""
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text(WSGI)
    directory = tmp_path / "manifests"
    directory.mkdir()
    (directory / "blog.yaml").write_text("path: ../app\n")
    return directory


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory as a daemon leaves it that never had anything to do."""
    directory = tmp_path / "state"
    directory.mkdir()
    open_database(directory / "reconciler.db").close()
    return directory


def test_help_lists_every_command_and_each_has_an_example() -> None:
    listed = run("--help").output
    for name in _COMMANDS:
        assert f"\n  {name} " in listed
        assert "Examples:\n" in run(name, "--help").output


def test_the_summary_of_a_command_is_the_first_line_of_its_help() -> None:
    listed = run("--help").output
    for name in _COMMANDS:
        text = run(name, "--help").output.split("\n\n")[1].strip()
        assert re.search(rf"^  {name} +{re.escape(text)}$", listed, re.MULTILINE), text


def test_the_readme_lists_the_commands_by_the_same_tasks() -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]*`[^|]*) \|$", readme[readme.index("## Commands") :], re.MULTILINE))
    found = {task: re.findall(r"`(?:reconciler )?([a-z-]+)`", cell) for task, cell in rows.items()}
    assert {task[0].lower() + task[1:]: [*names] for task, names in _TASKS.items()} == found


def test_every_module_of_a_command_is_listed() -> None:
    folder = REPOSITORY / "reconciler" / "cli"
    commands = {path.stem for path in folder.glob("*.py") if "\n@click.command(" in path.read_text(encoding="utf-8")}
    commands -= {"main"}
    assert {name.removesuffix("_") for name in commands} <= {name.replace("-", "_") for name in _COMMANDS}


def test_help_and_status_load_no_yaml_and_no_jsonschema(state: Path) -> None:
    code = (
        "import sys; from reconciler.cli.main import group; group(sys.argv[1:], standalone_mode=False);"
        "sys.exit(any(name in sys.modules for name in ('yaml', 'jsonschema', 'rich', 'tenacity', 'virtualenv')))"
    )
    for words in (["--help"], ["status", "--state", str(state)]):
        subprocess.run([sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, check=True)


def test_a_misspelt_command_is_answered_with_the_likely_one() -> None:
    assert "Did you mean 'status'" in run("staus", code=2).output


# validate


def test_good_manifests_validate(manifests: Path) -> None:
    assert run("validate", "--manifests", manifests).output == f"{manifests}: 1 file, 1 app, no problems\n"


def test_every_error_is_told_with_its_place_and_nothing_is_made(manifests: Path, tmp_path: Path) -> None:
    (manifests / "a.yaml").write_text("pth: x\nwrokers: 2\n")
    (manifests / "b.yaml").write_text("path: x\nport: 9000\n")
    (manifests / "c.yaml").write_text("path: x\nport: 9000\n")
    before = sorted(tmp_path.rglob("*"))
    lines = run("validate", "--manifests", manifests, code=1).output.splitlines()
    assert lines[0] == f"{manifests}/a.yaml:1:1: pth: unknown field 'pth'; did you mean 'path'?"
    assert [line.split(": ")[0] for line in lines[1:4]] == [
        f"{manifests}/a.yaml:2:1", f"{manifests}/b.yaml:2:1", f"{manifests}/c.yaml:2:1"
    ]  # fmt: skip
    assert lines[4] == f"{manifests}: 4 files, 1 app, 4 problems"
    assert sorted(tmp_path.rglob("*")) == before


def test_of_two_that_claim_one_port_the_one_that_the_daemon_has_accepted_keeps_it(
    manifests: Path, tmp_path: Path
) -> None:
    for name in ("b", "c"):
        (manifests / f"{name}.yaml").write_text("path: .\nport: 9000\n")
    words = ("validate", "--manifests", manifests, "--state", tmp_path / "own")
    assert f"{manifests}/c.yaml:2:1" in run(*words, code=1).output
    database = StatePaths(state=tmp_path / "own").database
    database.parent.mkdir()
    with contextlib.closing(open_database(database)) as opened:
        Records(opened).replace_manifests({str(manifests / "c.yaml"): b"path: .\nport: 9000\n"})
    refused = run(*words, code=1).output.splitlines()[0]
    claims = "127.0.0.1:9000 is also claimed by 'c'"
    assert refused == f"{manifests}/b.yaml:2:1: port: {claims} in {manifests}/c.yaml:2"
    (manifests / "c.yaml").write_text("path: .\nport: 9000\nworkers: 2\n")
    assert f"{manifests}/c.yaml:2:1" in run(*words, code=1).output


def test_validate_speaks_json_and_github(manifests: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (manifests / "a.yaml").write_text("pth: 100%\n")
    monkeypatch.chdir(manifests.parent)
    facts = json.loads(run("validate", "--manifests", manifests, "--format", "json", code=1).stdout)
    assert facts["files"] == 2
    assert facts["apps"] == ["blog"]
    assert facts["problems"][0]["line"] == 1
    told = run("validate", "--manifests", manifests, "--format", "github", code=1).output.splitlines()[0]
    assert told.startswith("::error file=manifests/a.yaml,line=1,col=1::pth: unknown field")


def test_warnings_fail_only_where_they_are_asked_to(manifests: Path) -> None:
    (manifests / "shop.yaml").write_text("path: ../nope\n")
    words = ("validate", "--manifests", manifests)
    warning, summary = run(*words).output.splitlines()
    assert warning.startswith(f"{manifests}/shop.yaml:1:7: warning: path: there is no directory or archive ")
    assert summary == f"{manifests}: 2 files, 2 apps, no problems, 1 warning"
    assert run(*words, "--strict", code=1).output == run(*words).output
    assert json.loads(run(*words, "--format", "json").output)["warnings"][0]["path"] == "path"
    assert run(*words, "--format", "github").output.startswith("::warning file=")


def test_a_directory_that_cannot_be_read_does_not_validate(tmp_path: Path) -> None:
    assert run("validate", "--manifests", tmp_path / "none", code=1).output.startswith("cannot read ")


# plan


def test_where_nothing_ever_ran_everything_is_planned_and_nothing_is_made(manifests: Path, tmp_path: Path) -> None:
    lines = run("plan", "--manifests", manifests, "--state", tmp_path / "s", code=2).output.splitlines()
    assert lines[0].startswith("blog: listen on ")
    assert lines[0].endswith("is not open")
    assert lines[2].startswith("blog: start revision ")
    assert lines[3] == "3 actions for 1 app"
    assert not (tmp_path / "s").exists()


def test_a_source_that_cannot_be_read_is_an_error(manifests: Path, tmp_path: Path) -> None:
    (manifests / "lost.yaml").write_text("path: ../lost\n")
    done = run("plan", "--manifests", manifests, "--state", tmp_path / "s", code=1)
    assert "lost: cannot read the source at" in done.output
    assert "blog: stage build" in done.output


def test_a_wrong_manifest_is_an_error_of_the_plan(manifests: Path, tmp_path: Path) -> None:
    (manifests / "wrong.yaml").write_text("pth: x\n")
    assert "refused: " in run("plan", "--manifests", manifests, "--state", tmp_path / "s", code=1).output


def test_nothing_asked_is_nothing_to_do(tmp_path: Path, state: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert run("plan", "--manifests", tmp_path / "empty", "--state", state).output.startswith("nothing to do")


def test_a_stopped_app_of_which_nothing_runs_is_as_asked(manifests: Path, state: Path) -> None:
    (manifests / "blog.yaml").write_text("path: ../app\nstate: stopped\n")
    assert run("plan", "--manifests", manifests, "--state", state).output == "nothing to do: 1 app up to date\n"


def test_an_instance_that_died_unseen_is_started_again(manifests: Path, state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        Records(database).put_instance(
            InstanceRecord(
                id="i1", app="blog", revision="r1", build="b1", address=Address(host="127.0.0.1", port=8000),
                boot=boot_id(), started_at=0.0, stop_timeout_s=1.0, workers=1, pid=2**22 + 1, ticks=1, ready_at=1.0,
            )
        )  # fmt: skip
    told = run("plan", "--manifests", manifests, "--state", state, code=2).output
    assert "blog: clean up after instance i1 — gunicorn 4194305 exited while no daemon was watching" in told


def test_plan_of_an_unknown_app_says_so(manifests: Path, tmp_path: Path) -> None:
    assert (
        "no app named 'nope'" in run("plan", "nope", "--manifests", manifests, "--state", tmp_path / "s", code=1).output
    )


def test_plan_of_an_app_whose_manifest_is_refused_says_why(manifests: Path, tmp_path: Path) -> None:
    (manifests / "shop.yaml").write_text("path: ../app\nworker: 2\n")
    told = run("plan", "shop", "--manifests", manifests, "--state", tmp_path / "s", code=1).output
    assert "the manifest of 'shop' is refused:" in told
    assert "shop.yaml:2:1: worker: unknown field" in told


def test_plan_names_an_app_that_waits_and_why(manifests: Path, state: Path) -> None:
    (manifests / "blog.yaml").write_text("path: ../app\nenv: {KEY: {file: nope}}\n")
    message = "waiting: cannot read nope: No such file or directory"
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        waits = AppStatus(
            state="pending", message=message, wanted=None, since=1.0, next_try_at=None, reason="waiting-for-inputs"
        )
        Records(database).set_app_status("blog", waits)
    told = run("plan", "--json", "--manifests", manifests, "--state", state, code=2).output
    assert json.loads(told)["apps"][0]["message"] == message


def test_plan_counts_an_app_that_waits_for_another_as_waiting(manifests: Path, state: Path) -> None:
    (manifests / "blog.yaml").write_text("path: ../app\ndepends_on: [shop]\n")
    told = run("plan", "--manifests", manifests, "--state", state, code=2).output
    assert "start revision" not in told


def test_plan_speaks_json(manifests: Path, tmp_path: Path) -> None:
    facts = json.loads(run("plan", "--json", "--manifests", manifests, "--state", tmp_path / "s", code=2).output)
    (app,) = facts["apps"]
    assert [action["action"] for action in app["actions"]] == ["Listen", "Stage", "Start"]
    assert [action["reason"] for action in app["actions"]] == ["not-listening", "first-time", "not-running"]
    assert app["reason"] == "not-listening"
    assert len(app["wanted_revision"]) == 12


# status, events, logs


def test_commands_that_look_at_what_ran_say_that_nothing_ever_did(tmp_path: Path) -> None:
    for words in (["status"], ["events"], ["logs", "blog"], ["env", "blog"], ["shell", "blog"]):
        assert "no daemon has ever run in" in run(*words, "--state", tmp_path / "none", code=1).output


def test_a_state_of_a_newer_version_is_explained(state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        database.execute("PRAGMA user_version=99")
    assert "newer reconciler" in run("status", "--state", state, code=1).output
    assert "newer reconciler" in run("events", "--state", state, code=1).output


def test_status_names_its_version_in_json(state: Path) -> None:
    assert json.loads(run("status", "--json", "--state", state).output)["daemon"]["version"]


def test_events_are_the_newest_ones_oldest_first(state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        for number in range(5):
            Journal(database).write(Subject("app", "blog"), "ready", f"event {number}")
    assert [line.split()[-1] for line in run("events", "-n", "2", "--state", state).output.splitlines()] == ["3", "4"]
    assert run("events", "-n", "0", "--state", state).output == ""
    assert "there are no events of shop; 'reconciler status'" in run("events", "shop", "--state", state).output
    assert "there are no events of what matches 'sh*'" in run("events", "sh*", "--state", state).output
    assert "there are no events of service shop" in run("events", "service/shop", "--state", state).output
    assert json.loads(run("events", "-n", "1", "--json", "--state", state).output)["text"] == "event 4"


def test_events_of_several_apps_and_services_are_chosen_by_names_and_patterns(state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        for subject in (
            Subject("app", "blog"), Subject("app", "shop-web"), Subject("service", "shop-db"), Subject("app", "shop-x"),
        ):  # fmt: skip
            Journal(database).write(subject, "ready", f"of {subject.name}")

    def told(*words: str) -> list[str]:
        return [line.split()[-1] for line in run("events", *words, "--state", state).stdout.splitlines()]

    assert told("shop-*") == ["shop-web", "shop-x"]
    assert told("shop-[!w]") == ["shop-x"]
    assert told("blog", "service/*") == ["blog", "shop-db"]
    assert told("--all") == told() == ["blog", "shop-web", "shop-db", "shop-x"]
    assert told("nothing*") == []
    assert "give names, or --all, not both" in run("events", "--all", "blog", "--state", state, code=2).output


def test_names_that_are_almost_right_are_answered_with_the_right_ones(state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        Records(database).set_app_status(
            "blog", AppStatus(state="running", message="", since=0.0, wanted=None, next_try_at=None)
        )
    told = run("status", "blgo", "--state", state, code=1).output
    assert told == "Error: no app named 'blgo'; did you mean 'blog'?\n"
    told = run("status", "blog", "zzz", "--state", state, code=1).output
    assert told == "Error: no app named 'zzz'; 'reconciler status' lists the apps\n"
    told = run("ps", "blgo", "zzz", "--state", state, code=1).output
    assert told == "Error: no app named 'blgo'; did you mean 'blog'?; no app named 'zzz'\n"
    told = run("logs", "blog", "b*", "--state", state, code=1).output
    assert told == (
        "Error: no app named 'blog' has logs here; no app that matches 'b*' has logs here;"
        " 'reconciler status' lists the apps\n"
    )


def test_all_is_the_same_as_no_name(state: Path) -> None:
    assert run("status", "--all", "--state", state).stdout == run("status", "--state", state).stdout
    for name in group.list_commands(click.Context(group)):
        if takes_several_apps(name):
            assert "give names, or --all, not both" in run(name, "blog", "--all", "--state", state, code=2).output


def takes_several_apps(name: str) -> bool:
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return any(parameter.name == "apps" and parameter.nargs == -1 for parameter in command.params)


def test_a_command_about_apps_tells_where_services_are_shown(state: Path) -> None:
    for name in ("status", "ps", "logs", "restart"):
        told = run(name, "service/blog-db", "--state", state, code=2).output
        assert told.endswith("Error: this command is about apps; 'reconciler services' shows the services\n")


def test_events_of_a_service_are_found_under_its_own_name(state: Path) -> None:
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        Journal(database).write(Subject("service", "db"), "ready", "ready")
    told = run("events", "db", "--state", state).output
    assert told == "there are no events of an app named 'db'; for the service: 'reconciler events service/db'\n"


@pytest.mark.parametrize("end", ["\n", ""])
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 100])
def test_logs_print_the_last_lines(state: Path, lines: int, end: str) -> None:
    log = StatePaths(state=state).log("blog", "app")
    log.parent.mkdir(parents=True)
    log.write_text("\n".join("abc") + end)
    told = run("logs", "blog", "-n", str(lines), "--state", state).output.splitlines()
    assert [line.split()[-1] for line in told] == list("abc")[3 - min(lines, 3) :]


def test_logs_find_the_last_lines_of_a_large_file(state: Path) -> None:
    log = StatePaths(state=state).log("blog", "app")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"{number:09}\n" for number in range(50_000)))
    told = run("logs", "blog", "-n", "20000", "--state", state).output.splitlines()
    assert (len(told), told[0].split()[-1], told[-1].split()[-1]) == (20_000, "000030000", "000049999")


def test_logs_of_an_unknown_app_are_an_error(state: Path) -> None:
    for name in ("nope", "..", "a/b"):
        assert "no app named" in run("logs", name, "--state", state, code=1).output


# env


def test_a_log_is_shown_without_obeying_it_unless_its_bytes_are_asked_for(state: Path) -> None:
    written = "\x1b[2Jgone\x00 \u202egnp.exe\r\nGrüße 👩\u200d💻\n".encode() + b"\xff\n"
    log = StatePaths(state=state).log("blog", "app")
    log.parent.mkdir(parents=True)
    log.write_bytes(written)
    told = [line.partition("~ ")[2] for line in run("logs", "blog", "--state", state).output.splitlines()]
    assert told == ["\\x1b[2Jgone\\x00 \\u202egnp.exe", "Grüße 👩\u200d💻", "\ufffd"]
    assert run("logs", "blog", "--raw", "--state", state).stdout_bytes == written


def test_what_is_complained_of_is_shown_without_obeying_it(state: Path) -> None:
    for words in (["logs", "\x1b[2J\u202e", "--state", state], ["events", "--kind", "\x1b[2J", "--state", state],
                  ["\x1b[2J"], ["status", "--state", state / "\x1b[2J"]):  # fmt: skip
        done = CliRunner().invoke(group, [str(word) for word in words], prog_name="reconciler")
        assert done.exit_code != 0
        assert "\\x1b[2J" in done.output
        assert not set(done.output) & set("\x1b\u202e")


def test_secrets_are_masked_by_name_url_and_binding() -> None:
    services = {"redis": [{"name": "cache", "credentials": {"password": "hunter2"}}]}
    shown = masked(
        {
            "API_KEY": "hunter2",
            "django_secret": "hunter2",
            "SENTRY_DSN": "hunter2",
            "MAIL_PASS": "hunter2",
            "DATABASE_URL": "postgres://blog:hunter2/@x@db/blog",
            "PLAIN_URL": "http://db:5432/x",
            "VCAP_SERVICES": json.dumps(services),
            "LOG_LEVEL": "info",
        }
    )
    assert "hunter2" not in "".join(shown.values())
    assert shown["API_KEY"] == HIDDEN
    assert shown["DATABASE_URL"] == f"postgres://blog:{HIDDEN}@db/blog"
    assert shown["PLAIN_URL"] == "http://db:5432/x"
    assert shown["LOG_LEVEL"] == "info"
    assert json.loads(shown["VCAP_SERVICES"]) == {"redis": [{"name": "cache", "credentials": HIDDEN}]}


def test_an_app_that_was_never_staged_has_no_environment_yet(manifests: Path, state: Path) -> None:
    told = run("env", "blog", "--manifests", manifests, "--state", state, code=1).output
    assert "the wanted revision of blog is not staged yet" in told
    assert (
        "describes an app named 'shop'" in run("env", "shop", "--manifests", manifests, "--state", state, code=1).output
    )


# down


def test_where_nothing_runs_there_is_nothing_to_stop(state: Path, tmp_path: Path) -> None:
    for directory in (state, tmp_path / "none"):
        done = CliRunner().invoke(group, ["down", "--state", str(directory)])
        assert (done.exit_code, done.output.startswith("nothing to stop")) == (0, True)
    assert not (tmp_path / "none").exists()


def test_down_ends_what_carries_the_marks_and_says_that_it_was_meant(state: Path) -> None:
    # Of this run alone: the same test in another process looks at the same process table.
    state_id = secrets.token_hex(8)
    with contextlib.closing(open_database(state / "reconciler.db")) as database:
        records = Records(database)
        (state / "id").write_text(state_id)
        records.set_app_status("blog", AppStatus(state="running", message="", wanted="r", since=0, next_try_at=None))
        marks = {"RECONCILER_STATE_ID": state_id, "RECONCILER_APP": "blog"}
        ignoring = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"
        master, detached, stubborn, stray = (
            subprocess.Popen(
                [sys.executable, "-c", f"import signal, time; {ready}; print(1, flush=True); time.sleep(60)"],
                env={**marks, "RECONCILER_INSTANCE": name}, start_new_session=name != "stray", stdout=subprocess.PIPE,
            )
            # The second has left the session of the first, and is of its instance all the same.
            for name, ready in (("a" * 12, "0"), ("a" * 12, "0"), ("b" * 12, ignoring), ("stray", "0"))
        )  # fmt: skip
        started = (master, detached, stubborn, stray)
        try:
            for process in started:
                assert process.stdout is not None
                process.stdout.readline()
                process.stdout.close()
            for number, process, worker in (("a" * 12, master, ""), ("b" * 12, stubborn, "worker")):
                records.put_instance(
                    InstanceRecord(
                        id=number, app="blog", revision="r", build="b", address=Address(host="127.0.0.1", port=8000),
                        boot=boot_id(), started_at=time.monotonic(), stop_timeout_s=0.2 if worker else 60.0,
                        workers=1, pid=process.pid, ticks=1, process=worker, slot=1,
                    )
                )  # fmt: skip
            readiness = StatePaths(state=state).readiness("blog") / ("a" * 12)
            readiness.mkdir(parents=True)
            (readiness / "program").write_text("node")
            done = CliRunner().invoke(group, ["down", "--state", str(state)])
            assert done.exit_code == 0, done.output
            assert done.output == "stopped 1 app instance, 1 process and 1 stray process\n"
            assert [process.wait(60) for process in started] == [-15, -15, -9, -9]
        finally:
            for process in started:
                process.kill()
                process.wait()
        assert records.instances() == []
        assert records.app_statuses()["blog"].state == "stopped"
        assert Journal(database).newest(None, 9, kinds=["exited"]) == []
        stopped = [event.text for event in Journal(database).newest(None, 9, kinds=["stopped"])]
        assert set(stopped) == {f"node {master.pid} stopped", f"worker.1 (pid {stubborn.pid}) stopped"}


_DAEMON = """
import pathlib, signal, sys
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
with acquire(StatePaths(state=pathlib.Path(sys.argv[1]))):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(flush=True)
    signal.pause()
"""


@contextlib.contextmanager
def _deaf(state: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon that does not end when it is told to."""
    with subprocess.Popen([sys.executable, "-c", _DAEMON, state], stdout=subprocess.PIPE) as daemon:
        try:
            assert daemon.stdout is not None
            daemon.stdout.readline()
            yield daemon
        finally:
            daemon.kill()


def test_down_kills_a_daemon_that_does_not_end(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.daemon.shutdown._DAEMON_S", 0.1)
    with _deaf(state) as daemon:
        done = run("down", "--state", state)
        assert done.stderr == f"the daemon (pid {daemon.pid}) did not exit within 0.1 s; killing it\n"
        assert done.stdout == f"stopped the daemon (pid {daemon.pid})\n"
        assert daemon.wait(60) == -signal.SIGKILL


def test_down_fails_and_names_a_daemon_that_is_still_there_though_it_was_killed(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [each for each in hierarchies() if "freezer" in each.controllers and os.access(each.mount, os.W_OK)]
    if not found:
        pytest.skip("there is no freezer of version 1 here, in which no process ends")
    monkeypatch.setattr("reconciler.daemon.shutdown._DAEMON_S", 0.1)
    monkeypatch.setattr("reconciler.daemon.shutdown._KILLED_S", 0.1)
    frozen = Group(found[0].mount / f"frozen-{os.getpid()}", 1)
    frozen.make()
    with _deaf(state) as daemon:
        try:
            assert frozen.add(daemon.pid)
            frozen.write("freezer.state", "FROZEN")
            said = run("down", "--state", state, code=1).output
        finally:
            frozen.write("freezer.state", "THAWED")
            daemon.wait(60)
            frozen.remove()
    assert f"Error: the daemon (pid {daemon.pid}) still runs, though it was killed" in said
    assert "stopped" not in said


def test_down_fails_where_it_does_not_see_the_process_of_the_daemon(state: Path) -> None:
    paths = StatePaths(state=state)
    with acquire(paths):
        paths.lock.write_text(str((1 << 22) + 1))  # beyond what the kernel gives: of another namespace
        said = run("down", "--state", state, code=1).output
    assert "Error: cannot stop the daemon (pid 4194305): no such process is seen here" in said


# init


def initialised(tmp_path: Path, code: Path, *more: str) -> str:
    run("init", code, "--manifests", tmp_path / "m", *more)
    (manifest,) = (tmp_path / "m").iterdir()
    run("validate", "--manifests", tmp_path / "m")
    return manifest.read_text()


def test_a_manifest_is_written_from_what_is_found(tmp_path: Path) -> None:
    code = tmp_path / "My Blog"
    code.mkdir()
    (code / "wsgi.py").write_text(WSGI)
    (code / ".python-version").write_text("{}.{}\n".format(*sys.version_info))
    text = initialised(tmp_path, code)
    assert text.startswith("# yaml-language-server: $schema=")
    assert "# Detected a WSGI app, wsgi:application.\n" in text
    assert "path: ../My Blog\n" in text
    assert f"runtime: python{sys.version_info[0]}.{sys.version_info[1]}\n" in text
    assert [entry.name for entry in (tmp_path / "m").iterdir()] == ["my-blog.yaml"]


def test_a_manifest_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "wsgi.py").write_text(WSGI)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "blog.yaml").write_text("path: mine\n")
    assert "already exists" in run("init", tmp_path / "blog", "--manifests", tmp_path / "m", code=1).output
    assert (tmp_path / "m" / "blog.yaml").read_text() == "path: mine\n"


def test_what_cannot_be_found_is_left_to_do(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "README").write_text("nothing to serve\n")
    text = initialised(tmp_path, tmp_path / "odd", "--name", "odd")
    assert "# To do: cannot find the entry point" in text
    assert text.endswith("path: ../odd\n")


def test_what_is_ignored_or_missing_is_written_down(tmp_path: Path) -> None:
    code = tmp_path / "shop"
    code.mkdir()
    (code / "wsgi.py").write_text(f"import flask\n{WSGI}")
    (code / "Procfile").write_text("web: gunicorn wsgi -w 3\nworker: python work.py\n")
    (code / "environment.yml").write_text("name: shop\n")
    text = initialised(tmp_path, code)
    assert "# Ignored: --workers 3 (use the field 'workers').\n" in text
    assert "# Ignored: the worker line of Procfile: python work.py (`processes: {worker: 1}`" in text
    assert "# Ignored: environment.yml (staging does not use conda;" in text
    assert "# To do: no dependency file was found, but wsgi.py imports flask\n" in text


def test_what_only_an_operator_can_decide_is_proposed_as_fields(tmp_path: Path) -> None:
    code = tmp_path / "shop"
    (code / "shop").mkdir(parents=True)
    (code / "manage.py").write_text(
        "import os, django\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'shop.settings')\n"
    )
    (code / "shop" / "settings.py").write_text("import os\nSECRET_KEY = os.environ['SECRET_KEY']\n")
    (code / "requirements.txt").write_text("django\n")
    said = run("init", code, "--manifests", tmp_path / "m").output
    assert "to do: the manifest proposes env, release, as a comment: fill in what applies" in said
    manifest = tmp_path / "m" / "shop.yaml"
    before, line, proposed = manifest.read_text().partition(
        "# To do: fill in what applies of this, and remove the '# ' before it:\n"
    )
    assert line
    fields = "".join(line.removeprefix("# ") for line in proposed.splitlines(keepends=True))
    assert 'env:  # what its files read without a default\n  SECRET_KEY: ""  # shop/settings.py\n' in fields
    assert 'release: "python manage.py migrate --noinput"  # before each deploy\n' in fields
    manifest.write_text(before + fields)
    run("validate", "--manifests", tmp_path / "m")


@pytest.mark.parametrize("directory", ["123", "true", "~x", "a: b", "1.5"])
def test_odd_names_of_directories_are_read_back(tmp_path: Path, directory: str) -> None:
    code = tmp_path / "m" / directory
    code.mkdir(parents=True)
    (code / "wsgi.py").write_text(WSGI)
    run("init", code, "--name", "odd", "--manifests", tmp_path / "m")
    run("validate", "--manifests", tmp_path / "m")
    assert "stage build" in run("plan", "--manifests", tmp_path / "m", "--state", tmp_path / "s", code=2).output


def test_print_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "blog").mkdir()
    (tmp_path / "blog" / "wsgi.py").write_text(WSGI)
    assert "path: ../blog\n" in run("init", tmp_path / "blog", "--print", "--manifests", tmp_path / "m").output
    assert not (tmp_path / "m").exists()


# runtimes, doctor


def test_runtimes_are_a_table_with_their_paths() -> None:
    head, *rows = run("runtimes").stdout.splitlines()
    assert head.split() == ["NAME", "DESCRIPTION", "VERSION", "PATH"]
    assert any(row.split()[0] == "python{}.{}".format(*sys.version_info) for row in rows)
    assert json.loads(run("runtimes", "--json").output)[0].keys() >= {"name", "description", "version", "path"}


def test_doctor_checks_this_host_and_makes_nothing(manifests: Path, tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"
    done = CliRunner().invoke(group, ["doctor", "--json", "--manifests", str(manifests), "--state", str(state)])
    levels = {check["subject"]: check["level"] for check in json.loads(done.stdout)}
    assert {"kernel", "listeners", "inotify", "open files", "state", "uv", "Pythons", "ports", "clock"} <= levels.keys()
    assert levels["kernel"] == levels["manifests"] == "ok"
    assert levels["daemon"] == "warn"
    assert not state.parent.exists()


def test_doctor_fails_where_nothing_can_be_read(tmp_path: Path) -> None:
    done = run("doctor", "--manifests", tmp_path / "none", "--state", tmp_path / "s", code=1)
    assert "fail  manifests: cannot read" in done.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory to another user")
@pytest.mark.parametrize(
    "words",
    [
        ("run",), ("apply",), ("gc",), ("backup", "db"), ("restore", "db", "README.md"), ("service-shell", "db"),
        ("shell", "blog", "--", "true"), ("rekey",), ("down",),
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_root_changes_and_runs_nothing_in_another_users_state_directory(
    words: tuple[str, ...], state: Path, manifests: Path
) -> None:
    for path in (state, *state.iterdir()):
        os.chown(path, 65_534, 65_534)
    before = sorted(path.name for path in state.iterdir())
    where: list[str | Path] = [] if words[0] in {"gc", "down"} else ["--manifests", manifests]
    done = run(words[0], "--state", state, *where, *words[1:], code=1)
    assert f"cannot use {state}: it belongs to user 65534" in done.output
    assert "run this command as its owner" in done.output
    assert sorted(path.name for path in state.iterdir()) == before


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_standard_stream_that_is_closed_ends_no_command(state: Path, closed: int) -> None:
    command = [sys.executable, "-m", "reconciler", "status", "--state", state]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", *map(str, command)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


def test_a_daemon_that_does_not_answer_is_not_called_absent(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.control.socket._PATIENCE_S", 0.1)
    paths = StatePaths(state=state)
    with acquire(paths), reachable(paths.control) as short, socket.socket(socket.AF_UNIX) as hung:
        hung.bind(short)
        hung.listen()
        said = run("restart", "x", "--state", state, code=1).output
        assert said.startswith(f"Error: the daemon (pid {os.getpid()}) of {state} does not answer")
    assert "no daemon is running" in run("restart", "x", "--state", state, code=3).output


@pytest.mark.parametrize(
    ("damaged", "content", "said"),
    [
        ("id", b"\xff", "is damaged: it must hold the 16 hexadecimal digits"),
        ("lock", None, "Is a directory"),
    ],
)
def test_a_damaged_state_directory_is_refused_in_words(
    state: Path, manifests: Path, damaged: str, content: bytes | None, said: str
) -> None:
    (state / damaged).mkdir() if content is None else (state / damaged).write_bytes(content)
    done = run("apply", "--state", state, "--manifests", manifests, code=1)
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("name", ["a:b", os.fsdecode(b"\xff")])
def test_a_state_directory_of_a_name_that_no_app_could_be_served_from_is_refused(tmp_path: Path, name: str) -> None:
    done = run("apply", "--state", tmp_path / name, "--manifests", tmp_path, code=1)
    assert "name another one with --state" in done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["status", "down", "logs", "events"])
def test_a_command_that_takes_the_state_directory_says_so_of_the_manifests(command: str) -> None:
    done = CliRunner().invoke(group, [command, "--manifests", "/srv/manifests"])
    assert done.exit_code == 2
    assert "This command takes the state directory of the daemon, --state" in done.output
