"""A copy of static files that takes long, or hangs, holds up nothing else of the proxy: real files and controller."""

import asyncio
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.routing import plan
from reconciler.planning.routing.route import Front
from reconciler.planning.routing.routing import Routing
from reconciler.routing.static_copy import Copy
from reconciler.routing.world import RoutingWorld
from reconciler.settings.proxy import Proxy, ProxyFile
from reconciler.state.journal import Journal
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database
from tests.support.ports import a_port
from tests.world import an_app

WITHIN_S = 30.0


def with_domain(name: str, *domains: str) -> App:
    return an_app(name=name, routing=Routing(domains=domains, static=(("/static", "staticfiles"),)))


class Host:
    """The proxy of a host, told by a file, and the static files of its apps, of one build each."""

    def __init__(self, directory: Path) -> None:
        self.paths = StatePaths(state=directory / "state")
        self.file, self.static = directory / "sites.conf", directory / "static"
        for each in (self.paths.state, self.static):
            each.mkdir()
        self.database = open_database(self.paths.database)
        front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
        file = ProxyFile(format="nginx", path=self.file, check=("true",), reload=("true",))
        proxy = Proxy(front=front, file=file, settle_s=0.0, static=self.static)
        journal = Journal(self.database)
        self.world = RoutingWorld(proxy, self.paths, journal, wakeups=WakeQueue(), publish=lambda *_: None)
        self.world.static.instances = lambda app: (_instance(app),)

    def build(self, app: str) -> None:
        place = self.paths.builds(app) / app / "code/staticfiles"
        place.mkdir(parents=True)
        (place / "a.css").write_text(app)

    def asks(self, controller: Controller, *apps: App) -> None:
        desired: Any = SimpleNamespace(apps={app.name: app for app in apps}, services={})
        controller.replace(self.world.follow(desired), self.world.names())

    def told(self, story: Callable[[Controller], Awaitable[None]]) -> None:
        """Run a story beside a controller of the proxy."""

        async def daemon() -> None:
            async with asyncio.TaskGroup() as tasks:
                noise, backoff = random.Random(1), Backoff(first_s=0.05)
                standing = StandingTasks(tasks, backoff=backoff, noise=noise)
                world: Any = self.world
                controller = Controller(world, world.wakeups, standing, backoff=backoff, resync_s=600.0, noise=noise)
                try:
                    await story(controller)
                finally:
                    await controller.wait()

        try:
            asyncio.run(daemon())
        finally:
            self.database.close()


def _instance(app: str) -> Instance:
    return Instance(id=app, revision=app, build=app, address=None, pid=1, started_at=1.0, workers=1, ready_at=2.0)


async def holds(check: Callable[[], Any]) -> None:
    """Return once something holds; OSError means not yet."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                if check():
                    return
            except OSError:
                pass
            await asyncio.sleep(0.01)


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch, app: str) -> Iterator[tuple[list[str], threading.Event]]:
    """Have no copy of one app's files end before an event; the list says of whom one was begun."""
    begun: list[str] = []
    going = threading.Event()
    copied = Copy.directories

    def directories(self: Copy, code: Path, wanted: Any) -> Mapping[str, str]:
        begun.append(code.parent.name)
        if code.parent.name == app:
            going.wait(WITHIN_S)
        return copied(self, code, wanted)

    monkeypatch.setattr(Copy, "directories", directories)
    try:
        yield begun, going
    finally:
        going.set()


def test_a_route_static_files_and_a_drift_of_others_are_seen_to_while_one_copy_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "_LOOK_AT_FILE_EVERY_S", 0.1)
    host = Host(tmp_path)
    for app in ("slow", "quick"):
        host.build(app)
    slow, quick = with_domain("slow", "slow.example.com"), with_domain("quick", "quick.example.com")

    async def story(controller: Controller) -> None:
        with held(monkeypatch, "slow") as (begun, going):
            host.asks(controller, slow)
            await holds(lambda: "slow" in begun)
            host.asks(controller, slow, quick)
            await holds(lambda: "quick.example.com" in host.file.read_text())
            await holds(lambda: host.world.static.laid.get("quick"))
            host.asks(controller, slow, with_domain("quick", "quick.example.com", "more.example.com"))
            await holds(lambda: "more.example.com" in host.file.read_text())
            host.file.write_text("# another program's\n")  # nothing wakes the proxy
            await holds(lambda: "more.example.com" in host.file.read_text())
            assert "slow" not in host.world.static.laid
            going.set()
            await holds(lambda: host.world.static.laid.get("slow"))
        assert begun.count("slow") == 1  # however often it was superseded

    host.told(story)


def test_an_instance_starts_with_its_static_files_while_another_apps_copy_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    for app in ("slow", "quick"):
        host.build(app)
    starting: Any = SimpleNamespace(app="quick", id="quick", build=SimpleNamespace(id="quick"))
    revision: Revision = starting

    async def story(controller: Controller) -> None:
        with held(monkeypatch, "slow") as (begun, _):
            host.asks(controller, with_domain("slow", "slow.example.com"))
            await holds(lambda: "slow" in begun)
            host.world.static.instances = lambda app: (_instance(app),) if app == "slow" else ()
            host.asks(controller, with_domain("slow", "slow.example.com"), with_domain("quick", "quick.example.com"))
            async with asyncio.timeout(WITHIN_S), host.world.static.ahead_of(revision):
                assert host.world.static.laid.get("quick")
                assert "slow" not in host.world.static.laid

    host.told(story)
