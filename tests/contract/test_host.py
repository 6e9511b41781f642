"""The real host does what tests/world.py says of every action: once, again, and after an interruption."""

import asyncio
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import (
    Action,
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RemoveBuild,
    Stage,
    Start,
    Stop,
    Unlisten,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Health, Recipe, Server
from reconciler.planning.outcome import app_outcome
from reconciler.planning.reason import Reason
from reconciler.serving import listening_sockets
from reconciler.serving.listening_sockets import CannotListen
from tests.contract.machine import Machine, a_life, burial, on_the_loop, start_of
from tests.support.eventually import at_leisure, soon
from tests.support.site import Site, get, is_busy, is_gone
from tests.world import address_of, stage_of

WHY = "the test says so"


def start(machine: Machine, app: App) -> Start:
    return start_of(app.revision(machine.content(app.name)), app.workers)


def read(machine: Machine, app: App) -> ReadSource:
    return ReadSource(source=app.source, source_generation=machine.seen(app.name).source_generation, cause=WHY)


async def killed(machine: Machine, name: str = "blog") -> None:
    """The master of the only instance dies, and the host has noticed."""
    os.kill(machine.only(name).pid, signal.SIGKILL)
    await soon(lambda: machine.only(name).end is not None)


# Each action, once


@on_the_loop
async def test_read_source_takes_the_fingerprint(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(read(machine, app))
        machine.is_after(Observed(), read(machine, app), machine.host.now(), content=machine.content())


@on_the_loop
async def test_stage_makes_the_build(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(read(machine, app))
        await machine.holds(stage_of(app.build(machine.content()), WHY))
        assert site.paths.builds("blog").joinpath(app.build(machine.content()).id, "build.json").is_file()


@on_the_loop
async def test_stage_of_a_source_that_has_changed_asks_to_read_it_again(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(read(machine, app))
        stage, source_generation = (
            stage_of(app.build(machine.content()), WHY),
            machine.seen().source_generation,
        )
        site.source("blog", "2")
        await machine.do(stage)
        look = machine.seen().source
        assert machine.seen().builds == ()
        assert look is not None
        assert look.stale
        assert machine.seen().source_generation == source_generation + 1


@pytest.mark.parametrize(
    ("code", "runtime", "why", "retry"),
    [
        ("x = 1\n", None, "cannot stage blog: cannot find the entry point: ", "never"),
        ("application = print\n", "3.99", "cannot stage blog: cannot choose a runtime: this host has no ", "later"),
    ],
)
@on_the_loop
async def test_stage_of_what_cannot_be_built_is_a_failure_until_a_build_is_made_or_the_daemon_starts_again(
    site: Site, code: str, runtime: str | None, why: str, retry: str
) -> None:
    with a_life(site) as machine:
        app = machine.app(recipe=Recipe(runtime=runtime))
        site.save(Path(app.source.path) / "wsgi.py", code)
        await machine.do(read(machine, app))
        await machine.do(stage_of(app.build(machine.content()), WHY))
        (failure,) = machine.seen().failures
        assert (failure.phase, failure.retry, failure.count, failure.reason.startswith(why)) == (
            "staging", retry, 1, True,
        )  # fmt: skip
        assert machine.seen().builds == ()
        told = machine.database.execute("SELECT text, reason FROM event WHERE kind = 'failed'").fetchall()
        assert [*map(tuple, told)] == [(failure.reason, "staging-failed")]
        site.source("blog")
        await machine.do(read(machine, app))
        made = replace(app, recipe=Recipe()).build(machine.content())
        await machine.do(stage_of(made, WHY))
        assert (machine.seen().failures, machine.seen().builds) == ((), (made.id,))
        unmakeable = replace(app, recipe=Recipe(runtime="3.98")).build(machine.content())
        await machine.do(stage_of(unmakeable, WHY))
        assert len(machine.seen().failures) == 1
    with a_life(site) as machine:
        assert machine.seen().failures == ()


@on_the_loop
async def test_an_app_of_which_a_build_cannot_be_made_while_another_serves_was_not_rejected(site: Site) -> None:
    with a_life(site) as machine:
        first = machine.app()
        gone = replace(first, recipe=Recipe(runtime="3.98"))
        await machine.started(first)
        await soon(lambda: machine.only().ready)
        known_good = MarkGood(revision=first.revision(machine.content()), cause=WHY)
        await machine.do(known_good)
        stage = plan(gone, machine.seen(), machine.host.now()).first
        assert isinstance(stage, Stage)
        await machine.do(stage)
        seen = machine.seen()
        (failure,) = seen.failures
        now = failure.last_at
        unserved = replace(seen, instances=())
        for told, at in ((seen, now), (seen, now + 3600), (unserved, now), (unserved, now + 3600)):
            planned = plan(gone, told, at)
            assert app_outcome(gone, planned, told, at) == "failed"
            assert planned.reason is Reason.STAGING_FAILED, planned
        start = plan(gone, unserved, now).first
        assert isinstance(start, Start)
        assert (start.revision, start.reason) == (known_good.revision, Reason.FALLEN_BACK)


@on_the_loop
async def test_a_release_counts_how_often_it_could_not_be_staged_whatever_daemon_tried(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(recipe=Recipe(runtime="3.98"))
    for counted in (1, 2):
        with a_life(site) as machine:
            await machine.do(read(machine, app))
            build, revision = app.build(machine.content()), app.revision(machine.content())
            failing = replace(stage_of(build, WHY).failing, revision=revision.id)
            await machine.do(Stage(build=build, revision=revision, failing=failing, cause=WHY))
            (release,) = machine.records.release_log.of("blog")
            assert release.failures == counted


@on_the_loop
async def test_listen_opens_the_listener(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.holds(Listen(address=address_of(app), cause=WHY))
        _reader, writer = await asyncio.open_connection("127.0.0.1", address_of(app).port)
        writer.close()


@on_the_loop
async def test_listen_where_somebody_else_does_names_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening_sockets, "_LOOK_S", 60.0)  # however many processes this host has
    with a_life(site) as machine:
        app = machine.app()
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", address_of(app).port):
            with pytest.raises(CannotListen, match=rf"the port is in use by .* \(pid {os.getpid()}\)"):
                await machine.do(Listen(address=address_of(app), cause=WHY))
        assert machine.seen().listeners == frozenset()


@on_the_loop
async def test_start_brings_up_an_instance_that_serves(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(workers=2))
        await machine.staged(app)
        await machine.holds(start(machine, app))
        assert get(address_of(app).port) == "1"
        passed = site.paths.readiness("blog") / machine.only().id
        others = sorted(p.name for p in passed.iterdir() if not p.name.isdecimal())
        assert (len(list(passed.iterdir())), others) == (4, ["serving", "workers"])


@on_the_loop
async def test_start_of_an_app_that_does_not_import_says_why_and_leaves_nothing(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        site.save(Path(app.source.path) / "wsgi.py", "import nothing_of_that_name\napplication = None\n")
        await machine.staged(app)
        await machine.do(start(machine, app))
        (trouble,) = machine.seen().failures
        assert trouble.reason == (
            "ModuleNotFoundError: No module named 'nothing_of_that_name' (wsgi.py:1); if it is not a module of the"
            " app's own, add the package that has it to requirements.txt, or to where else the app lists its"
            " dependencies; more in 'reconciler logs blog'"
            "; no dependency file was found, but wsgi.py imports nothing_of_that_name"
        )
        assert machine.seen().instances == ()
        assert machine.records.instances() == []
        await soon(lambda: list(site.paths.readiness("blog").iterdir()) == [])
        await soon(lambda: site.marked() == set())


@on_the_loop
async def test_start_of_an_app_whose_health_path_fails_says_how(site: Site) -> None:
    within_s = round(at_leisure(6.0))
    with a_life(site) as machine:
        app = machine.app(server=Server(health=Health(path="/healthz"), start_timeout_s=within_s))
        site.save(
            Path(app.source.path) / "wsgi.py",
            "def application(environ, start_response):\n"
            "    start_response('500 Oops', [])\n"
            "    return [b'the database\\nis away']\n",
        )
        await machine.staged(app)
        await machine.do(start(machine, app))
        (trouble,) = machine.seen().failures
        assert trouble.reason == (
            f"it was not ready within {within_s} s: GET /healthz answered 500 Oops: the database is away; set "
            "health.path to one that answers 2xx; more in 'reconciler logs blog'"
        )
        assert machine.seen().instances == ()


@on_the_loop
async def test_start_of_an_app_that_takes_too_long_is_ended_in_time(site: Site) -> None:
    within_s = round(at_leisure(10.0))
    with a_life(site) as machine:
        app = machine.app(server=Server(start_timeout_s=within_s))
        site.save(
            Path(app.source.path) / "wsgi.py", "import time\nprint('dawdling')\ntime.sleep(600)\napplication = 1\n"
        )
        await machine.staged(app)
        await machine.do(start(machine, app))
        (trouble,) = machine.seen().failures
        assert trouble.reason == (
            f"it was not ready within {within_s} s: it is still being imported, at wsgi.py:3; if it needs longer, "
            "raise health.start_timeout; more in 'reconciler logs blog'"
        )
        assert machine.seen().instances == ()
        await soon(lambda: site.marked() == set())


@on_the_loop
async def test_an_instance_tells_where_its_import_is_while_it_starts(site: Site) -> None:
    with a_life(site) as machine:
        app, go = machine.app(server=Server(start_timeout_s=120.0)), site.root / "go"
        site.save(
            Path(app.source.path) / "wsgi.py",
            f"import os, time\nwhile not os.path.exists({str(go)!r}):\n    time.sleep(0.05)\n"
            "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'1']\n",
        )
        await machine.staged(app)
        starting = asyncio.create_task(machine.do(start(machine, app)))
        await soon(
            lambda: any((i.note or "").startswith("still importing at wsgi.py:") for i in machine.seen().instances)
        )
        assert (machine.only().note or "").endswith(" s of 120 s")
        go.touch()
        await starting
        assert (machine.only().ready, machine.only().note) == (True, None)


@on_the_loop
async def test_a_program_that_ignores_sigterm_is_said_to_have_been_killed(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(stop_timeout_s=1.0, worker_class="gthread"))
        site.save(
            Path(app.source.path) / "wsgi.py",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n"
            "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'1']\n",
        )
        instance = await machine.started(app)
        how = await machine.instances.stop("blog", instance.id)
        assert how == "was killed: it did not stop within 1 s of SIGTERM"


@on_the_loop
async def test_stop_lets_a_request_finish(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        pid = (await machine.started(app)).pid
        asked = asyncio.create_task(asyncio.to_thread(get, address_of(app).port, "/slow?0.5"))
        await soon(lambda: "established" if is_busy(address_of(app).port) else "")
        await machine.holds(Stop(instance=machine.only().id, cause=WHY))
        assert await asked == "1"
        assert is_gone(pid)
        await soon(lambda: site.marked() == set())
        assert machine.records.instances() == []


@on_the_loop
async def test_stop_kills_what_does_not_stop_in_time(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app(server=Server(stop_timeout_s=0.0))
        await machine.started(app)
        os.kill(machine.only().pid, signal.SIGSTOP)
        await machine.holds(Stop(instance=machine.only().id, cause=WHY))
        await soon(lambda: site.marked() == set())


@on_the_loop
async def test_bury_remembers_the_trouble_and_ends_the_workers(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.started(app)
        await killed(machine)
        assert "blog" in machine.wakeups.names
        assert machine.only().end == "was ended by SIGKILL"
        await machine.holds(burial(machine, count=3))
        await soon(lambda: site.marked() == set())
        (trouble,) = machine.seen().failures
        assert (trouble.count, trouble.reason) == (3, "was ended by SIGKILL")
    with a_life(site) as machine:
        assert machine.seen().failures == (trouble,)


@on_the_loop
async def test_a_restart_is_counted_of_what_served_until_another_revision_does(site: Site) -> None:
    def restarts() -> int:
        return int(json.loads(machine.records.history_of("restarts")["blog"])["restarts"])

    with a_life(site) as machine:
        app = machine.app()
        await machine.started(app)
        await killed(machine)
        await machine.do(burial(machine))
        await machine.do(start(machine, app))
        assert restarts() == 1
        site.save(Path(app.source.path) / "wsgi.py", "import nothing_of_that_name\napplication = None\n")
        await machine.staged(app)
        await machine.do(start(machine, app))
        assert (len(machine.seen().failures), restarts()) == (2, 1)
        site.source("blog", "2")
        await machine.staged(app)
        await machine.do(start(machine, app))
        assert restarts() == 0


@on_the_loop
async def test_unlisten_closes_the_port(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.do(Listen(address=address_of(app), cause=WHY))
        await machine.holds(Unlisten(address=address_of(app), cause=WHY))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", address_of(app).port)


@on_the_loop
async def test_discard_removes_the_build(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.staged(app)
        await machine.holds(RemoveBuild(build=app.build(machine.content()).id, cause=WHY))
        await soon(lambda: list(site.paths.builds("blog").iterdir()) == [])


@on_the_loop
async def test_erase_forgets_everything_but_home_and_logs(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.started(app)
        await machine.do(Stop(instance=machine.only().id, cause=WHY))
        await machine.do(Unlisten(address=address_of(app), cause=WHY))
        await machine.do(RemoveBuild(build=app.build(machine.content()).id, cause=WHY))
        await machine.holds(ForgetApp(cause=WHY))
        assert "blog" not in machine.host.names()
        assert not site.paths.app("blog").exists()
        assert site.paths.home("blog").exists()
        assert site.paths.log("blog", "app").exists()
        assert machine.told[-1] == ("blog", None)


# Each action, again


async def _prepared(machine: Machine, kind: type[Action]) -> tuple[App, Action]:
    """What has to be true before an action makes sense, and the action."""
    app = machine.app()
    if kind is ReadSource:
        return app, read(machine, app)
    await machine.do(read(machine, app))
    build = app.build(machine.content())
    if kind is Stage:
        return app, stage_of(build, WHY)
    await machine.do(stage_of(build, WHY))
    if kind is RemoveBuild:
        return app, RemoveBuild(build=build.id, cause=WHY)
    if kind is Listen:
        return app, Listen(address=address_of(app), cause=WHY)
    await machine.do(Listen(address=address_of(app), cause=WHY))
    if kind is Unlisten:
        return app, Unlisten(address=address_of(app), cause=WHY)
    if kind is Start:
        return app, start(machine, app)
    await machine.do(start(machine, app))
    if kind is Stop:
        return app, Stop(instance=machine.only().id, cause=WHY)
    await killed(machine)
    if kind is Reap:
        return app, burial(machine)
    await machine.do(burial(machine))
    await machine.do(Unlisten(address=address_of(app), cause=WHY))
    await machine.do(RemoveBuild(build=build.id, cause=WHY))
    return app, ForgetApp(cause=WHY)


KINDS = (ReadSource, Stage, Listen, Start, Stop, Reap, Unlisten, RemoveBuild, ForgetApp)


@pytest.mark.parametrize("kind", KINDS)
@on_the_loop
async def test_an_action_done_twice_comes_to_the_same_as_once(site: Site, kind: type[Action]) -> None:
    with a_life(site) as machine:
        _, action = await _prepared(machine, kind)
        await machine.do(action)
        once = machine.seen()
        await machine.do(action)
        assert machine.seen() == once


@pytest.mark.parametrize("kind", [ReadSource, Stage, Start, Stop, RemoveBuild, ForgetApp])
@pytest.mark.parametrize("moments", [0, 1, 5, 40], ids=lambda moments: f"after {moments} turns of the loop")
@on_the_loop
async def test_an_action_cancelled_and_done_again_comes_to_the_same_as_once(
    site: Site, kind: type[Action], moments: int
) -> None:
    with a_life(site) as machine:
        _, action = await _prepared(machine, kind)
        before, since = machine.seen(), machine.host.now()
        doing = asyncio.create_task(machine.do(action))
        for _ in range(moments):
            await asyncio.sleep(0.001)
        doing.cancel()
        await asyncio.wait((doing,))
        await machine.do(action)
        if isinstance(action, Stage):
            machine.is_after(replace(before, has_residue=True), action, since)
        elif isinstance(action, ReadSource):
            machine.is_after(before, action, since, content=machine.content())
        else:
            machine.is_after(before, action, since)
        assert len(machine.seen().instances) == len(machine.records.instances())


# Two generations


@on_the_loop
async def test_two_generations_share_the_listener_until_the_old_one_is_stopped(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        old = await machine.started(app)
        newer = replace(app, env={"GREETING": "hi"})
        await machine.holds(start(machine, newer))
        assert [i.ready for i in machine.seen().instances] == [True, True]
        await machine.holds(Stop(instance=old.id, cause=WHY))
        assert get(address_of(app).port) == "1"


@on_the_loop
async def test_what_follows_a_crash_uses_the_configuration_that_is_there_and_none_stays_without_an_instance(
    site: Site,
) -> None:
    with a_life(site) as machine:
        app = machine.app()
        gone = await machine.started(app)
        config = site.paths.revisions("blog") / gone.revision / "gunicorn.config"
        written = config.stat().st_ino
        os.kill(gone.pid, signal.SIGKILL)
        await soon(lambda: machine.only().end is not None)
        await machine.do(burial(machine))
        await machine.do(start(machine, app))
        assert config.stat().st_ino == written
        await machine.do(Stop(instance=machine.only().id, cause=WHY))
        await soon(lambda: not config.exists())


@on_the_loop
async def test_configurations_that_nothing_runs_do_not_pile_up(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        old = await machine.started(app)
        for greeting in "abc":
            newer = replace(app, env={"GREETING": greeting})
            await machine.do(start(machine, newer))
            await machine.do(Stop(instance=old.id, cause=WHY))
            old = machine.only()
        # Removed in a thread, which may take its time.
        await soon(lambda: [directory.name for directory in site.paths.readiness("blog").iterdir()] == [old.id])
        await soon(lambda: len(list(site.paths.revisions("blog").iterdir())) <= 2)
        assert (site.paths.revisions("blog") / old.revision).is_dir()


@on_the_loop
async def test_an_instance_inherits_no_descriptor_but_the_four_it_is_given(site: Site) -> None:
    with a_life(site) as machine:
        pid = (await machine.started(machine.app())).pid
        theirs = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
        ours = {_open(number) for number in _descriptors() if not os.get_inheritable(number)}
        shared = {target for target in ours & theirs if not target.startswith(("/dev/", "anon"))}
        listener = machine.host._listeners.fd(next(iter(machine.seen().listeners)))
        assert shared == {_open(listener)}


def _open(number: int) -> str:
    return str(Path(f"/proc/self/fd/{number}").readlink())


def _descriptors() -> list[int]:
    numbers = sorted(int(link.name) for link in Path("/proc/self/fd").iterdir())
    return [number for number in numbers if number > 2 and Path(f"/proc/self/fd/{number}").is_symlink()]


@on_the_loop
async def test_an_address_passes_from_app_to_app_with_its_socket(site: Site) -> None:
    """Whoever connects while the one has let go and the other does not serve yet waits in the backlog."""
    with a_life(site) as machine:
        address = address_of(machine.app("one"))
        await machine.do(Listen(address=address, cause=WHY), "one")
        socket_of_one = _open(machine.host._listeners.fd(address))
        await machine.do(Listen(address=address, cause=WHY), "two")
        await machine.do(Unlisten(address=address, cause=WHY), "one")
        assert machine.seen("one").listeners == frozenset()
        assert machine.seen("two").listeners == {address}
        assert _open(machine.host._listeners.fd(address)) == socket_of_one
        await machine.do(Unlisten(address=address, cause=WHY), "two")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", address.port)


@on_the_loop
async def test_an_address_that_another_app_desires_is_left_to_it(site: Site) -> None:
    with a_life(site) as machine:
        one = machine.app("one")
        two = replace(machine.app("two"), address=one.address)
        address = address_of(one)
        await machine.do(Listen(address=address, cause=WHY), "one")
        machine.follow(two)
        await machine.do(Unlisten(address=address, cause=WHY), "one")
        assert machine.seen("two").listeners == {address}
        _reader, writer = await asyncio.open_connection("127.0.0.1", address.port)
        writer.close()


@on_the_loop
async def test_what_listens_where_another_app_serves_by_now_is_known(site: Site) -> None:
    with a_life(site) as machine:
        one = machine.app("one")
        await machine.started(one)
        two = replace(machine.app("two"), address=Address(host="0.0.0.0", port=address_of(one).port))
        moved = replace(one, address=address_of(machine.app("three")))
        machine.follow(moved, two)
        assert machine.seen("one").ceded == frozenset()
        await machine.started(two)
        assert machine.seen("one").ceded == {address_of(one)}
        assert machine.seen("two").ceded == frozenset()


@on_the_loop
async def test_an_app_listens_at_every_address_beside_its_own_and_the_other_way_round(site: Site) -> None:
    with a_life(site) as machine:
        narrow = address_of(machine.app())
        wide = Address(host="0.0.0.0", port=narrow.port)
        for one, other in ((narrow, wide), (wide, narrow)):
            await machine.do(Listen(address=one, cause=WHY))
            await machine.do(Listen(address=other, cause=WHY))
            assert machine.seen().listeners == {narrow, wide}
            for address in (narrow, wide):
                await machine.do(Unlisten(address=address, cause=WHY))
        localhost = Address(host="localhost", port=narrow.port)
        await machine.do(Listen(address=localhost, cause=WHY))
        assert machine.seen().listeners == {narrow}
        await machine.do(Unlisten(address=narrow, cause=WHY))


@on_the_loop
async def test_a_stranger_at_the_port_is_named_also_beside_a_listener_of_our_own(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening_sockets, "_LOOK_S", 60.0)  # however many processes this host has
    with a_life(site) as machine:
        narrow = address_of(machine.app())
        await machine.do(Listen(address=narrow, cause=WHY))
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.2", narrow.port):
            with pytest.raises(CannotListen, match=rf"in use by .* \(pid {os.getpid()}\)"):
                await machine.do(Listen(address=Address(host="0.0.0.0", port=narrow.port), cause=WHY))
