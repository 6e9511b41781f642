"""The fork server that a daemon begins before it is loaded: the one that most instances came from, and nothing else."""

import json
import os
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux.process_identity import start_ticks
from reconciler.linux.processes import Command
from reconciler.planning.apps.revision import Server
from reconciler.serving.forkserver import ahead
from reconciler.serving.forkserver.eligibility import ForkKind, kind
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.programs.gunicorn import Code, forkable
from reconciler.state.paths import StatePaths
from tests.contract.machine import on_the_loop
from tests.support.eventually import soon

_LAUNCHER = str(Path(ahead.__file__).parents[1] / "launcher.py")


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    """A state directory with an environment in which this Python and its gunicorn are."""
    made = StatePaths(state=tmp_path)
    (made.environments / "e1/bin").mkdir(parents=True)
    environment = Path(sys.executable).parents[1]
    for name in ("lib", "pyvenv.cfg"):
        (made.environments / "e1" / name).symlink_to(environment / name)
    (made.environments / "e1/bin/python").symlink_to(sys.executable)
    return made


def needed(paths: StatePaths, **server: Any) -> tuple[str, ForkKind]:
    """The interpreter of the environment, and the kind of fork server that an app in it needs."""
    python = str(paths.environments / "e1/bin/python")
    runtime = f"python {sys.version_info[0]}.{sys.version_info[1]}"
    code = Code(directory="/", python=python, target="wsgi:application", worker_class="sync", runtime=runtime)
    argv = (python, _LAUNCHER, "/", "-c", "config", "wsgi:application")
    command = Command(argv=argv, env={}, listener=0, output=paths.state / "log")
    return python, kind(command, forkable(Server(**server), code))


@on_the_loop
async def test_the_one_that_was_begun_is_the_first_of_its_kind(paths: StatePaths) -> None:
    python, wanted = needed(paths)
    ahead.remember(paths, python, wanted)
    begun = ahead.begin(paths)
    assert begun is not None
    pool = ForkServerPool(paths, idle_s=900, answer_s=20)
    pool.take(begun)
    server = pool._start(wanted, python)
    assert server is not None
    assert server.process.pid == begun.pid
    await server._greeted.wait()
    assert server.unfit is None, paths.fork_servers_log.read_text()
    assert pool._start(needed(paths, threads=4)[1], python) is None, "another kind has to start first"
    pool.close()
    await soon(lambda: start_ticks(begun.pid) is None)


@on_the_loop
async def test_one_that_nothing_needs_ends(paths: StatePaths) -> None:
    python, wanted = needed(paths)
    for other in (True, False):
        ahead.remember(paths, python, wanted)
        begun = ahead.begin(paths)
        assert begun is not None
        pool = ForkServerPool(paths, idle_s=900, answer_s=20)
        pool.take(begun)
        if other:
            assert pool._start(needed(paths, threads=4)[1], python) is None
        else:
            pool.end_idle()
        assert os.waitpid(begun.pid, 0) == (begun.pid, 0)
        pool.close()


def test_nothing_is_begun_without_a_sound_record(paths: StatePaths) -> None:
    assert ahead.begin(paths) is None
    python, wanted = needed(paths)
    ahead.remember(paths, python, wanted)
    good = json.loads(paths.fork_server.read_text())
    wrongs: tuple[Any, ...] = (
        [],
        {**good, "python": "/bin/sh"},
        {**good, "python": f"{paths.environments}/../bin/python"},
        {**good, "python": f"{paths.environments}/e1/bin/other"},
        {**good, "kind": {**good["kind"], "launcher": "/tmp/launcher.py"}},
        {**good, "kind": {**good["kind"], "module": "os"}},
        {**good, "kind": {**good["kind"], "for_isolated": True}},
        {**good, "kind": None},
    )
    for wrong in wrongs:
        paths.fork_server.write_text(json.dumps(wrong))
        assert ahead.begin(paths) is None
    paths.fork_server.write_bytes(b"\xff" * 99_999)
    assert ahead.begin(paths) is None


def test_nothing_is_begun_where_apps_may_still_run(paths: StatePaths) -> None:
    ahead.remember(paths, *needed(paths))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)) as keeper:
        keeper.bind(str(paths.keeper))
        keeper.listen()
        assert ahead.begin(paths) is None
    begun = ahead.begin(paths)
    assert begun is not None, "a socket that a dead keeper left is none"
    begun.connection.close()
    os.waitpid(begun.pid, 0)
