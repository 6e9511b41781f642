"""What a command says whose request meets a daemon that hangs, none at all, or several apps."""

import socket
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.control import socket as control
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.unit.state.test_running_daemons import held


@pytest.fixture
def state(tmp_path: Path) -> Path:
    open_database(StatePaths(state=tmp_path).database).close()
    return tmp_path


def run(*words: str, code: int = 1) -> str:
    done = CliRunner().invoke(group, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_a_daemon_that_hangs_is_not_called_absent(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control.ask, "__defaults__", (0.05,))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as server, held(state) as pid:
        server.bind(str(state / "control.sock"))
        server.listen()
        told = run("restart", "blog", "--state", str(state))
    assert f"the daemon (pid {pid}) of {state} does not answer: nothing came within" in told
    assert "no daemon" not in told


def test_a_daemon_that_does_not_listen_yet_is_not_called_absent(state: Path) -> None:
    with held(state) as pid:
        told = run("rotate", "blog-db", "--state", str(state))
    assert f"the daemon (pid {pid}) of {state} does not accept requests" in told


def test_no_daemon_is_called_absent_once_for_several_apps(state: Path) -> None:
    told = run("stop", "blog", "shop", "--state", str(state), code=3)
    assert (
        told
        == f"Error: no daemon is running in {state}: start it with 'reconciler run', or name another with --state\n"
    )
