"""Programs of another kind than gunicorn, and the sandbox that every one of them starts in, whichever way it starts."""

import asyncio
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from reconciler.planning.apps.app import App
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.marks import Identity
from reconciler.serving.programs.program import Program, StaysAlive
from reconciler.serving.sandbox import Owner, todays_sandbox
from reconciler.state.records import NO_ADDRESS
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site, get, is_gone
from tests.world import address_of

_LAUNCHER = str(resources.files("reconciler.serving") / "launcher.py")
_WORKER = """
import json, os, resource, signal, sys, time
umask = os.umask(0)
with open(sys.argv[1] + ".draft", "w") as file:
    json.dump({"cwd": os.getcwd(), "umask": umask, "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
               "user": [os.getuid(), os.getgid()], "descriptors": sorted(os.listdir("/proc/self/fd"))[:4],
               "environ": dict(os.environ)}, file)
os.rename(sys.argv[1] + ".draft", sys.argv[1])
while True:
    time.sleep(60)
"""
_CONFINED = """
import json, os, resource

def application(environ, start_response):
    umask = os.umask(0)
    body = json.dumps([umask, resource.getrlimit(resource.RLIMIT_NOFILE), "RECONCILER_SANDBOX" in os.environ]).encode()
    os.umask(umask)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


def environment(identity: Identity) -> Mapping[str, str]:
    return {"NAME": f"worker {identity.instance}"}


def worker(site: Site, code: str = _WORKER, seconds: float = 0.3) -> Program:
    """A program that listens nowhere, and is ready once it has lived for a while."""
    return Program(
        name="worker",
        app="blog",
        revision="0123456789ab",
        build="ba9876543210",
        argv=(sys.executable, _LAUNCHER, str(site.root), "--", sys.executable, "-c", code, str(site.root / "said")),
        environment=environment,
        readiness=StaysAlive(seconds=seconds),
        directory="0123456789ab",
        start_timeout_s=20.0,
        stop_timeout_s=5.0,
    )


def directories(machine: Machine) -> None:
    paths = machine.host.paths("blog")
    for directory in (paths.readiness, paths.revisions, paths.log.parent):
        machine.sandbox.make_directory(directory)


@on_the_loop
async def test_a_program_without_a_listener_starts_is_adopted_and_stops(site: Site) -> None:
    with a_life(site) as machine:
        directories(machine)
        began = machine.host.now()
        instance = await machine.instances.start(worker(site), machine.host.paths("blog"), ())
        assert instance.ready
        assert machine.host.now() - began >= 0.3
        await soon((site.root / "said").exists)
        said = json.loads((site.root / "said").read_text())
        assert said["cwd"] == str(site.root)
        assert said["descriptors"] == ["0", "1", "2", "3"]  # 3 is the directory that is being listed
        assert said["environ"]["NAME"] == f"worker {instance.id}"
        assert "RECONCILER_SANDBOX" not in said["environ"]
        assert machine.launched[0][1].startswith(f"worker {instance.pid} by exec")
        assert machine.records.instances()[0].address == NO_ADDRESS
    with a_life(site) as machine:
        assert machine.seen().listeners == frozenset()
        (found,) = machine.instances.of("blog")
        assert (found.id, found.ready, found.end) == (instance.id, True, None)
        await machine.instances.stop("blog", found.id)
        assert is_gone(instance.pid)
        assert machine.records.instances() == []


@on_the_loop
async def test_one_that_is_adopted_before_its_time_is_not_yet_ready(site: Site) -> None:
    with a_life(site) as machine:
        directories(machine)
        starting = asyncio.create_task(
            machine.instances.start(worker(site, seconds=60), machine.host.paths("blog"), ())
        )
        await soon(lambda: machine.records.instances() and machine.records.instances()[0].pid)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
    with a_life(site) as machine:
        (found,) = machine.instances.of("blog")
        assert (found.ready, found.end) == (False, None)
        again = await machine.instances.start(worker(site), machine.host.paths("blog"), ())
        assert (again.id, again.ready) == (found.id, True)
        await machine.instances.stop("blog", found.id)


@on_the_loop
async def test_one_that_ends_before_its_time_has_not_started(site: Site) -> None:
    with a_life(site) as machine:
        directories(machine)
        program = worker(site, code="raise SystemExit('LookupError: no queue')", seconds=30)
        with pytest.raises(CannotStart, match="LookupError: no queue"):
            await machine.instances.start(program, machine.host.paths("blog"), ())
        with pytest.raises(CannotStart, match="worker exited with 4"):
            await machine.instances.start(
                replace(program, argv=(*program.argv[:6], "raise SystemExit(4)")), machine.host.paths("blog"), ()
            )
        assert machine.instances.of("blog") == ()


# The sandbox


@pytest.mark.parametrize("way", ["by exec, because its fork server is still starting", "from a fork server"])
@on_the_loop
async def test_an_instance_has_the_rights_of_its_sandbox_whichever_way_it_starts(site: Site, way: str) -> None:
    limits = (512, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    with a_life(site, sandbox=replace(todays_sandbox(), umask=0o027, nofile=limits, log=0o640)) as machine:
        if way == "from a fork server":
            other = machine.app("other")
            await machine.started(other)
            await machine.fork_servers()
        app = machine.app()
        site.save(Path(app.source.path) / "wsgi.py", _CONFINED)
        await machine.started(app)
        assert machine.launched[-1][1].endswith(way)
        assert json.loads(get(address_of(app).port)) == [0o027, list(limits), False]
        assert machine.host.paths("blog").log.stat().st_mode & 0o777 == 0o640


@on_the_loop
async def test_todays_sandbox_gives_an_app_what_the_daemon_has(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        site.save(Path(app.source.path) / "wsgi.py", _CONFINED)
        await machine.started(app)
        before = os.umask(0o777)
        os.umask(before)
        assert json.loads(get(address_of(app).port)) == [
            before,
            list(resource.getrlimit(resource.RLIMIT_NOFILE)),
            False,
        ]
        instance = machine.only()
        directory = site.paths.readiness("blog") / instance.id
        config = site.paths.revisions("blog") / instance.revision / "gunicorn.config"
        wakeups = site.paths.wakeup_file("blog")
        modes = [path.stat().st_mode & 0o777 for path in (directory, config.parent, config, wakeups)]
        assert modes == [0o700, 0o700, 0o644, 0o444]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away, or become another user")
@on_the_loop
async def test_a_program_and_its_directories_are_its_users(site: Site) -> None:
    nobody = Owner(uid=65534, gid=65534)
    with a_life(site, sandbox=replace(todays_sandbox(), owner=nobody)) as machine:
        directories(machine)
        command = ("--", "/bin/sh", "-c", "echo $(id -u) $(id -g) $(id -G) >&2; exec sleep 60")
        program = replace(worker(site), argv=(sys.executable, _LAUNCHER, "/", *command))
        instance = await machine.instances.start(program, machine.host.paths("blog"), ())
        assert machine.host.paths("blog").log.read_text() == "65534 65534 65534\n"
        facts = (machine.host.paths("blog").readiness / instance.id).stat()
        assert (facts.st_uid, facts.st_gid) == (65534, 65534)
        await machine.instances.stop("blog", instance.id)


# The directory of an instance


@on_the_loop
async def test_an_instance_whose_revision_is_renamed_keeps_its_directory(site: Site) -> None:
    app: App
    with a_life(site) as machine:
        app = machine.app()
        instance = await machine.started(app)
        before = instance.revision
        machine.database.execute("UPDATE instance SET directory = NULL")  # as an earlier version left it
    with a_life(site) as machine:
        machine.instances.rename_revision("blog", instance.id, "ba9876543210")
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        assert machine.only().revision == "ba9876543210"
    with a_life(site) as machine:
        assert machine.only().revision == "ba9876543210"
        await soon(lambda: [path.name for path in site.paths.revisions("blog").iterdir()] == [before])
        assert (site.paths.revisions("blog") / before / "gunicorn.config").is_file()
        await machine.instances.stop("blog", instance.id)
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        await soon(lambda: list(site.paths.revisions("blog").iterdir()) == [])
