"""Instances of which one worker accepts while another does not yet: whatever ends them, no request is cut."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import dedent

from reconciler.planning.apps.actions import Stop
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Server
from tests.contract.machine import Machine, a_life, on_the_loop, start_of
from tests.support.eventually import soon
from tests.support.site import Site, get
from tests.world import address_of

# Of two workers the first to come answers, when it may; the other waits in its import, until it is to fail.
_TWO = """
    import os, time

    HERE = {here!r}
    try:
        os.mkdir(HERE + "/first")
    except OSError:
        while not os.path.exists(HERE + "/fail"):
            time.sleep(0.05)
        raise RuntimeError("no database")

    def application(environ, start_response):
        open(HERE + "/asked", "w").close()
        while not os.path.exists(HERE + "/go"):
            time.sleep(0.05)
        start_response("200 OK", [])
        return [b"finished"]
    """


@contextmanager
def half_started(site: Site) -> Iterator[tuple[Machine, App]]:
    """A Host, and an app of which one worker is going to accept and the other is not."""
    with a_life(site) as machine:
        app = machine.app(server=Server(workers=2, start_timeout_s=30, stop_timeout_s=5))
        site.save(Path(app.source.path) / "wsgi.py", dedent(_TWO.format(here=str(site.root))))
        yield machine, app


async def asked(site: Site, machine: Machine, app: App) -> tuple["asyncio.Task[None]", "asyncio.Task[str]"]:
    """The start that goes on, and the request that a worker is at work on."""
    await machine.staged(app)
    starting = asyncio.create_task(machine.do(start_of(app.revision(machine.content()), app.workers)))
    asking = asyncio.create_task(asyncio.to_thread(get, address_of(app).port))
    await soon((site.root / "asked").exists)
    return starting, asking


@on_the_loop
async def test_one_that_is_not_wanted_any_more_finishes_the_requests_it_has(site: Site) -> None:
    with half_started(site) as (machine, app):
        starting, asking = await asked(site, machine, app)
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        stop = Stop(instance=machine.only().id, at_once=True, cause="test")
        stopping = asyncio.create_task(machine.do(stop))
        await asyncio.sleep(0)
        (site.root / "go").touch()
        assert await asking == "finished"
        await stopping
        assert machine.seen().instances == ()


@on_the_loop
async def test_one_whose_other_worker_fails_finishes_the_requests_it_has(site: Site) -> None:
    with half_started(site) as (machine, app):
        starting, asking = await asked(site, machine, app)
        (site.root / "fail").touch()
        await soon(lambda: machine.only().failed_start)
        (site.root / "go").touch()
        assert await asking == "finished"
        await starting
        assert machine.seen().instances == ()
        assert "no database" in machine.seen().failures[0].reason


@on_the_loop
async def test_a_worker_that_passes_after_its_instance_was_given_up_accepts_nothing(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(start_timeout_s=30, stop_timeout_s=5))
        text = f"""
            import os, time
            while not os.path.exists({str(site.root / "go")!r}):
                time.sleep(0.05)
            def application(environ, start_response):
                start_response("200 OK", [])
                return [b"accepted"]
            """
        site.save(Path(app.source.path) / "wsgi.py", dedent(text))
        await machine.staged(app)
        starting = asyncio.create_task(machine.do(start_of(app.revision(machine.content()))))
        await soon(lambda: machine.seen().instances and machine.only().pid)
        (site.paths.readiness("blog") / machine.only().id / "unwanted").touch()
        asking = asyncio.create_task(asyncio.to_thread(get, address_of(app).port))
        (site.root / "go").touch()
        log = site.paths.log("blog", "app")
        await soon(lambda: log.read_text().count("Booting worker") > 1)
        assert not asking.done()
        starting.cancel()
        with suppress(asyncio.CancelledError):
            await starting
        await machine.do(Stop(instance=machine.only().id, at_once=True, cause="test"))
        await machine.started(machine.app(name="blog", address=app.address, server=Server(workers=1)))
        assert await asking == "1"  # the next instance answers
