"""An app that takes what the host shares is ended, and its neighbour serves on; the figures are made up."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from reconciler.host import host_share_watch
from reconciler.host.host_share_watch import EphemeralPorts, HostShareWatch, OpenFiles, Shared
from reconciler.host.stores import Stores
from reconciler.linux.host_files import HostFiles, Opener
from reconciler.linux.host_ports import HostPorts
from reconciler.serving.confinements import Confinements
from reconciler.state.journal import Journal
from reconciler.state.revision_history import RevisionHistory
from tests.contract.machine import Machine, a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site

AS_IT_IS: Mapping[int, Mapping[str, int]] = {}
A_USER = 3_000_000_000


class Made(HostFiles):
    """A host of which so many files are open, and so many by each of some processes."""

    def __init__(
        self, used: int, by_pid: Mapping[int, int], owners: Mapping[int, Mapping[str, int]] = AS_IT_IS
    ) -> None:
        super().__init__()
        self.used, self._owners = used, owners
        self._by_pid = by_pid

    def figures(self) -> tuple[int, int]:
        return self.used, 100_000

    def openers(self) -> Iterator[Opener]:
        for each in super().openers():
            yield each._replace(files=self._by_pid.get(each.pid, 0), **self._owners.get(each.pid, {}))


def _watch(machine: Machine, files: HostFiles, shared: Shared | None = None) -> HostShareWatch:
    history = RevisionHistory(machine.records, machine.boot)
    stores = Stores(records=machine.records, history=history, journal=Journal(machine.database))
    return HostShareWatch(stores, machine.instances, files, shared or OpenFiles(files))


def _events(machine: Machine) -> list[tuple[str, str]]:
    return [(kind, text) for _, kind, text in machine.site.events("blog") if kind == "exceeded"]


@on_the_loop
async def test_the_app_with_the_most_is_ended_with_a_word_once_the_host_fills(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        machine.follow(app)
        instance = await machine.started(app)
        files = Made(50_000, {instance.pid: 55_000})
        watch = _watch(machine, files)
        assert await watch.look() == ""
        assert machine.only().end is None
        files.used = 61_000
        assert await watch.look() == "blog"
        text = "its processes have 55,000 of the host's 100,000 open files, and were ended"
        await soon(lambda: machine.only().end is not None)
        assert text in str(machine.only().end)
        assert _events(machine) == [("exceeded", text)]


@on_the_loop
async def test_an_app_is_not_ended_for_what_others_have_open(site: Site) -> None:
    with a_life(site) as machine:
        app = machine.app()
        machine.follow(app)
        instance = await machine.started(app)
        watch = _watch(machine, Made(99_000, {1: 90_000, instance.pid: 900}))
        assert await watch.look() == ""
        await asyncio.sleep(0)
        assert machine.only().end is None
        assert _events(machine) == []


@pytest.mark.parametrize("owner", ["user", "group"])  # as instances have it, and what builds the app
@on_the_loop
async def test_of_an_app_with_a_user_of_its_own_all_that_runs_as_that_is_ended(site: Site, owner: str) -> None:
    with a_life(site) as machine, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as build:
        app = machine.app()
        machine.follow(app)
        neighbour = await machine.started(app)
        machine.instances.app_users = lambda: {A_USER: "shop"}
        watch = _watch(machine, Made(61_000, {build.pid: 40_000, neighbour.pid: 900}, {build.pid: {owner: A_USER}}))
        assert await watch.look() == "shop"
        assert await asyncio.to_thread(build.wait) == -9
        assert machine.only().end is None
        assert [kind for _, kind, _ in machine.site.events("shop")] == ["exceeded"]


class MadePorts(HostPorts):
    """A host of which so many ports of UDP are held by each user, and others are connected from, of `sockets`."""

    def __init__(self, sockets: int, by_user: Mapping[int, int]) -> None:
        super().__init__("UDP")
        self._sockets, self._by_user = sockets, by_user

    def figures(self) -> tuple[int, int]:
        return self._sockets, 28_000

    def held(self) -> dict[int, set[int]]:
        return {user: set(range(32_000, 32_000 + many)) for user, many in self._by_user.items()}


@pytest.mark.parametrize("owner", ["user", "group", "builder"])
@on_the_loop
async def test_the_app_that_holds_the_ports_of_the_host_is_ended(site: Site, owner: str) -> None:
    with a_life(site) as machine, subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as holder:
        machine.instances.app_users = lambda: {A_USER: "shop", A_USER + 1: "blog"}
        builder = A_USER + 2
        holds = {"user": A_USER} if owner == "user" else {"user": builder, "group": A_USER}
        if owner == "builder":  # of an app that has never had a user
            holds["group"] = builder
        of_builds = SimpleNamespace(
            builds=SimpleNamespace(users=lambda: {builder: "shop" if owner == "builder" else ""})
        )
        machine.instances.confinements = cast("Confinements", of_builds)
        files = Made(100, {holder.pid: 20_000}, {holder.pid: holds})
        ports = MadePorts(20_000, {holds["user"]: 18_000, A_USER + 1: 900, 0: 1_000})
        assert await _watch(machine, files, EphemeralPorts(ports)).look() == "shop"
        assert await asyncio.to_thread(holder.wait) == -9
        text = "its processes have 18,000 of the host's 28,000 ephemeral UDP ports, and were ended"
        assert [told[1:] for told in machine.site.events("shop")] == [("exceeded", text)]


@on_the_loop
async def test_ports_are_not_even_looked_at_while_no_app_has_a_user(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bool] = []
    ports = EphemeralPorts(MadePorts(20_000, {}))

    def figures() -> tuple[int, int]:
        looks.append(True)
        return 0, 28_000

    async def at_once(_: float) -> None:
        ticks.append(True)
        await asyncio.sleep(0)

    ticks: list[bool] = []
    monkeypatch.setattr(host_share_watch, "next_tick", at_once)
    ports.figures = figures
    with a_life(site) as machine:
        machine.instances.app_users = dict
        watching = asyncio.create_task(_watch(machine, Made(100, {}), ports).run())
        await soon(lambda: len(ticks) > 3)
        assert not looks
        of_builds = SimpleNamespace(builds=SimpleNamespace(users=lambda: {A_USER: "shop"}))
        machine.instances.confinements = cast("Confinements", of_builds)  # an app that is built for the first time
        await soon(lambda: looks)
        watching.cancel()


@on_the_loop
async def test_what_root_holds_is_not_of_the_app_that_root_builds(site: Site) -> None:
    with a_life(site) as machine, subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as builds:
        machine.instances.app_users = lambda: {A_USER: "shop"}
        files = Made(100, {builds.pid: 20_000}, {builds.pid: {"user": 0, "group": A_USER}})
        assert await _watch(machine, files, EphemeralPorts(MadePorts(20_000, {0: 18_000}))).look() == ""
        builds.stdin.close()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "ports",
    [MadePorts(16_000, {A_USER: 16_000}), MadePorts(20_000, {A_USER: 9_000}), MadePorts(20_000, {0: 18_000})],
    ids=["some", "most of them connections", "of no app"],
)
@on_the_loop
async def test_no_app_is_ended_for_ports_that_it_does_not_keep_from_others(site: Site, ports: HostPorts) -> None:
    with a_life(site) as machine:
        machine.instances.app_users = lambda: {A_USER: "shop"}
        assert await _watch(machine, Made(100, {}), EphemeralPorts(ports)).look() == ""
