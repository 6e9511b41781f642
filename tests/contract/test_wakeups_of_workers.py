"""The files by which workers wake the daemon, which every app may open as often as it likes."""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from reconciler.linux import inotify_descriptor
from reconciler.linux.files import set_aside
from reconciler.linux.inotify_descriptor import Inotify
from reconciler.serving import worker_wakeups
from reconciler.serving.worker_wakeups import hear_workers, hear_workers_of_before, make_wakeup_file
from tests.contract.machine import a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site


class _Instances:
    def __init__(self, names: tuple[str, ...], heard: list[str]) -> None:
        self._names = names
        self.on_wakeup = heard.append
        self.unadopted: dict[str, str] = {}

    def all(self) -> tuple[str, ...]:
        return self._names


@contextlib.asynccontextmanager
async def listening(directory: Path, heard: list[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(hear_workers(directory, heard.append))
    make_wakeup_file(directory / "first")

    def rung() -> bool:
        ring(directory / "first")
        return "first" in heard

    try:
        await soon(rung)
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ring(path: Path) -> None:
    os.close(os.open(path, os.O_RDONLY))


@on_the_loop
async def test_only_apps_with_an_instance_are_looked_at_when_their_workers_wake_the_daemon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with a_life(site) as machine:
        app = machine.app()
        await machine.started(app)
        woken: list[str] = []
        monkeypatch.setattr(machine.wakeups, "wake", woken.append)
        for name in ("blog", "shop", "../blog", "blog/worker", *map(str, range(100))):
            machine.instances.on_wakeup(name)
        assert woken == ["blog"]


@on_the_loop
async def test_what_a_removal_left_half_done_beside_the_wakeups_goes_as_the_next_daemon_starts(site: Site) -> None:
    make_wakeup_file(site.paths.wakeups / "blog")
    make_wakeup_file(site.paths.wakeups / "shop")
    left = set_aside(site.paths.wakeups / "shop")
    assert left is not None
    with a_life(site):
        await soon(lambda: not left.exists())
        assert [path.name for path in site.paths.wakeups.iterdir()] == ["blog"]


@on_the_loop
async def test_workers_are_heard_after_a_flood(tmp_path: Path) -> None:
    heard: list[str] = []
    async with listening(tmp_path, heard):
        for name in ("x", "y", "blog"):
            make_wakeup_file(tmp_path / name)
        for _ in range(1000):
            ring(tmp_path / "x")
            ring(tmp_path / "y")
            await asyncio.sleep(0)
        await soon(lambda: {"x", "y"} <= set(heard))
        assert len(heard) < 1000
        heard.clear()
        ring(tmp_path / "blog")
        await soon(lambda: "blog" in heard)


@on_the_loop
async def test_every_app_is_looked_at_when_the_kernel_has_dropped_wakeups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    async with listening(tmp_path, heard):
        make_wakeup_file(tmp_path / "blog")
        overflow = inotify_descriptor._HEAD.pack(-1, inotify_descriptor.Q_OVERFLOW, 0, 0)
        read = os.read

        def dropped(opened: int, most: int) -> bytes:
            found = read(opened, most)
            return overflow if most == inotify_descriptor._BUFFER else found

        monkeypatch.setattr(os, "read", dropped)
        ring(tmp_path / "first")
        await soon(lambda: "blog" in heard)


@on_the_loop
async def test_workers_are_heard_again_after_their_directory_was_removed_or_could_not_be_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, tries = list[str](), list[int]()

    class Limited(Inotify):
        def __init__(self) -> None:
            tries.append(1)
            if len(tries) in (2, 3):
                raise OSError(errno.EMFILE, "too many")
            super().__init__()

    monkeypatch.setattr(worker_wakeups, "_AGAIN_S", 0.01)
    monkeypatch.setattr(worker_wakeups, "Inotify", Limited)
    async with listening(tmp_path / "wakeups", heard):
        (tmp_path / "wakeups" / "first").unlink()
        (tmp_path / "wakeups").rmdir()

        def rung() -> bool:
            make_wakeup_file(tmp_path / "wakeups" / "blog")
            ring(tmp_path / "wakeups" / "blog")
            return "blog" in heard

        await soon(rung)
        assert len(tries) == 4


def test_all_may_read_a_file_of_wakeups_whatever_the_umask_and_whenever_its_maker_was_killed(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        make_wakeup_file(tmp_path / "wakeups" / "blog")
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "wakeups", tmp_path / "wakeups" / "blog")]
        assert modes == [0o700, 0o444]
        (tmp_path / "wakeups" / "shop").touch(0o400)
        make_wakeup_file(tmp_path / "wakeups" / "shop")
        assert stat.S_IMODE((tmp_path / "wakeups" / "shop").stat().st_mode) == 0o444
    finally:
        os.umask(before)


@on_the_loop
async def test_workers_that_an_earlier_version_started_are_heard_and_their_pipe_goes_with_them(tmp_path: Path) -> None:
    pipe, heard = tmp_path / "doorbell", list[str]()
    os.mkfifo(pipe, 0o600)
    hear_workers_of_before(pipe, _Instances(("blog",), heard))
    writer = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, b"blog\nshop\n")
    os.close(writer)
    await soon(lambda: {"blog", "shop"} == set(heard))
    hear_workers_of_before(pipe, _Instances((), heard))
    assert not pipe.exists()
    hear_workers_of_before(pipe, _Instances(("blog",), heard))
