"""What a killed daemon leaves behind the next one finds, and trusts no further than the process table bears it out."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux import control_groups
from reconciler.linux.control_groups import mount_table
from reconciler.linux.listing import names_in
from reconciler.linux.process_identity import start_ticks
from reconciler.planning.apps.actions import Listen
from reconciler.planning.apps.app import App
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Server
from reconciler.serving import live_instance, supervised
from reconciler.serving.listening_sockets import Listeners
from reconciler.serving.marks import APP_MARK, INSTANCE_MARK, RECORD_MARK, STATE_MARK
from reconciler.state.schema import open_database
from tests.contract.machine import Machine, a_life, burial, on_the_loop, start_of
from tests.support.eventually import soon
from tests.support.site import Site, get, is_gone
from tests.world import address_of, stranding

PYTHON = "/usr/bin/python3"

needs_another_user = pytest.mark.skipif(
    os.geteuid() != 0 or not Path(PYTHON).exists(), reason="only root may start a process of another user"
)


async def a_life_that_ends(site: Site, workers: int = 1, *, kept: bool = False) -> tuple[App, int]:
    """A host starts an app and is killed; returns the app and its master."""
    with a_life(site, kept=kept) as machine:
        app = machine.app(server=Server(workers=workers, stop_timeout_s=10))
        instance = await machine.started(app)
        return app, instance.pid


def actions(machine: Machine, app: App | None) -> list[str]:
    return [str(action).split()[0] for action in plan(app, machine.seen(), machine.host.now()).actions]


def write(site: Site, statement: str, *values: object) -> None:
    with a_life(site) as machine:
        machine.database.execute(statement, values)


@on_the_loop
async def test_what_runs_is_adopted_with_its_listener_and_needs_nothing_but_a_look_at_its_source(site: Site) -> None:
    app, pid = await a_life_that_ends(site, workers=2)
    with a_life(site) as machine:
        assert (machine.only().pid, machine.only().ready) == (pid, True)
        assert machine.seen().listeners == {app.address}
        assert not machine.only().detached
        assert actions(machine, app) == ["read"]
        assert machine.host.names() == {"blog"}


@on_the_loop
async def test_however_many_are_adopted_the_host_is_looked_at_once_and_each_directory_of_workers_too(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        for name in ("blog", "shop", "wiki"):
            await machine.started(machine.app(name))
    tables, listed = list[str](), list[str]()

    def table() -> str:
        tables.append(mount_table())
        return tables[-1]

    def names(directory: Path, most: int) -> list[str]:
        listed.append(directory.parent.parent.name)
        return names_in(directory, most)

    for module in (supervised, control_groups):
        monkeypatch.setattr(module, "mount_table", table)
    monkeypatch.setattr(live_instance, "names_in", names)
    with a_life(site) as machine:
        monkeypatch.undo()
        assert len(tables) == 2, "for all instances, and for the place of the daemon itself"
        assert sorted(listed) == ["blog", "shop", "wiki"]
        assert all(machine.only(name).ready for name in listed)


@on_the_loop
async def test_a_listener_is_fetched_back_and_goes_on_when_the_instance_dies(site: Site) -> None:
    app, pid = await a_life_that_ends(site)
    with a_life(site) as machine:
        assert machine.seen().listeners == {app.address}
        os.kill(pid, signal.SIGKILL)
        await soon(lambda: machine.only().end == "ended")
        await soon(lambda: site.marked() == set())
        _, writer = await asyncio.open_connection("127.0.0.1", address_of(app).port)  # waits in the backlog
        writer.close()


@on_the_loop
async def test_an_instance_whose_listener_cannot_be_had_is_stranded_and_replaced(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host that does not let us trace our own processes."""
    app, pid = await a_life_that_ends(site)
    monkeypatch.setattr(Listeners, "fetch", lambda *_: False)
    with a_life(site) as machine:
        await machine.holds(Listen(address=address_of(app), cause="test"), fetchable=False)
        assert machine.seen() == stranding(machine.seen(), address_of(app))
        await machine.holds(start_of(app.revision(machine.content()), app.workers))
        assert len(machine.seen().instances) == 2
        assert not is_gone(pid)
        assert get(address_of(app).port) == "1"


@on_the_loop
async def test_a_death_while_nobody_watched_is_found_and_its_workers_are_ended(site: Site) -> None:
    app, pid = await a_life_that_ends(site, workers=2)
    os.kill(pid, signal.SIGKILL)
    await soon(lambda: is_gone(pid))
    with a_life(site) as machine:
        assert machine.only().end == "exited while no daemon was watching"
        await soon(lambda: site.marked() == set())
        await machine.holds(burial(machine))
        await machine.do(Listen(address=address_of(app), cause="test"))
        await machine.do(start_of(app.revision(machine.content()), app.workers))
        assert get(address_of(app).port) == "1"


