"""An error that nothing expected, thrown into each task of the daemon, wherever that task waits: the daemon lives."""

import asyncio
import contextlib
import random
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.daemon import housekeeping, log_rotation, manifest_loop
from reconciler.daemon.daemon import Daemon
from reconciler.settings.settings import Settings
from reconciler.state.lock import acquire
from reconciler.state.schema import open_or_rebuild
from tests.contract.machine import on_the_loop
from tests.support.eventually import eventually
from tests.support.site import Site

Place = tuple[str, ...]

# Those that wait for something to happen once, which is over when it has happened.
_ENDING = ("adopt what runs", "warm up the stager", "read the source of", "read the variables of", "keep ")


class Surprise(Exception):
    """Nobody expects it."""


class ThrowingTasks(StandingTasks):
    """Throws once at each place at which a task waits, instead of letting it wait."""

    def __init__(self, group: asyncio.TaskGroup, surprise: type[BaseException]) -> None:
        super().__init__(group, backoff=Backoff(first_s=0.001, cap_s=0.01), noise=random.Random(1))
        self.surprise = surprise
        self.thrown: dict[str, set[Place]] = {}
        self.running: dict[tuple[str, int], asyncio.Task[None]] = {}  # by name and whose it is: each World has its own

    def keep(self, name: str, run: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        self.thrown.setdefault(name, set())
        task = super().keep(name, lambda: self._driven(name, run()))  # type: ignore[arg-type]
        self.running[name, id(getattr(run, "__self__", None))] = task
        return task

    @types.coroutine
    def _driven(self, name: str, doing: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
        thrown: BaseException | None = None
        while True:
            try:
                waited = doing.send(None) if thrown is None else doing.throw(thrown)
            except StopIteration:
                return
            thrown = None
            place = tuple(_places(doing))
            if place not in self.thrown[name]:
                self.thrown[name].add(place)
                if waited is not None:
                    waited._asyncio_future_blocking = False
                thrown = self.surprise(f"{name} at {place[-1]}")
                continue
            try:
                yield waited
            except BaseException as error:  # noqa: BLE001  a cancellation
                thrown = error


def _places(doing: Any) -> Generator[str, None, None]:
    """The lines at which a coroutine and those it awaits wait, as far as they are ours."""
    while doing is not None:
        frame = getattr(doing, "cr_frame", None) or getattr(doing, "gi_frame", None)
        if frame is not None and "/reconciler/" in frame.f_code.co_filename:
            yield f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
        doing = getattr(doing, "cr_await", None) or getattr(doing, "gi_yieldfrom", None)


@pytest.mark.parametrize("surprise", [Surprise, MemoryError, asyncio.CancelledError])
@on_the_loop
async def test_an_error_in_any_task_at_any_await_ends_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, surprise: type[BaseException]
) -> None:
    monkeypatch.setattr(log_rotation, "_LOOK_EVERY_S", 0.01)
    for name in ("_COLLECT_EVERY_S", "_END_IDLE_EVERY_S", "_REAP_AFTER_S", "_WRITE_EVERY_S"):
        monkeypatch.setattr(housekeeping, name, 0.01)
    monkeypatch.setattr(manifest_loop, "_AGAIN_S", 0.1)
    secret = site.root / "secret.env"
    secret.write_text("TOKEN=1\n")
    port = site.app("blog", "1", health={"path": "/", "interval": "1s"}, env_files=[str(secret)])
    settings = Settings(manifests=site.manifests, paths=site.paths, retry_first_s=0.01, retry_cap_s=0.1)
    told: list[str] = []
    with acquire(site.paths) as lock, contextlib.closing(open_or_rebuild(site.paths.database)[0]) as database:
        database.defer(lambda *_: None)
        async with asyncio.TaskGroup() as group:
            tasks = ThrowingTasks(group, surprise)
            daemon = Daemon(settings, database, tasks, lock=lock)
            asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["message"]))
            with contextlib.closing(daemon.fork_servers), contextlib.closing(daemon.keeper):
                tasks.keep("adopt what runs", daemon.run)
                await asyncio.to_thread(eventually, site.serves("blog", "1", port))
                site.source("blog", "2")
                secret.write_text("TOKEN=2\n")
                await asyncio.to_thread(eventually, site.serves("blog", "2", port))
                site.manifest("blog", port=port, health={"path": "/", "interval": "1s"}, workers=2)
                await asyncio.to_thread(eventually, lambda: site.told("blog")["workers"] == 2 and site.settled("blog"))
                waiting = {name for name, _ in tasks.running} - {"adopt what runs"}  # it waits for nothing
                await asyncio.to_thread(eventually, lambda: all(tasks.thrown[name] for name in waiting))
                lasting = {name: task for name, task in tasks.running.items() if not name[0].startswith(_ENDING)}
                assert [name for name, task in lasting.items() if task.done()] == []
                assert {"cannot rotate logs", "cannot compile ahead", "cannot follow the manifests"} <= set(told)
            for task in tasks.running.values():
                task.cancel()
        await daemon.end_staging()
        daemon._apps.close_listeners()
