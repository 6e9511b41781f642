"""Ingredients in, a finished environment out: made once per key, shared by all apps that need the same, never changed.

A virtual environment holds its own path, so it is made where it stays: `<key>/` counts only once `<key>/finished.json`
is in it, which is written last. Whatever is there without it is a leftover of a kill, and is removed by whoever holds
`<key>.lock`. Installers inherit that lock, so it is held until the last is gone. Waiting for the disk would take longer
than installing does: an environment of an earlier boot counts once every file of it was found to have its size.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.linux.file_lock import locked, try_lock
from reconciler.linux.files import leftovers, remove, replace_file
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import SingleFlight, in_thread
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments import integrity
from reconciler.staging.environments.export import Exporter
from reconciler.staging.environments.identity import Ingredients, differences
from reconciler.staging.environments.installation import EnvironmentRequest, Installation, site_packages
from reconciler.staging.environments.tools import Tools
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log

__all__ = ["Environment", "EnvironmentRequest", "Environments"]

_FINISHED = "finished.json"
# Looking at every file takes a quarter of a second for tens of thousands: what was seen whole lately is not looked at
# again for every edit, and for every one of many apps that are staged at once.
_LOOKED_AT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A finished environment. `asgi_worker` is gunicorn's name for what serves ASGI apps here, "" when nothing does.

    `because` says, in an operator's words, why it was made or could be used again.
    """

    directory: str
    python: str
    python_version: str
    gunicorn_version: str
    asgi_worker: str
    because: str = ""


class Environments:
    """The store: one directory per key in `directory`, packages hardlinked from `cache` on the same file system.

    `runtimes` gives the Pythons of this host, one of which runs the tools that some lock files take.
    """

    def __init__(  # noqa: PLR0913 -- collaborators, each named
        self,
        *,
        directory: Path,
        cache: Path,
        uv: str,
        slots: asyncio.Semaphore,
        timeout_s: float,
        boot: str,
    ) -> None:
        self._directory = directory
        self._cache = cache
        self._uv = uv
        self._slots = slots
        self._timeout_s = timeout_s
        self._tools = Tools(directory.parent / "tools", cache, uv)
        self._building: SingleFlight[str, Environment] = SingleFlight()
        self._looked_at: dict[str, float] = {}
        self._boot = boot
        self._survived: dict[str, bool] = {}
        self._uncompiled: asyncio.Queue[str] = asyncio.Queue()

    async def obtain(self, order: EnvironmentRequest, runtimes: tuple[Runtime, ...]) -> Environment:
        """The environment ordered, from the store or made now; StagingError."""
        key = order.ingredients.key
        self._used(key)
        finished = self.finished(key)
        if finished is not None and await in_thread(lambda _: self._still_whole(key)):
            order.log.say(f"environment {key}: reused")
            return replace(finished, because=_why_reused(order))
        if self._building.under_way(key):
            order.log.say(f"environment {key}: another app is having it made, waiting for that")
            order.progress("waiting for an environment that another app is having made")
            made = await self._building.result(key, lambda: self._build(key, order, runtimes))
            return replace(made, because="shared with another app that was staged meanwhile")
        return await self._building.result(key, lambda: self._build(key, order, runtimes))

    def finished(self, key: str) -> Environment | None:
        """The environment of that key, when it is finished and still there as far as a few stats can tell."""
        directory = self._directory / key
        try:
            record = json.loads((directory / _FINISHED).read_bytes())
            environment = Environment(**record["environment"])
            os.stat(environment.python)  # noqa: PTH116 -- follows links: the interpreter itself may be gone
            there = (directory / record["site"] / "gunicorn" / "__init__.py").stat().st_size > 0
            there = there and (record["boot"] == self._boot or self._has_survived(key))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return environment if there and environment.directory == str(directory) else None

    async def compile_ahead(self) -> None:
        """Until cancelled: write the bytecode of each new environment, when nobody else wants the processor.

        Python would do so as well, module by module, when an app first imports them.
        """
        while True:
            directory = Path(await self._uncompiled.get())
            command = Command(
                doing="compiling",
                arguments=(
                    *("nice", "-n", "19", str(directory / "bin" / "python"), "-m", "compileall", "-q"),
                    str(site_packages(directory)),
                ),
                environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            )
            # Packages may well hold files for other Pythons, which cannot be compiled.
            with suppress(StagingError, OSError), Log(Path(os.devnull)) as log:
                await run(command, log, lambda _: None)

    def facts(self, directory: str) -> dict[str, str]:
        """What the environment in `directory` was made from; empty when that cannot be told."""
        try:
            facts: dict[str, str] = json.loads(Path(directory, _FINISHED).read_bytes())["facts"]
        except (OSError, ValueError, KeyError):
            return {}
        return facts

    def collect(self, in_use: frozenset[str], retention_s: float) -> tuple[str, ...]:
        """Remove the environments that are not `in_use` and were not asked for in `retention_s`; their keys. Blocks.

        One that is being made or asked for at this moment is held, and stays.
        """
        removed = []
        if not self._directory.is_dir():
            return ()
        for key in sorted({path.stem for path in self._directory.iterdir() if not path.name.startswith(".")}):
            age_s = self._age_s(key)
            lock = try_lock(self._directory / f"{key}.lock") if key not in in_use and age_s >= retention_s else None
            if lock is None:
                continue
            try:
                remove(self._directory / key)
                (self._directory / f"{key}.lock").unlink()
                removed.append(key)
            finally:
                os.close(lock)
        for leftover in leftovers(self._directory):
            remove(leftover)
        return tuple(removed)

    def _age_s(self, key: str) -> float:
        """How long ago the key was last asked for."""
        stamps = []
        for path in (self._directory / f"{key}.lock", self._directory / key / _FINISHED):
            with suppress(OSError):
                stamps.append(path.stat().st_mtime)
        return time.time() - max(stamps, default=0.0)  # noqa: TID251  # file systems tell the time of day

    def _used(self, key: str) -> None:
        """Note that the key was asked for: its lock's time of change says when that was last."""
        with suppress(OSError):
            os.utime(self._directory / f"{key}.lock")

    def _has_survived(self, key: str) -> bool:
        """Whether an environment of an earlier boot lost nothing when that ended; looked at once."""
        if key not in self._survived:
            self._survived[key] = not integrity.damaged(self._directory / key)
        return self._survived[key]

    def _still_whole(self, key: str) -> bool:
        """Whether every file of a finished environment is what it was, when that was not looked at just now."""
        if time.monotonic() - self._looked_at.get(key, float("-inf")) < _LOOKED_AT_S:
            return True
        if integrity.damaged(self._directory / key):
            return False
        self._looked_at[key] = time.monotonic()
        return True

    async def _build(self, key: str, order: EnvironmentRequest, runtimes: tuple[Runtime, ...]) -> Environment:
        directory = self._directory / key
        waiting = lambda: order.progress("waiting for an installer of another process")  # noqa: E731
        async with (
            self._slots,
            asyncio.timeout(self._timeout_s),
            locked(self._directory / f"{key}.lock", waiting) as lock,
        ):
            finished = self.finished(key)
            recorded = (directory / _FINISHED).is_file()
            damage = await in_thread(lambda _: integrity.damaged(directory)) if recorded else ()
            if finished is not None and not damage:
                order.log.say(f"environment {key}: made by another process meanwhile")
                return replace(finished, because="made by another process meanwhile")
            because = _why_made(order, damage)
            order.log.say(f"environment {key}: making it, because {because}")
            if damage:
                await self._forget_damaged(directory, damage, order)
            await in_thread(lambda _: self._clear(directory))
            exporter = Exporter(tools=self._tools, uv=self._uv, cache=self._cache, runtimes=runtimes)
            try:
                await Installation(order, directory, exporter, lock).make()
                made = await in_thread(lambda _: _finish(directory, order.ingredients, self._boot))
            except BaseException:
                await in_thread(lambda _: remove(directory))
                raise
            self._looked_at[key] = time.monotonic()
            self._uncompiled.put_nowait(made.directory)
            return replace(made, because=f"made, because {because}")

    async def _forget_damaged(self, directory: Path, damage: Sequence[str], order: EnvironmentRequest) -> None:
        """Have what was damaged fetched anew: the cache shares its files with every environment."""
        names = await in_thread(lambda _: integrity.owners(directory, tuple(damage)))
        cache = ("--cache-dir", str(self._cache / "uv"))
        clean = Command(
            doing="clearing damaged packages out of the cache",
            arguments=(self._uv, "cache", "clean", *cache, *sorted(names)),
            environment=order.environment,
        )
        with suppress(StagingError):
            await run(clean, order.log, order.progress)

    def _clear(self, directory: Path) -> None:
        """Make room for the environment: whatever is there was not finished, or was damaged."""
        remove(directory)
        for leftover in leftovers(self._directory):
            if leftover.name.startswith(f".gone-{directory.name}-"):
                remove(leftover)


