"""Whatever an app puts into its own directories, the host goes on: for that app, and for every other one."""

import asyncio
import os
from pathlib import Path

import pytest

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.planning.apps.actions import ForgetApp, RemoveBuild, Stop
from reconciler.planning.apps.app import App
from reconciler.serving import supervised as module
from reconciler.serving.adoption import restored
from reconciler.serving.live_instance import LiveInstance
from reconciler.state.records import InstanceRecord
from tests.contract.machine import Machine, a_life, on_the_loop, start_of
from tests.support.eventually import soon
from tests.support.site import Site, get, is_gone
from tests.world import address_of


def fill(directory: Path) -> None:
    """Put into a directory what an app can: a pipe that nothing reads, a link, and many levels."""
    os.mkfifo(directory / "pipe")
    (directory / "link").symlink_to("/etc")
    (directory / "d").mkdir()
    here = os.open(directory / "d", os.O_RDONLY)
    for _ in range(6000):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


async def started(machine: Machine, name: str) -> App:
    app = machine.app(name)
    await machine.started(app)
    return app


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


@on_the_loop
async def test_a_restart_of_the_daemon_tidies_what_an_app_put_beside_its_instances(site: Site) -> None:
    with a_life(site) as machine:
        app = await started(machine, "blog")
        instance = machine.only()
    for directory in (site.paths.readiness("blog"), site.paths.revisions("blog"), site.paths.app("blog")):
        fill(directory)
    with a_life(site) as machine:
        assert machine.only().pid == instance.pid
        kept = names(site.paths.readiness("blog"))
        assert {instance.id} == {name for name in kept if not name.startswith(".gone-")}
        await soon(lambda: names(site.paths.readiness("blog")) == {instance.id})
        await soon(lambda: names(site.paths.revisions("blog")) == {instance.revision})
        await machine.do(Stop(instance=instance.id, cause="test"))
        await machine.do(RemoveBuild(build=instance.build, cause="test"))
        await machine.do(ForgetApp(cause="test"))
        await soon(lambda: names(site.paths.apps) == set())
    assert address_of(app).port


@on_the_loop
async def test_more_files_than_are_looked_at_are_replaced_as_a_whole_under_a_running_instance(site: Site) -> None:
    with a_life(site) as machine:
        app = await started(machine, "blog")
        instance, passed = machine.only(), site.paths.readiness("blog")
        for number in range(2000):
            (passed / str(number)).touch()
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        assert names(passed) == {instance.id}
        assert get(address_of(app).port) == "1"
        assert machine.only().ready
        await soon(lambda: not [name for name in names(passed.parent) if name.startswith(".gone-")])
        passed.rename(passed.with_name("elsewhere"))
        passed.symlink_to("elsewhere")
        machine.instances.remove_unused("blog", machine.host.paths("blog"))
        assert not os.path.lexists(passed)
        assert names(passed.with_name("elsewhere")) == {instance.id}


@on_the_loop
async def test_a_build_of_many_levels_is_removed(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.staged(app)
        build = app.build(machine.content()).id
        fill(site.paths.builds("blog") / build / "code")
        await machine.holds(RemoveBuild(build=build, cause="test"))
        await soon(lambda: names(site.paths.builds("blog")) == set())


@on_the_loop
async def test_an_instance_that_cannot_be_adopted_keeps_no_other_from_it_and_is_tried_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        await started(machine, "blog")
        await started(machine, "shop")
        pids = {name: machine.only(name).pid for name in ("blog", "shop")}
    again = list[str]()

    def hostile(record: InstanceRecord, *rest: object) -> LiveInstance:
        if record.app == "blog":
            raise RecursionError
        return restored(record, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "restored", hostile)
    monkeypatch.setattr(StandingTasks, "keep", lambda _, name, __: again.append(name))
    with a_life(site) as machine:
        assert machine.only("shop").pid == pids["shop"]
        assert machine.seen("blog").instances == ()
        assert not is_gone(pids["blog"])
        (instance,) = machine.instances.unadopted
        assert again == [f"adopt instance {instance} of blog"]
        with pytest.raises(RecursionError):
            machine.instances.adopt(instance, machine.host.paths)
        monkeypatch.setattr(module, "restored", restored)
        (found,) = machine.instances.adopt(instance, machine.host.paths)
        assert (found.key, found.pid, machine.only("blog").pid) == ("blog", pids["blog"], pids["blog"])
        assert machine.instances.unadopted == {}
        await asyncio.sleep(0)


@on_the_loop
async def test_a_link_in_the_place_of_a_home_is_not_followed_and_in_that_of_another_directory_removed(
    site: Site,
) -> None:
    elsewhere = site.root / "elsewhere"
    elsewhere.mkdir(mode=0o755)
    with a_life(site) as machine:
        app = machine.app()
        await machine.staged(app)
        start = start_of(app.revision(machine.content()))
        places = machine.host.paths("blog")
        for place in (places.revisions, places.readiness, places.scratch, places.home):
            place.parent.mkdir(parents=True, exist_ok=True)
            assert not place.exists()
            place.symlink_to(elsewhere)
        with pytest.raises(OSError, match="it is a symbolic link, which is not followed: remove it, or mount"):
            await machine.do(start)
        assert [*elsewhere.iterdir()] == []
        assert elsewhere.stat().st_mode & 0o777 == 0o755
        assert not any(place.is_symlink() for place in (places.revisions, places.readiness, places.scratch))
        places.home.unlink()
        await machine.do(start)
        assert machine.only().ready