@on_the_loop
async def test_the_port_of_an_instance_that_died_unwatched_can_be_opened_at_once(site: Site) -> None:
    app, pid = await a_life_that_ends(site, workers=4)
    for worker in site.marked() - {pid}:
        os.kill(worker, signal.SIGSTOP)  # these would notice that their master is gone, and end
    os.kill(pid, signal.SIGKILL)
    await soon(lambda: is_gone(pid))
    with a_life(site) as machine:
        await machine.do(Listen(address=address_of(app), cause="test"))
        assert machine.seen().listeners == {app.address}


@on_the_loop
async def test_an_instance_without_a_pid_on_record_is_known_by_its_mark(site: Site) -> None:
    """The daemon died between starting it and writing down which process it is."""
    _, pid = await a_life_that_ends(site)
    write(site, "UPDATE instance SET pid = NULL, ticks = NULL, ready_at = NULL")
    with a_life(site) as machine:
        assert (machine.only().pid, machine.only().ready, machine.only().end) == (pid, True, None)
        assert [(r.pid, r.ticks) for r in machine.records.instances()] == [(pid, start_ticks(pid))]


@on_the_loop
async def test_an_instance_that_never_became_a_process_is_forgotten_and_is_no_crash(site: Site) -> None:
    """The daemon died between writing it down and starting it."""
    _, pid = await a_life_that_ends(site)
    os.killpg(pid, signal.SIGKILL)
    await soon(lambda: site.marked() == set())
    write(site, "UPDATE instance SET pid = NULL, ticks = NULL, ready_at = NULL")
    with a_life(site) as machine:
        assert machine.seen().instances == ()
        assert machine.seen().failures == ()
        assert machine.records.instances() == []
        await soon(lambda: list(site.paths.readiness("blog").iterdir()) == [])


@on_the_loop
async def test_an_instance_that_is_on_no_record_is_put_on_one_from_its_own_mark(site: Site) -> None:
    """The disk was full when it was started, and its daemon died before it had room again."""
    _, pid = await a_life_that_ends(site, workers=2)
    with closing(open_database(site.paths.database)) as database:
        database.execute("DELETE FROM instance")
    with a_life(site) as machine:
        assert (machine.only().pid, machine.only().ready, machine.only().end) == (pid, True, None)
        assert [(r.pid, r.ticks) for r in machine.records.instances()] == [(pid, start_ticks(pid))]


@on_the_loop
async def test_workers_whose_master_is_on_no_record_and_gone_are_ended(site: Site) -> None:
    _, pid = await a_life_that_ends(site, workers=2)
    with closing(open_database(site.paths.database)) as database:
        database.execute("DELETE FROM instance")
    for worker in site.marked() - {pid}:
        os.kill(worker, signal.SIGSTOP)  # these would notice that their master is gone, and end
    os.kill(pid, signal.SIGKILL)
    await soon(lambda: is_gone(pid))
    with a_life(site) as machine:
        assert machine.seen().instances == ()
        await soon(lambda: site.marked() == set())
        await soon(lambda: list(site.paths.readiness("blog").iterdir()) == [])
        await soon(lambda: list(site.paths.revisions("blog").iterdir()) == [])


@on_the_loop
async def test_instances_of_another_boot_are_forgotten(site: Site) -> None:
    _app, pid = await a_life_that_ends(site)
    write(site, "UPDATE instance SET boot = 'before'")
    with a_life(site) as machine:
        assert machine.seen().instances == ()
        assert machine.records.instances() == []
        assert machine.seen().source is not None
        assert machine.seen().builds
        await soon(lambda: is_gone(pid))  # it was none of that boot: its mark gave it away


@on_the_loop
async def test_a_process_that_only_has_the_pid_of_an_instance_is_left_alone(site: Site) -> None:
    _, pid = await a_life_that_ends(site)
    os.killpg(pid, signal.SIGKILL)
    await soon(lambda: site.marked() == set())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as stranger:
        write(site, "UPDATE instance SET pid = ?", stranger.pid)
        with a_life(site) as machine:
            assert machine.only().end == "exited while no daemon was watching"
            await machine.do(burial(machine))
            assert stranger.poll() is None
        stranger.kill()


@on_the_loop
async def test_processes_of_another_state_directory_are_left_alone(site: Site) -> None:
    marks = {**os.environ, STATE_MARK: "0123456789abcdef", INSTANCE_MARK: "feedfacefeed"}
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], env=marks) as stranger, a_life(site):
        assert stranger.poll() is None
        stranger.kill()


@on_the_loop
async def test_a_start_that_was_under_way_is_waited_for_and_not_begun_again(site: Site) -> None:
    with a_life(site) as machine:
        app, go = machine.app(), site.root / "go"
        slow = (
            f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.05)\n"
            "def application(e, s):\n    s('200 OK', [])\n    return [b'slow']\n"
        )
        site.save(site.root / "apps/blog/wsgi.py", slow)
        await machine.staged(app)
        start = start_of(app.revision(machine.content()), app.workers)
        starting = asyncio.create_task(machine.do(start))
        await soon(lambda: machine.seen().instances)
        starting.cancel()
        await asyncio.wait((starting,))
        (pid,) = {r.pid for r in machine.records.instances()}
    with a_life(site) as machine:
        assert (machine.only().pid, machine.only().ready) == (pid, False)
        go.touch()
        await machine.do(Listen(address=address_of(app), cause="test"))
        await machine.holds(start)
        assert machine.only().pid == pid
        await soon(lambda: len(site.marked()) == 2)


