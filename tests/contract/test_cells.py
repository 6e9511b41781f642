"""Each instance and task in a cell of its own, made before its first process and gone after its last."""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.isolation.cells import CELL_VARIABLE, Cells
from reconciler.linux.control_groups import Group, hierarchies
from reconciler.linux.process_identity import start_ticks
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import eventually, soon
from tests.support.site import Site, get

pytestmark = pytest.mark.skipif(
    Cells("0" * 16).layout.ending is None, reason="no control groups that may be written to"
)

# Detaches a process in every way there is as it is imported, and clears all by which it could be found.
_APP = """
import os
HOME = os.environ["HOME"]
SEEN = dict(os.environ)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 256)
        with open(HOME + "/detached", "w") as file:
            file.write(str(os.getpid()))
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
os.wait()

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [repr("RECONCILER_CELL" in SEEN).encode()]
"""


def _groups(machine: Machine, instance: str) -> list[Path]:
    """Every group of an instance on this host."""
    tree = f"reconciler-{machine.site.state_id()}/apps/blog/{instance}"
    return [path for each in hierarchies() if (path := each.group.path / tree).is_dir()]


def _is_told(site: Site) -> bool:
    """Whether the detached process has written its pid: the app may serve before."""
    said = site.paths.home("blog") / "detached"
    return said.exists() and said.read_text() != ""


def _detached(site: Site) -> int:
    return int((site.paths.home("blog") / "detached").read_text())


@on_the_loop
async def test_a_detached_process_that_forgot_its_marks_ends_with_its_instance(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        site.save(site.root / "apps/blog/wsgi.py", _APP)
        start = await machine.started(app)
        assert start.address is not None
        assert get(start.address.port) == "False"
        await soon(lambda: _is_told(site))
        pid, instance = _detached(site), machine.only().id
        try:
            (path,) = _groups(machine, instance)
            inside = Group(path, 2).pids()
            assert {pid, machine.only().pid} <= inside
            await machine.instances.stop("blog", instance)
            await soon(lambda: start_ticks(pid) is None)
            await soon(lambda: not _groups(machine, instance))
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@on_the_loop
async def test_the_next_daemon_ends_all_of_an_instance_that_this_one_started(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        site.save(site.root / "apps/blog/wsgi.py", _APP)
        await machine.started(app)
        await soon(lambda: _is_told(site))
        pid, instance = _detached(site), machine.only().id
    with a_life(site) as later:
        assert later.only().id == instance
        await later.instances.stop("blog", instance)
        await soon(lambda: start_ticks(pid) is None)
        await soon(lambda: not _groups(later, instance))


@on_the_loop
async def test_all_of_an_instance_whose_master_died_while_no_daemon_ran_is_ended(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        site.save(site.root / "apps/blog/wsgi.py", _APP)
        await machine.started(app)
        await soon(lambda: _is_told(site))
        pid, instance, master = _detached(site), machine.only().id, machine.only().pid
    os.kill(master, signal.SIGKILL)
    with suppress(ChildProcessError):
        os.waitpid(master, 0)
    try:
        assert start_ticks(pid) is not None
        with a_life(site) as later:
            await soon(lambda: start_ticks(pid) is None)
            later.instances.reap("blog", instance)
            await later.instances.clear()
            assert not _groups(later, instance)
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("daemon", ["runs", "was killed"])
def test_down_ends_detached_processes_of_a_daemon_in_another_group(site: Site, daemon: str) -> None:
    place = Cells("0" * 16).layout.ending
    assert place is not None
    elsewhere = Group(Path(place.path) / f"elsewhere-{os.getpid()}", place.version)
    elsewhere.make()
    pid, left_over = None, subprocess.Popen(["sleep", "600"])
    try:
        site.app("blog")
        site.save(site.root / "apps/blog/wsgi.py", _APP)
        running = site.live()
        site.await_settled("blog")
        eventually(lambda: _is_told(site))
        pid = _detached(site)
        if daemon == "was killed":
            site.end(running, signal.SIGKILL)
        cell = Cells(str(site.state_id())).make("blog", "f" * 12)
        assert all(group.add(left_over.pid) for group in cell.groups.values())
        for group in cell.groups.values():
            replace(group, path=group.path.parent.with_name("empty")).make()  # its daemon was killed before it went on
        assert elsewhere.add(os.getpid())
        try:
            done = subprocess.run(site.command("down"), capture_output=True, text=True, timeout=60, check=False)
        finally:
            Group(Path(place.path), place.version).add(os.getpid())
        assert done.returncode == 0, done.stderr
        assert start_ticks(pid) is None
        assert start_ticks(left_over.pid) is None, "its instance or task is gone, and it bears no marks"
        tree = f"reconciler-{site.state_id()}"
        assert not [each for each in hierarchies() if (each.group.path / tree).exists()]
    finally:
        left_over.kill()
        left_over.wait()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        elsewhere.remove()


@on_the_loop
async def test_cells_of_nothing_that_runs_are_left_over_and_no_others(site: Site) -> None:
    with a_life(site) as machine:
        await machine.started(machine.app())
        cells = machine.instances.cells
        left = cells.make("gone", "f" * 12)
        assert CELL_VARIABLE not in os.environ
        found = cells.left_over({machine.only().id})
        assert [cell.entrances for cell in found] == [left.entrances]
        assert found[0].end()
        assert cells.left_over({machine.only().id}) == []
        await machine.instances.stop("blog", machine.only().id)
        await machine.instances.clear()
        tree = f"reconciler-{site.state_id()}"
        assert not [each for each in hierarchies() if (each.group.path / tree).exists()]
