"""A command on another host, over a real SSH server: every argument, stream and exit code arrives as it was."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.state.schema import open_database
from tests.servers.openssh import SshServer, ssh_server
from tests.support.eventually import eventually
from tests.support.pseudo_terminal import PseudoTerminal
from tests.support.site import REPOSITORY, is_gone

NASTY = [
    "",
    " ",
    "a b",
    "'",
    '"',
    "$(id)",
    "`id`",
    "a;b",
    "a\nb\n",
    "\\",
    "\\'",
    "*",
    "~",
    "!x",
    "ü",
    "\udcff",
    "$HOME",
    "#",
]

_PROGRAM = """\
#!{python}
import json, os, sys
told = {{"argv": sys.argv[1:], "stdin": sys.stdin.read(), "variables": sorted(os.environ)}}
sys.stderr.write("told there\\n")
print(json.dumps(told))
sys.exit(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 0)
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("ssh")) as found:
        yield found


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program that says how it was called, in a directory whose name a URL has to escape."""
    found = tmp_path / "a b" / "told"
    found.parent.mkdir()
    found.write_text(_PROGRAM.format(python=sys.executable))
    found.chmod(0o755)
    return found


def run(server: SshServer, *words: str, given: str = "", **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "reconciler", *words], input=given, capture_output=True, text=True, cwd=REPOSITORY,
        env={**os.environ, "PATH": f"{server.client}:{os.environ['PATH']}", **environment}, check=False,
    )  # fmt: skip


def url(server: SshServer, program: Path) -> str:
    return server.url(str(program).replace(" ", "%20"))


def test_every_argument_arrives_as_it_was(server: SshServer, program: Path) -> None:
    done = run(server, "shell", "--host", url(server, program), "blog", "--", *NASTY, given="a word\n")
    assert (done.returncode, done.stderr) == (0, "told there\n")
    told = json.loads(done.stdout)
    assert (told["argv"], told["stdin"]) == (["shell", "blog", "--", *NASTY], "a word\n")


def test_the_exit_code_is_that_of_the_command_there(server: SshServer, program: Path) -> None:
    for code in (0, 1, 2, 3, 42):
        assert run(server, "plan", "--host", url(server, program), str(code)).returncode == code


def test_no_variable_of_this_host_arrives(server: SshServer, program: Path) -> None:
    done = run(server, "status", RECONCILER_HOST=url(server, program), RECONCILER_STATE="/srv", RECONCILER_OTHER="1")
    assert not [name for name in json.loads(done.stdout)["variables"] if name.startswith("RECONCILER_")]


def test_a_command_reads_the_state_of_the_host_it_runs_on(server: SshServer, tmp_path: Path) -> None:
    state = tmp_path / "its state"
    state.mkdir()
    open_database(state / "reconciler.db").close()
    there = server.url(str(Path(sys.executable).with_name("reconciler")))
    done = run(server, "status", "--json", "--state", str(state), "--host", there)
    assert (done.returncode, json.loads(done.stdout)["apps"]) == (0, [])
    done = run(server, "restart", "blog", "--state", str(state), "--host", there)
    assert (done.returncode, f"no daemon is running in {state}" in done.stderr) == (3, True)


def test_a_command_on_a_terminal_has_one_there(server: SshServer, tmp_path: Path) -> None:
    program = tmp_path / "terminal"
    program.write_text(f"#!{sys.executable}\nimport os\nprint([os.isatty(n) for n in range(3)], os.environ['TERM'])\n")
    program.chmod(0o755)
    path = f"{server.client}:{os.environ['PATH']}"
    words = (sys.executable, "-m", "reconciler", "status", "--host", url(server, program))
    with contextlib.closing(PseudoTerminal(words, PATH=path)) as terminal:
        assert terminal.program.wait(60) == 0
        eventually(lambda: "[True, True, True] xterm-256color" in terminal.sent)
        assert "Connection to" not in terminal.sent


def test_a_command_that_follows_ends_there_with_the_one_here(server: SshServer, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    open_database(state / "reconciler.db").close()
    program = tmp_path / "follows"
    program.write_text(
        f"#!/bin/sh\necho $$ >{tmp_path}/begun && mv {tmp_path}/begun {tmp_path}/pid\n"
        f'cd {REPOSITORY} && exec {sys.executable} -m reconciler "$@"\n'
    )
    program.chmod(0o755)
    words = ("events", "-f", "--host", url(server, program), "--state", str(state))
    path = f"{server.client}:{os.environ['PATH']}"
    here = subprocess.Popen(
        [sys.executable, "-m", "reconciler", *words], cwd=REPOSITORY, env={**os.environ, "PATH": path},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually((tmp_path / "pid").exists)
        there = int((tmp_path / "pid").read_text())
        eventually(lambda: b"events" in Path(f"/proc/{there}/cmdline").read_bytes())
        here.terminate()
        assert here.wait(60) == 143
        eventually(lambda: is_gone(there))
    finally:
        here.kill()
        here.wait()


def test_what_ssh_cannot_do_is_told_as_its_failure(server: SshServer) -> None:
    done = run(server, "status", "--host", f"ssh://nobody-here@127.0.0.1:{server.port}")
    assert done.returncode == 255
    assert "Permission denied" in done.stderr
    assert done.stderr.endswith("Error: cannot run this on nobody-here@127.0.0.1: see what ssh says above\n")


def test_a_host_without_the_program_is_told_so(server: SshServer) -> None:
    done = run(server, "status", "--host", server.url("/nowhere/reconciler"))
    assert (done.returncode, "has no program '/nowhere/reconciler'" in done.stderr) == (127, True)
