"""The number of a real gunicorn's workers: changed under load, and right whatever interrupts or disturbs the change."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from reconciler.linux.process_table import children
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Health, Server
from reconciler.serving import instances, worker_signals
from reconciler.serving.live_instance import CannotScale
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import at_leisure, soon
from tests.support.load import under_load
from tests.support.site import Site, is_gone
from tests.world import address_of

_CHECKED = """
import os

def application(environ, start_response):
    well = not os.path.exists(os.path.join(os.path.dirname(__file__), {flag!r}))
    start_response("200 OK" if well or environ["PATH_INFO"] != "/healthz" else "500 Broken", [("Content-Length", "1")])
    return [b"1"]
"""


def workers(machine: Machine, pid: int) -> int:
    """The workers that are there and have passed their gate, as the process table and their files say."""
    readiness = machine.site.paths.readiness("blog") / machine.only().id
    passed = {int(path.name) for path in readiness.iterdir() if path.name.isdecimal()}
    alive = set(children(pid))
    return len(alive) if alive == passed else -1


async def have(machine: Machine, pid: int, count: int) -> None:
    """Wait until exactly so many workers are there, and the record says so."""
    told = machine.site.paths.readiness("blog") / machine.only().id / "workers"
    async with asyncio.timeout(90):  # gunicorn itself gives a stuck worker 30 s
        while workers(machine, pid) != count:
            if told.is_file() and told.read_text() != str(count):  # a signal that came late, as the daemon finds out
                await machine.instances.scale("blog", machine.only().id, count)
            await asyncio.sleep(0.02)
    (record,) = machine.records.instances()
    assert record.workers == count


async def serving(machine: Machine, count: int = 1) -> tuple[App, Instance]:
    app = machine.app(server=Server(workers=count, stop_timeout_s=10))
    return app, await machine.started(app)


@on_the_loop
async def test_workers_come_and_go_under_load_without_a_failed_request(site: Site) -> None:
    with a_life(site) as machine:
        app, instance = await serving(machine)
        with under_load(address_of(app).port) as load:
            for count in (4, 2):
                await machine.instances.scale("blog", instance.id, count)
                assert machine.records.instances()[0].workers == count
                await asyncio.to_thread(load.await_more, 20)
            await have(machine, instance.pid, 2)
        assert (load.failed, is_gone(instance.pid)) == ({}, False)
        await machine.instances.scale("blog", instance.id, 2)  # nothing to do
        await have(machine, instance.pid, 2)


@on_the_loop
async def test_a_number_that_another_signal_changed_is_put_on_record(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "_SETTLED_S", 0.0)
    with a_life(site) as machine:
        _, instance = await serving(machine)
        os.kill(instance.pid, signal.SIGTTIN)
        await soon(lambda: machine.records.instances()[0].workers == 2, 90)
        assert machine.wakeups.names[-1] == "blog"
        await machine.instances.scale("blog", instance.id, 1)
        await have(machine, instance.pid, 1)


@pytest.mark.parametrize(("signals", "desired"), [(1, 4), (3, 4), (3, 1), (2, 1)])
@on_the_loop
async def test_a_daemon_killed_between_signal_and_record_leaves_nothing_that_counts_wrong(
    site: Site, signals: int, desired: int
) -> None:
    with a_life(site) as machine:
        _, instance = await serving(machine)
    told = site.paths.readiness("blog") / instance.id / "workers"
    for number in range(signals):  # what the daemon did, and had no time to write down
        os.kill(instance.pid, signal.SIGTTIN)
        await soon(lambda number=number: told.read_text() == str(2 + number))  # type: ignore[misc]
    with a_life(site) as machine:
        assert machine.records.instances()[0].workers == 1 + signals
        await machine.instances.scale("blog", instance.id, desired)
        await have(machine, instance.pid, desired)


@on_the_loop
async def test_an_interrupted_change_is_on_record_as_far_as_it_got(site: Site) -> None:
    with a_life(site) as machine:
        _, instance = await serving(machine)
        told = site.paths.readiness("blog") / instance.id / "workers"
        scaling_up = asyncio.create_task(machine.instances.scale("blog", instance.id, 6))
        await soon(lambda: told.read_text() != "1")
        scaling_up.cancel()
        await asyncio.gather(scaling_up, return_exceptions=True)
        assert str(machine.records.instances()[0].workers) == told.read_text()
        await machine.instances.scale("blog", instance.id, 1)
        await have(machine, instance.pid, 1)


@pytest.mark.parametrize("says", [True, False])
@on_the_loop
async def test_a_worker_that_dies_meanwhile_is_replaced_and_not_counted_wrong(site: Site, says: bool) -> None:
    with a_life(site) as machine:
        _, instance = await serving(machine, 3)
        told = site.paths.readiness("blog") / instance.id / "workers"
        if not says:  # as of an instance that was started before gunicorn was asked to say it
            told.unlink()
            told.mkdir()
        os.kill(children(instance.pid)[0], signal.SIGKILL)
        await machine.instances.scale("blog", instance.id, 4)
        await have(machine, instance.pid, 4)
        os.kill(children(instance.pid)[-1], signal.SIGKILL)
        await machine.instances.scale("blog", instance.id, 2)
        await have(machine, instance.pid, 2)


@on_the_loop
async def test_a_new_worker_that_fails_its_gate_is_a_failure_and_costs_no_good_one(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(health=Health(path="/healthz"), stop_timeout_s=10))
        site.save(Path(app.source.path) / "wsgi.py", _CHECKED.format(flag=str(site.root / "ill")))
        instance = await machine.started(app)
        (good,) = children(instance.pid)
        (site.root / "ill").touch()
        monkeypatch.setattr(worker_signals, "WITHIN_S", at_leisure(4.0))
        with pytest.raises(CannotScale, match=r"2 ready workers within [\d.]+ s: 1 worker waiting: .*500 Broken"):
            await machine.instances.scale("blog", instance.id, 2)
        assert machine.records.instances()[0].workers == 2
        with pytest.raises(CannotScale):
            await machine.instances.scale("blog", instance.id, 1)
        assert good in children(instance.pid)
        assert machine.only().serves
        (site.root / "ill").unlink()
        monkeypatch.setattr(worker_signals, "WITHIN_S", 60.0)
        await machine.instances.scale("blog", instance.id, 1)
        await have(machine, instance.pid, 1)


@on_the_loop
async def test_an_instance_that_ends_meanwhile_is_a_failure(site: Site) -> None:
    with a_life(site) as machine:
        _, instance = await serving(machine)
        scaling_up = asyncio.create_task(machine.instances.scale("blog", instance.id, 9))
        await asyncio.sleep(0)
        os.kill(instance.pid, signal.SIGKILL)
        with pytest.raises(CannotScale, match="it ended, or was stopped, before it had 9 ready workers"):
            await scaling_up
        await machine.instances.scale("blog", "no such instance", 2)