def _why_reused(order: EnvironmentRequest) -> str:
    if not order.previous:
        return "reused, as another app needs the same"
    changed = order.previous != order.ingredients.facts
    return "reused, as it is in the store already" if changed else "reused, as nothing it is made from changed"


def _why_made(order: EnvironmentRequest, damage: Sequence[str]) -> str:
    if damage:
        more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
        return f"the one in the store was damaged ({damage[0]}{more})"
    return differences(order.ingredients.facts, order.previous) if order.previous else "none like it exists"


def _finish(directory: Path, ingredients: Ingredients, boot: str) -> Environment:
    """Write down what is there, and last of all that it is finished."""
    site = site_packages(directory)
    environment = Environment(
        directory=str(directory),
        python=str(directory / "bin" / "python"),
        python_version=ingredients.runtime.version,
        gunicorn_version=_installed(site, "gunicorn"),
        asgi_worker=_asgi_worker(site),
    )
    record: dict[str, Any] = {
        "environment": {name: getattr(environment, name) for name in Environment.__slots__},
        "site": str(site.relative_to(directory)),
        "facts": ingredients.facts,
        "boot": boot,
    }
    remove(directory / "bundle")
    integrity.write_list(directory, ("bin", str(site.relative_to(directory))))
    replace_file(directory / _FINISHED, json.dumps(record, indent=1), mode=0o644, durable=False)
    return environment


def _installed(site: Path, package: str) -> str:
    for found in (*site.glob(f"{package}-*.dist-info"), *site.glob(f"{package}-*.egg-info")):
        return found.name.removeprefix(f"{package}-").removesuffix(".dist-info").partition("-py")[0]
    raise StagingError(f"the installer finished, and {package} is not there: see the staging log")


def _asgi_worker(site: Path) -> str:
    if (site / "gunicorn/workers/gasgi.py").is_file():
        return "asgi"
    return "uvicorn.workers.UvicornWorker" if (site / "uvicorn/workers.py").is_file() else ""
