"""A command with --host is run by the system's ssh: its arguments exactly, its streams and its exit code."""

import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.main import _COMMANDS, _HERE, group
from reconciler.cli.remote import RemoteHost, remote_host, without_host
from reconciler.linux.process_identity import start_ticks
from tests.support.eventually import eventually

NASTY = ["", " ", "a b", "'", '"', "$(touch x)", "`id`", "a;b", "a\nb", "-n", "--", "ü", "\\", "*", "~", "!x", "\udcff"]

_FAKE = """\
#!{python}
import json, os, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
with open("{root}/called.part", "w") as file:
    json.dump({{"argv": sys.argv[1:], "stdin": sys.stdin.read(), "pid": os.getpid()}}, file)
os.rename("{root}/called.part", "{root}/called")
time.sleep(float(os.environ.get("FAKE_SLEEP", "0")))
sys.stderr.write(os.environ.get("FAKE_SAYS", ""))
sys.exit(int(os.environ.get("FAKE_CODE", "0")))
"""


@pytest.fixture
def ssh(tmp_path: Path) -> Path:
    """A directory with an ssh that writes down how it was called, and exits as it is told."""
    program = tmp_path / "ssh"
    program.write_text(_FAKE.format(python=sys.executable, root=tmp_path))
    program.chmod(0o755)
    return tmp_path


def command(ssh: Path, *words: str, **environment: str) -> tuple[list[str], Mapping[str, str]]:
    """The command line, and an environment with that ssh first on PATH."""
    path = f"{ssh}:{os.environ['PATH']}"
    return [sys.executable, "-m", "reconciler", *words], {**os.environ, "PATH": path, **environment}


