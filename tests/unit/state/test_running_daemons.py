"""Daemons are found by the locks that they hold, and the only one is the one that a command means."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.state.paths import StatePaths, default_state
from reconciler.state.running_daemons import RunningDaemon, SeveralDaemons, default_state_among, running_daemons
from reconciler.state.schema import open_database

_HOLD = """\
import sys
from pathlib import Path
from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths
with acquire(StatePaths(state=Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held(state: Path) -> Iterator[int]:
    """A process that holds the lock of a state directory, as a daemon does."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, state], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid
    finally:
        process.communicate()


def test_a_daemon_is_found_by_its_lock_while_it_holds_it(tmp_path: Path) -> None:
    state = tmp_path / "a state"
    state.mkdir()
    open_database(StatePaths(state=state).database).close()
    with held(state) as pid:
        assert RunningDaemon(pid=pid, state=state) in running_daemons()
    assert state not in {daemon.state for daemon in running_daemons()}


def test_a_lock_beside_no_database_is_of_another_program(tmp_path: Path) -> None:
    with held(tmp_path):
        assert tmp_path not in {daemon.state for daemon in running_daemons()}


def test_without_a_daemon_the_default_is_meant() -> None:
    assert default_state_among(()) == default_state()


def test_of_several_daemons_none_is_guessed_and_all_are_listed() -> None:
    daemons = [RunningDaemon(pid=pid, state=Path(f"/srv/{pid} x")) for pid in (7, 8)]
    with pytest.raises(SeveralDaemons) as told:
        default_state_among(daemons)
    assert str(told.value) == (
        "2 daemons are running on this host; choose one with --state:"
        "\n  --state '/srv/7 x'   (pid 7)\n  --state '/srv/8 x'   (pid 8)"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_state_directory_of_another_user_is_not_followed(tmp_path: Path) -> None:
    state = tmp_path / "theirs"
    state.mkdir()
    open_database(StatePaths(state=state).database).close()
    with held(state):
        os.chown(state, 65534, 65534)
        assert state not in {daemon.state for daemon in running_daemons()}
        os.chown(state, 0, 0)
        assert state in {daemon.state for daemon in running_daemons()}


def test_the_only_daemon_is_meant() -> None:
    assert default_state_among([RunningDaemon(pid=7, state=Path("/srv/state"))]) == Path("/srv/state")
