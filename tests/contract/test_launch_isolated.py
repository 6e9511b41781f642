"""Isolated instances from a fork server, on real processes: they inherit nothing, and none can tell its origin."""

import json
import os
import shutil
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from reconciler.isolation.fence import SECRET
from reconciler.isolation.launching import Report, confined, held_back
from reconciler.isolation.main import REFUSED, given_back
from reconciler.isolation.pythons import pythons_below
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.processes import Command
from reconciler.planning.apps.revision import Server
from reconciler.planning.isolation.confinement import Confinement, Proof
from reconciler.serving.fork_or_exec import Confined, Launched, launch
from reconciler.serving.forkserver import client, eligibility
from reconciler.serving.forkserver.client import ForkServer
from reconciler.serving.forkserver.eligibility import NotForkable, kind
from reconciler.serving.forkserver.gunicorn_releases import NEWEST, RELEASES
from reconciler.serving.marks import marked
from reconciler.serving.programs.gunicorn import forkable
from reconciler.serving.programs.program import Forkable
from reconciler.serving.programs.sight import ours
from reconciler.staging.detection.runtimes import discover
from tests.contract.machine import on_the_loop
from tests.contract.test_launch import _OUTSIDE, EXTRA_MODULES, Ground, _asked, _environment, _listener, ground
from tests.support.eventually import soon
from tests.support.probe_of_isolation import LACKS, NO_MOUNTS

__all__ = ["ground"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root gives processes users of their own"),
    pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}"),
    pytest.mark.skipif(bool(NO_MOUNTS), reason=NO_MOUNTS),
]

_USER = 79_990
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc")


def _confinement(ground: Ground) -> Confinement:
    """What keeps the app of this ground apart, as a user of its own."""
    scratch = ground.root / "own"
    scratch.mkdir(exist_ok=True)
    environment = str(Path(ground.python).parent.parent)
    state = ground.root / "state"
    state.mkdir(exist_ok=True)
    (state / "secret").write_text("of the daemon")
    (ground.root / "config.py").write_text(
        "import faulthandler  # as the gate does that every config loads\n"
        "errorlog = '-'\ncontrol_socket_disable = True\nworker_tmp_dir = '/dev/shm'\n"
    )
    launcher = str(Path(ground.command().argv[1]).parent)
    return Confinement(
        isolation="strict",
        uid=_USER,
        gid=_USER,
        visible=(
            *_SYSTEM, environment, *pythons_below(ground.python), *ours(), launcher,
            str(ground.root / "app"), str(ground.root / "config.py"),
        ),
        writable=(str(scratch),),
        owned=(str(scratch),),
        shut=(str(state / "secret"),),
        hidden=SECRET,
        fixed=(environment, str(ground.root / "app")),
        access_log=str(ground.root / "access.log"),
        daemon=os.getpid(),
    )  # fmt: skip


def _program(ground: Ground) -> Forkable | None:
    return forkable(Server(), ground.code())


async def _started(ground: Ground, command: Command, confinement: Confinement, *, forked: bool) -> Launched:
    """Start it as an isolated instance is; `report` of the ground gets its proof."""
    report = ground.report = Report.opened()
    alone = replace(command, env=given_back(held_back(command.env)), report=report.writing)
    itself = Confined(
        command=replace(alone, argv=confined(alone.argv, confinement, 4), env=held_back(alone.env)),
        arguments=confinement.as_arguments(),
    )
    launched = await launch(alone, _program(ground) if forked else None, ground.templates, lambda: None, itself)
    ground.processes.append(launched.process)
    return launched


async def _proof(ground: Ground) -> Proof | None:
    assert ground.report is not None
    try:
        return await ground.report.proof("strict")
    finally:
        ground.report.close()


async def _warm(ground: Ground, command: Command) -> ForkServer:
    wanted = kind(command, _program(ground), isolated=True)
    with pytest.raises(NotForkable):
        await ground.templates.fork(wanted, command, lambda: None)
    server = ground.templates._servers[wanted]
    await server._greeted.wait()
    assert server.unfit is None, ground.said()
    return server


