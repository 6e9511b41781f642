"""The pipe on which workers wake the daemon, into which every isolated app may write whatever it likes."""

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from reconciler.serving.wakeup_pipe import drain, listen_to_workers, open_wakeup_pipe
from tests.contract.machine import a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site


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
async def test_workers_are_heard_after_a_flood(tmp_path: Path) -> None:
    heard: list[str] = []
    listening = asyncio.create_task(listen_to_workers(tmp_path / "wakeup", 0o600, heard.append))
    await soon((tmp_path / "wakeup").exists)
    pipe = os.open(tmp_path / "wakeup", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(pipe, b"x y\n" * 1024)
    await soon(lambda: {"x", "y"} <= set(heard))
    os.write(pipe, b"blog\n")
    await soon(lambda: "blog" in heard)
    os.close(pipe)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


def test_a_pipe_that_holds_more_than_is_read_at_once_says_so(tmp_path: Path) -> None:
    pipe = open_wakeup_pipe(tmp_path / "wakeup", 0o600)
    try:
        assert not drain(pipe, lambda _: None)
        os.write(pipe, b"blog\n")
        assert not drain(pipe, lambda _: None)
        os.write(pipe, b"blog\n" * 13108)
        assert drain(pipe, lambda _: None)
    finally:
        os.close(pipe)