@on_the_loop
async def test_a_stop_that_was_under_way_is_finished(site: Site) -> None:
    app, pid = await a_life_that_ends(site)
    write(site, "UPDATE instance SET stopping_since = started_at")
    with a_life(site) as machine:
        assert machine.only().stopping_since is not None
        assert not machine.only().serves
        assert "stop" in actions(machine, None)
        await machine.instances.stop("blog", machine.only().id)
        assert is_gone(pid)
        assert replace(app, name="blog") == app


@pytest.mark.network
@on_the_loop
async def test_an_app_that_renames_its_process_is_still_known_by_its_mark(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        (site.root / "apps/blog/requirements.txt").write_text("setproctitle\n")
        pid = (await machine.started(app)).pid
    assert pid in site.marked()


@on_the_loop
async def test_what_staging_and_discarding_left_half_done_is_removed(site: Site) -> None:
    await a_life_that_ends(site)
    builds = site.paths.builds("blog")
    for name in (".draft-0123-ab", ".gone-4567-cd"):
        (builds / name / "code").mkdir(parents=True)
    with a_life(site) as machine:
        await soon(lambda: len(list(builds.iterdir())) == 1)
        assert machine.seen().builds == (next(builds.iterdir()).name,)


def forged(
    site: Site, victim: Path, *, owner: int, hidden: bool = False, python: str = PYTHON
) -> "subprocess.Popen[bytes]":
    """A leader of a session that says it is an instance, whose directory would be one outside of the state."""
    way = os.path.relpath(victim, site.paths.readiness("blog"))
    record: dict[str, Any] = {
        "id": way, "app": "blog", "revision": "a" * 12, "build": "b" * 12, "boot": "another",
        "address": {"host": "127.0.0.1", "port": 1}, "started_at": 1.0, "stop_timeout_s": 1.0, "workers": 1,
    }  # fmt: skip
    marks = {STATE_MARK: str(site.state_id()), INSTANCE_MARK: way, APP_MARK: "blog", RECORD_MARK: json.dumps(record)}
    hide = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0);" if hidden else ""
    process = subprocess.Popen(
        [python, "-c", f"import sys, time; {hide} print(flush=True); time.sleep(600)"],
        env=marks, stdout=subprocess.PIPE, start_new_session=True, user=owner,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    return process


@needs_another_user
@pytest.mark.parametrize("hidden", [False, True])
@on_the_loop
async def test_marks_on_a_process_of_another_user_count_for_nothing(site: Site, hidden: bool) -> None:
    _, pid = await a_life_that_ends(site)
    victim = site.root / "victim"
    victim.mkdir()
    forger = forged(site, victim, owner=65_534, hidden=hidden)
    try:
        with a_life(site) as machine:
            assert machine.only().pid == pid
            assert forger.poll() is None
            assert victim.is_dir()
    finally:
        forger.kill()
        forger.wait()


@on_the_loop
async def test_an_id_that_leads_out_of_the_state_directory_is_no_id(site: Site) -> None:
    _, pid = await a_life_that_ends(site)
    victim = site.root / "victim"
    victim.mkdir()
    forger = forged(site, victim, owner=os.geteuid(), python=sys.executable)
    try:
        with a_life(site) as machine:
            assert [instance.pid for instance in machine.seen().instances] == [pid]
            assert victim.is_dir()
    finally:
        forger.kill()
        forger.wait()


@pytest.mark.parametrize("wrong", [{"pid": "many"}, {"started_at": "yesterday"}, {"revision": "../../x"}])
@on_the_loop
async def test_a_damaged_record_is_made_good_from_the_marks(site: Site, wrong: dict[str, str]) -> None:
    _, pid = await a_life_that_ends(site)
    ((column, value),) = wrong.items()
    with closing(open_database(site.paths.database)) as database:
        database.execute(f"UPDATE instance SET {column} = ?", (value,))
    with a_life(site) as machine:
        assert (machine.only().pid, machine.only().end) == (pid, None)


@needs_another_user
@on_the_loop
async def test_an_instance_of_another_user_is_not_adopted(site: Site) -> None:
    _, pid = await a_life_that_ends(site)
    os.killpg(pid, signal.SIGKILL)
    await soon(lambda: is_gone(pid))
    other = subprocess.Popen([PYTHON, "-c", "import time; time.sleep(600)"], user=65_534)
    try:
        write(site, "UPDATE instance SET pid = ?, ticks = ?", other.pid, start_ticks(other.pid))
        with a_life(site) as machine:
            assert machine.only().end == "exited while no daemon was watching"
            assert other.poll() is None
    finally:
        other.kill()
        other.wait()