async def _forked(ground: Ground, command: Command, confinement: Confinement) -> Launched:
    """Start one that did come from a fork server."""
    await _warm(ground, command)
    launched = await _started(ground, command, confinement, forked=True)
    assert launched.way == "from a fork server", ground.said()
    return launched


def _python(version: str) -> str:
    """The interpreter of that version which this host has, that of these tests for none."""
    found = [each for each in discover(()) if each.version.startswith(f"{version}.")] if version else []
    if version and not found:
        pytest.skip(f"there is no Python {version} here")
    return found[0].path if found else sys.executable


_OTHERS = ("3.8", "3.9", "3.10", "3.12", "3.13")


@on_the_loop
@pytest.mark.parametrize("version", ["", *(pytest.param(each, marks=pytest.mark.nightly) for each in _OTHERS)])
async def test_an_isolated_instance_cannot_tell_that_it_was_forked(ground: Ground, version: str) -> None:
    ground.python = _environment(ground.root / "environment", of=_python(version))
    confinement = _confinement(ground)
    with _listener() as one, _listener() as two:
        await _started(ground, ground.command(one.fileno(), **_OUTSIDE), confinement, forked=False)
        first, executed = await _proof(ground), await _asked(one)
        await _forked(ground, ground.command(two.fileno(), **_OUTSIDE), confinement)
        second, forked = await _proof(ground), await _asked(two)
    assert first == second
    assert second is not None
    assert second.missing == {}
    modules = set(forked.pop("modules")), set(executed.pop("modules"))
    assert forked == executed
    assert modules[0] - EXTRA_MODULES == modules[1]


@on_the_loop
async def test_isolated_apps_with_other_environments_share_a_fork_server_and_cannot_tell(ground: Ground) -> None:
    first = ground.python = _environment(ground.root / "first")
    server = await _warm(ground, ground.command())
    ground.python = _environment(ground.root / "second", like=first)
    (packages,) = (ground.root / "second").glob("lib/python*/site-packages")
    (packages / "more.pth").write_text(f"{ground.root}\n")
    confinement = _confinement(ground)
    with _listener() as one, _listener() as two:
        await _started(ground, ground.command(one.fileno()), confinement, forked=False)
        first_proof, executed = await _proof(ground), await _asked(one)
        shutil.rmtree(ground.root / "first")
        assert await _warm(ground, ground.command()) is server
        await _forked(ground, ground.command(two.fileno()), confinement)
        second_proof, forked = await _proof(ground), await _asked(two)
    assert first_proof == second_proof
    modules = set(forked.pop("modules")), set(executed.pop("modules"))
    assert forked == executed
    assert modules[0] - EXTRA_MODULES == modules[1]
    assert "/first/" not in json.dumps(forked)