def run(
    ssh: Path, *words: str, given: str = "", code: int = 0, **environment: str
) -> "subprocess.CompletedProcess[str]":
    argv, env = command(ssh, *words, **environment)
    done = subprocess.run(argv, input=given, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def called(ssh: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((ssh / "called").read_text())
    return found


def argv_of(ssh: Path) -> Sequence[str]:
    argv = called(ssh)["argv"]
    assert isinstance(argv, list)
    return argv


def test_the_words_go_to_the_other_host_as_they_are(ssh: Path) -> None:
    words = ("--state", "/srv/a b", "blog", "--json")
    run(ssh, "status", "--host", "ssh://deploy@web1.example.com:2222", *words)
    there = "env -u RECONCILER_HOST reconciler status --state '/srv/a b' blog --json"
    assert argv_of(ssh) == ["-p", "2222", "-T", "--", "deploy@web1.example.com", there]


@pytest.mark.parametrize(
    ("url", "target", "program"),
    [
        ("ssh://web1", "web1", "reconciler"),
        ("ssh://web1/", "web1", "reconciler"),
        ("ssh://me@10.0.0.7/opt/reconciler/bin/reconciler", "me@10.0.0.7", "/opt/reconciler/bin/reconciler"),
        ("ssh://me@[fe80::1%eth0]/opt/my%20own/bin/r", "me@fe80::1%eth0", "'/opt/my own/bin/r'"),
    ],
)
def test_a_url_names_user_server_and_program(url: str, target: str, program: str) -> None:
    argv = remote_host(url).argv(["gc"], terminal=False)
    assert argv == ["ssh", "-T", "--", target, f"env -u RECONCILER_HOST {program} gc"]


@pytest.mark.parametrize(
    "url",
    [
        "web1", "http://web1", "ssh://", "ssh://-oProxyCommand=id", "ssh://-l@web1", "ssh://me@-web1", "ssh://web1:0",
        "ssh://web1:65536", "ssh://web1:-1", "ssh://me:secret@web1", "ssh://web1\n", "ssh://we b1", "ssh://web1?x",
        "ssh://web1/a%0Ab", "ssh://web1/a%ff", "ssh://[-x]", "ssh://wéb1", "--json", "ssh://a@b@c", "ssh://web1;id",
    ],
)  # fmt: skip
def test_what_ssh_could_take_for_something_else_is_refused_and_not_repeated(ssh: Path, url: str) -> None:
    done = CliRunner(env={"PATH": str(ssh)}).invoke(group, ["status", "--host", url], prog_name="reconciler")
    assert (done.exit_code, (ssh / "called").exists()) == (2, False)
    assert "Invalid value for '--host'" in done.output
    assert "secret" not in done.output


def test_a_word_that_a_shell_would_read_stays_one_word() -> None:
    there = RemoteHost(target="web1", port=None, program="reconciler").argv(["shell", "x", *NASTY], terminal=False)[-1]
    assert shlex.split(there)[3:] == ["reconciler", "shell", "x", *NASTY]
    script = there.removeprefix("env -u RECONCILER_HOST reconciler shell x ")
    printed = subprocess.run(["sh", "-c", os.fsencode(f"printf '%s\\0' {script}")], capture_output=True, check=True)
    assert printed.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in NASTY]


def test_a_terminal_is_asked_for_only_where_there_is_one() -> None:
    host = remote_host("ssh://web1")
    assert host.argv(["top"], terminal=True)[:4] == ["ssh", "-t", "-o", "LogLevel=ERROR"]
    assert host.argv(["top"], terminal=True, plain=True)[-1] == "env -u RECONCILER_HOST NO_COLOR=1 reconciler top"


def test_the_variable_names_the_host_and_goes_no_further(ssh: Path) -> None:
    run(ssh, "status", RECONCILER_HOST="ssh://web1", RECONCILER_STATE="/srv/here")
    assert argv_of(ssh)[-1] == "env -u RECONCILER_HOST reconciler status"


def test_an_empty_host_is_this_one(ssh: Path, tmp_path: Path) -> None:
    done = run(ssh, "status", "--host", "", "--state", str(tmp_path), code=1, RECONCILER_HOST="ssh://web1")
    assert f"no daemon has ever run in {tmp_path}" in done.stderr
    assert not (ssh / "called").exists()


def test_standard_input_and_the_exit_code_pass(ssh: Path) -> None:
    done = run(ssh, "plan", "--host=ssh://web1", given="a word", code=2, FAKE_CODE="2", FAKE_SAYS="told there\n")
    assert (called(ssh)["stdin"], done.stderr) == ("a word", "told there\n")


def test_a_failure_of_ssh_is_told_as_such(ssh: Path) -> None:
    done = run(ssh, "status", "--host", "ssh://web1", code=255, FAKE_CODE="255", FAKE_SAYS="ssh: no route\n")
    assert done.stderr == "ssh: no route\nError: cannot run this on web1: see what ssh says above\n"


def test_a_host_without_the_program_says_how_to_name_it(ssh: Path) -> None:
    done = run(ssh, "status", "--host", "ssh://me@web1", code=127, FAKE_CODE="127")
    assert "me@web1 has no program 'reconciler' on the PATH" in done.stderr
    assert "ssh://me@web1/opt/reconciler/bin/reconciler" in done.stderr
    assert not run(ssh, "shell", "--host", "ssh://web1", "blog", "--", "x", code=127, FAKE_CODE="127").stderr


def test_without_ssh_the_client_is_named(tmp_path: Path) -> None:
    argv, _ = command(tmp_path, "status", "--host", "ssh://web1")
    done = subprocess.run(argv, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    wanted = "Error: cannot run ssh: No such file or directory; it comes with OpenSSH's client\n"
    assert (done.returncode, done.stderr) == (1, wanted)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_ssh_too(ssh: Path, number: signal.Signals) -> None:
    argv, env = command(ssh, "events", "-f", "--host", "ssh://web1", FAKE_SLEEP="60")
    # A shell starts what it runs in the background with SIGINT ignored, and so would be all that the tests start.
    begin = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
    argv = [sys.executable, "-c", begin, *argv]
    with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        eventually((ssh / "called").exists)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    pid = int(str(called(ssh)["pid"]))
    eventually(lambda: start_ticks(pid) is None)


@pytest.mark.parametrize("name", sorted(_HERE))
def test_a_command_about_this_host_has_no_other(name: str) -> None:
    done = CliRunner().invoke(group, [name, "--host", "ssh://web1"], prog_name="reconciler")
    assert done.exit_code == 2
    assert "This command is about this host: run it on the other one" in done.output


@pytest.mark.parametrize("name", [name for name in _COMMANDS if name not in _HERE])
def test_every_other_command_can_be_run_there(ssh: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("PATH", f"{ssh}:{os.environ['PATH']}")
    done = CliRunner().invoke(group, [name, "--host", "ssh://web1", "nothing", "here"], prog_name="reconciler")
    assert done.exit_code == 0, done.output
    assert argv_of(ssh)[-1] == f"env -u RECONCILER_HOST reconciler {name} nothing here"


def test_options_of_a_program_that_is_run_are_its_own(ssh: Path) -> None:
    run(ssh, "shell", "--host", "ssh://web1", "blog", "mysql", "--host", "db", "--", "--host=x")
    assert argv_of(ssh)[-1] == "env -u RECONCILER_HOST reconciler shell blog mysql --host db -- --host=x"


@click.command()
@click.option("--lines", "-n", type=int)
@click.option("--follow", "-f", is_flag=True)
@click.option("--loud/--quiet", default=None)
@click.option("--pair", "-p", nargs=2)
@click.option("--verbose", "-v", count=True)
@click.option("--host")
@click.argument("names", nargs=-1)
def _example(**values: object) -> None:
    raise SystemExit(json.dumps(values))


_WORDS = st.sampled_from([
    "--host", "--host=h", "-n", "3", "-n3", "-fn", "-fn3", "-f", "--follow", "--lines", "--lines=3", "--loud",
    "--quiet", "-p", "--pair", "a", "-", "--", "-v", "-vv", "-vn",
])  # fmt: skip


@given(st.lists(_WORDS, max_size=8), st.booleans())
def test_without_the_host_the_words_mean_the_same(words: list[str], interspersed: bool) -> None:
    _example.context_settings = {"allow_interspersed_args": interspersed}
    try:
        parsed = _example.make_context("x", [*words]).params
    except click.UsageError:
        return
    stripped = without_host(words, _example)
    assert _example.make_context("x", [*stripped]).params == {**parsed, "host": None}
