"""Limits on real processes: one worker goes and its master lives, and a change holds for what runs."""

import asyncio
import os
import resource
import signal
from pathlib import Path

import pytest

from reconciler.host.limit_watch import LimitWatch
from reconciler.host.stores import Stores
from reconciler.isolation.cells import Cells
from reconciler.linux.control_groups import Group
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.process_table import children, family
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Server
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.isolation.layout import NOT_MOUNTED, Layout
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.state.journal import Journal
from reconciler.state.revision_history import RevisionHistory
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site, get

M = 1 << 20
_LAYOUT = Cells("0" * 16).layout
held_by_the_kernel = pytest.mark.skipif(
    not {"memory", "pids", "cpu"} <= _LAYOUT.limiting.keys(), reason=f"no limits by control groups: {_LAYOUT.lacks}"
)

# Takes memory, and keeps it; starts what lives for a while; says its pid.
_APP = """
import os, subprocess, threading, time
kept = []

def application(environ, start_response):
    path, much = environ["PATH_INFO"], int(environ["QUERY_STRING"] or 0)
    said = str(os.getpid())
    if path == "/take":
        kept.append(b"x" * (much << 20))
    if path == "/threads":
        for _ in range(much):
            try:
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
            except RuntimeError:
                said = "refused"
                break
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [said.encode()]
"""


def _an_app(machine: Machine, limits: Limits) -> App:
    app = machine.app(limits=limits, server=Server(workers=2, start_timeout_s=30, stop_timeout_s=10))
    machine.site.save(machine.site.root / "apps/blog/wsgi.py", _APP)
    machine.follow(app)
    return app


def _port(instance: Instance) -> int:
    assert instance.address is not None
    return instance.address.port


def _watch(machine: Machine, rest_s: float = 0.0) -> LimitWatch:
    stores = Stores(
        records=machine.records,
        history=RevisionHistory(machine.records, machine.boot),
        journal=Journal(machine.database),
    )
    return LimitWatch(machine.site.paths, stores, machine.instances, rest_s=rest_s)


def _events(machine: Machine) -> list[tuple[str, str]]:
    return [(kind, text) for _, kind, text in machine.site.events("blog") if kind in {"limited", "exceeded"}]


async def _asked(port: int, path: str) -> str | None:
    """The answer to one request, None if it failed."""
    try:
        return await asyncio.to_thread(get, port, path)
    except (OSError, AssertionError):
        return None


def _worker_file(machine: Machine, controller: str, name: str) -> str:
    live = machine.instances.lives("blog")[0]
    return live.cell.groups[controller].read(name) or ""


@held_by_the_kernel
@on_the_loop
async def test_one_request_that_needs_too_much_takes_its_worker_and_the_master_lives(site: Site) -> None:
    with a_life(site) as machine:
        app = _an_app(machine, Limits(memory=128 * M))
        instance = await machine.started(app)
        watch, port = _watch(machine), _port(instance)
        watch.look(machine.host.now())
        before = children(instance.pid)
        assert await _asked(port, "/take?400") is None
        await soon(lambda: len(children(instance.pid)) == 2 and children(instance.pid) != before)

        def told() -> bool:
            watch.look(machine.host.now())
            return bool(machine.only().exceeded)

        await soon(told)
        (gone,) = set(before) - set(children(instance.pid))
        assert machine.only().exceeded == f"worker {gone} needed more than 128M"
        assert (machine.only().pid, machine.only().end) == (instance.pid, None)
        assert await _asked(port, "/") is not None
        assert ("exceeded", f"gunicorn {instance.pid}: worker {gone} needed more than 128M") in _events(machine)


@held_by_the_kernel
@on_the_loop
async def test_near_its_limit_it_is_outgrown_once_and_never_while_it_is_young(site: Site) -> None:
    with a_life(site) as machine:
        app = _an_app(machine, Limits(memory=256 * M, soft=128 * M))
        instance = await machine.started(app)
        young, watch = _watch(machine, rest_s=3600.0), _watch(machine)
        assert await _asked(_port(instance), "/take?120") is not None
        young.look(machine.host.now())
        assert machine.only().outgrown == ""
        wait_s = watch.look(machine.host.now())
        assert wait_s is not None
        assert machine.only().outgrown.endswith(" of 256 MB")
        watch.look(machine.host.now() + 10)
        assert [kind for kind, _ in _events(machine)] == ["limited"]