@on_the_loop
async def test_what_an_environment_runs_at_every_start_runs_in_the_app_alone(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    (packages,) = (ground.root / "environment").glob("lib/python*/site-packages")
    confinement = _confinement(ground)
    note = f"open({str(ground.root / 'own')!r} + '/%d-%d' % (os.getuid(), os.getpid()), 'w')"
    (packages / "of-any-nspkg.pth").write_text(f"import os; {note}\n")
    command = ground.command(launcher=ground.launcher("print('ran')\n"))
    await _warm(ground, command)
    assert not list((ground.root / "own").iterdir())
    launched = await _started(ground, command, confinement, forked=True)
    assert launched.way == "from a fork server"
    assert await _proof(ground)
    await soon(lambda: launched.process.end is not None)
    (noted,) = (ground.root / "own").iterdir()
    assert noted.name == f"{_USER}-{launched.process.pid}"
    assert noted.stat().st_uid == _USER


@on_the_loop
async def test_a_forked_instance_finds_the_names_of_its_user_and_group(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    look = "import grp, os, pwd\nprint(pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name)\n"
    command = ground.command(launcher=ground.launcher(look))
    confinement = replace(_confinement(ground), account=f"app-of-test:{ground.root / 'own'}")
    launched = await _forked(ground, command, confinement)
    assert await _proof(ground)
    await soon(lambda: launched.process.end is not None)
    assert "app-of-test app-of-test" in ground.said()


@on_the_loop
async def test_a_gunicorn_that_is_no_known_release_is_never_loaded_for_isolated_apps(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    (module,) = (ground.root / "environment").glob("lib/python*/site-packages/gunicorn/util.py")
    module.write_text(module.read_text() + "\n")
    command = ground.command(launcher=ground.launcher("pass\n"))
    launched = await _started(ground, command, _confinement(ground), forked=True)
    assert launched.way == "by exec, because its gunicorn is of no release that is known here"
    assert await _proof(ground)
    assert ground.templates.footprint().count == 0


@on_the_loop
async def test_a_gunicorn_newer_than_all_that_are_known_is_executed_and_says_so(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    (packages,) = (ground.root / "environment").glob("lib/python*/site-packages")
    (module,) = packages.glob("gunicorn/util.py")
    module.write_text(module.read_text() + "\n")
    (packages / "gunicorn-99.1.dist-info").mkdir()
    launched = await _started(
        ground, ground.command(launcher=ground.launcher("pass\n")), _confinement(ground), forked=True
    )
    newest = f"newer than {NEWEST}, the newest that this version of reconciler knows"
    assert launched.way == f"by exec, because its gunicorn 99.1 is {newest}"
    assert await _proof(ground)


@on_the_loop
async def test_a_gunicorn_that_changed_after_its_fork_server_began_is_executed(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    command = ground.command(launcher=ground.launcher("pass\n"))
    await _warm(ground, command)
    (module,) = (ground.root / "environment").glob("lib/python*/site-packages/gunicorn/util.py")
    module.write_text(module.read_text() + "\n")
    launched = await _started(ground, command, _confinement(ground), forked=True)
    assert launched.way == "by exec, because its gunicorn/util.py differs from its fork server's"
    assert await _proof(ground)


@on_the_loop
async def test_a_forked_instance_without_what_is_required_runs_nothing(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    ran = ground.root / "own/ran"
    command = ground.command(launcher=ground.launcher(f"open({str(ran)!r}, 'w')\n"))
    readable = replace(_confinement(ground), shut=(str(ground.root / "app/wsgi.py"),), required=("files",))
    launched = await _forked(ground, command, readable)
    found = await _proof(ground)
    assert found is not None
    assert "wsgi.py" in found.missing["files"]
    await soon(lambda: launched.process.end is not None)
    assert launched.process.end == f"exited with {REFUSED}"
    assert not ran.exists()


@on_the_loop
async def test_an_isolated_start_that_is_given_up_has_changed_and_run_nothing(ground: Ground) -> None:
    ground.python = _environment(ground.root / "environment")
    confinement = _confinement(ground)
    ran = ground.root / "own/ran"
    command = ground.command(launcher=ground.launcher(f"open({str(ran)!r}, 'w')\n"))
    server = await _warm(ground, command)
    report = Report.opened()
    line = server._send_request(replace(command, report=report.writing), confinement.as_arguments())
    await client._readable(line)
    (unborn,) = marked(ground.state)
    line.close()
    await soon(lambda: start_ticks(unborn.pid) is None)
    assert await report.proof("strict") is None
    report.close()
    assert not ran.exists()
    assert (ground.root / "own").stat().st_uid == os.geteuid()


def test_the_gunicorn_that_is_installed_today_is_a_known_release() -> None:
    spec = find_spec("gunicorn")
    assert spec is not None
    assert eligibility._gunicorn(str(Path(str(spec.origin)).parent)) in RELEASES, "scripts/gunicorn prints its line"