@held_by_the_kernel
@on_the_loop
async def test_a_change_holds_for_what_runs_and_lifting_them_too(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        machine.follow(app)
        instance = await machine.started(app)
        limits = Limits(memory=512 * M, cpu=0.5, processes=50, files=128)
        await machine.holds(ApplyLimits(instance=instance.id, limits=limits, cause="test"))
        live = machine.instances.lives("blog")[0]
        workers = (instance.pid, *children(instance.pid))
        for controller in ("memory", "pids", "cpu"):
            assert set(workers) <= live.cell.groups[controller].pids()
        assert live.unenforced == ""
        assert {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in workers} == {(128, 128)}
        assert _worker_file(machine, "pids", "pids.max").strip() == "50"
    with a_life(site) as later:
        assert later.only().limits is None, "the next daemon does not know which they are"
        await later.do(ApplyLimits(instance=instance.id, limits=NO_LIMITS, cause="test"))
        assert later.only().limits == NO_LIMITS
        assert _worker_file(later, "pids", "pids.max").strip() == "max"
        raised = resource.prlimit(instance.pid, resource.RLIMIT_NOFILE) == resource.getrlimit(resource.RLIMIT_NOFILE)
        assert raised == (later.only().unenforced == ""), "where the kernel lets nobody raise it, that is said"


@held_by_the_kernel
@on_the_loop
async def test_a_bomb_of_threads_meets_its_limit_and_that_is_told(site: Site) -> None:
    with a_life(site) as machine:
        app = _an_app(machine, Limits(processes=30))
        instance = await machine.started(app)
        watch = _watch(machine)
        assert await _asked(_port(instance), "/threads?500") == "refused"
        watch.look(machine.host.now())
        assert machine.only().exceeded == "it wanted more than 30 processes and threads"
        watch.look(machine.host.now() + 5)
        watch.look(machine.host.now() + 700)
        assert machine.only().exceeded == "", "it is told for ten minutes"


def _nowhere(machine: Machine) -> None:
    """Take from a machine all control groups."""
    machine.instances.cells._layout = Layout(lacks=NOT_MOUNTED)


@on_the_loop
async def test_without_control_groups_each_process_is_limited_and_all_of_them_watched(site: Site) -> None:
    with a_life(site) as machine:
        _nowhere(machine)
        app = _an_app(machine, Limits(memory=256 * M, processes=5))
        instance = await machine.started(app)
        watch, port = _watch(machine), _port(instance)
        assert machine.only().limits == app.limits
        assert machine.only().unenforced == (
            "processes is watched, not enforced; memory is enforced for each process by itself, and watched for all"
            f" together: {NOT_MOUNTED}"
        )
        workers = children(instance.pid)
        assert await _asked(port, "/take?400") is None, "a MemoryError is an answer of 500"
        assert children(instance.pid) == workers
        taken = 0
        while taken < 2:  # more than 256M of both; a worker that has its share already answers 500
            taken += await _asked(port, "/take?150") is not None
        watch.look(machine.host.now())
        assert " needed more than 256M, and was ended" in machine.only().exceeded
        (gone,) = (pid for pid in workers if f"worker {pid} " in machine.only().exceeded)
        await soon(lambda: start_ticks(gone) is None)
        assert machine.only().end is None


@pytest.mark.parametrize(("outlived", "told"), [(0, True), (1, False)])
@on_the_loop
async def test_a_kill_that_the_master_has_outlived_does_not_explain_its_end(
    site: Site, monkeypatch: pytest.MonkeyPatch, outlived: int, *, told: bool
) -> None:
    monkeypatch.setattr("reconciler.serving.supervised.memory_kills", lambda cell: 1)
    with a_life(site) as machine:
        app = _an_app(machine, Limits(memory=256 * M))
        instance = await machine.started(app)
        machine.instances.lives("blog")[0].kills = outlived
        os.kill(instance.pid, signal.SIGKILL)
        await soon(lambda: machine.only().end is not None)
        assert ("needed more than 256M" in str(machine.only().end)) == told


def _members(machine: Machine, pid: int) -> set[int]:
    """All of a process and its descendants that are in a group which holds memory."""
    group = machine.instances.lives("blog")[0].cell.groups.get("memory")
    return {each for each, _ in family(pid)} & (set() if group is None else set(group.pids()))


@held_by_the_kernel
@on_the_loop
async def test_an_instance_of_before_there_were_cells_is_held_with_all_that_it_has_started(site: Site) -> None:
    with a_life(site) as machine:
        _nowhere(machine)
        app = machine.app(server=Server(workers=2, start_timeout_s=30, stop_timeout_s=10))
        machine.follow(app)
        instance = await machine.started(app)
    with a_life(site) as later:
        await later.do(ApplyLimits(instance=instance.id, limits=Limits(memory=512 * M, processes=50), cause="test"))
        assert later.only().unenforced == ""
        assert _members(later, instance.pid) == {instance.pid, *children(instance.pid)}
        for pid in (instance.pid, *children(instance.pid)):
            assert f"/apps/blog/{instance.id}\n" in Path(f"/proc/{pid}/cgroup").read_text()


@held_by_the_kernel
@on_the_loop
async def test_a_group_that_does_not_take_the_master_holds_nothing_and_that_is_said(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        _nowhere(machine)
        app = machine.app()
        machine.follow(app)
        instance = await machine.started(app)
    monkeypatch.setattr(Group, "add", lambda self, pid: False)
    with a_life(site) as later:
        await later.do(ApplyLimits(instance=instance.id, limits=Limits(processes=50), cause="test"))
        assert later.only().unenforced.startswith("processes is watched, not enforced")
        assert "pids" not in later.instances.lives("blog")[0].cell.groups


@on_the_loop
async def test_what_an_app_takes_on_the_disk_is_told_and_that_it_takes_less_again(site: Site) -> None:
    with a_life(site) as machine:
        app = _an_app(machine, Limits(disk=4 * M))
        await machine.started(app)
        watch, live = _watch(machine), machine.instances.lives("blog")[0]
        await watch.look_at_disk(live)
        assert machine.only().exceeded == ""
        big: Path = site.paths.scratch("blog") / "big"
        big.write_bytes(b"x" * (8 * M))
        await watch.look_at_disk(live)
        await watch.look_at_disk(live)
        assert machine.only().exceeded.startswith("home, temporary files and logs take 8")
        assert [kind for kind, _ in _events(machine)] == ["exceeded"]
        big.unlink()
        await watch.look_at_disk(live)
        assert machine.only().exceeded == ""


@on_the_loop
async def test_files_are_limited_for_each_process_from_its_start(site: Site) -> None:
    with a_life(site) as machine:
        app = _an_app(machine, Limits(files=200))
        instance = await machine.started(app)
        found = {resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in (instance.pid, *children(instance.pid))}
        assert found == {(200, 200)}
