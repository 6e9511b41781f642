"""Ingredients in, a finished environment out: made once per key, shared by all apps that need the same, never changed.

A virtual environment holds its own path, so it is made where it stays: `<key>/` counts only once `<key>/finished.json`
is in it, which is written last, after everything else is on the disk. Whatever is there without it is a leftover of a
kill, and is removed by whoever holds `<key>.lock`. Installers inherit that lock, so it is held until the last is gone.
"""

import asyncio
import ctypes
import fcntl
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.staging.command import Command, clean_environment, run
from reconciler.staging.dependencies import has_own_configuration
from reconciler.staging.failure import StagingError
from reconciler.staging.identity import Ingredients, differences
from reconciler.staging.log import Log
from reconciler.staging.removal import leftovers, remove
from reconciler.staging.shared import Shared
from reconciler.staging.threads import in_thread

_FINISHED = "finished.json"
_LOCK_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A finished environment. `asgi_worker` is gunicorn's name for what serves ASGI apps here, "" when nothing does."""

    directory: str
    python: str
    python_version: str
    gunicorn_version: str
    asgi_worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An app's wish for an environment: `previous` are the facts of the one it had, {} for none."""

    ingredients: Ingredients
    code: Path
    previous: Mapping[str, str]
    log: Log
    progress: Callable[[str], None]


class Environments:
    """The store: one directory per key in `directory`, packages hardlinked from `cache` on the same file system."""

    def __init__(self, *, directory: Path, cache: Path, uv: str, slots: asyncio.Semaphore, timeout_s: float) -> None:
        self._directory = directory
        self._cache = cache
        self._uv = uv
        self._slots = slots
        self._timeout_s = timeout_s
        self._building: Shared[str, Environment] = Shared()

    async def obtain(self, order: Order) -> Environment:
        """The environment ordered, from the store or made now; StagingError."""
        key = order.ingredients.key
        finished = self.finished(key)
        if finished is not None:
            order.log.say(f"environment {key}: reused")
            return finished
        if self._building.under_way(key):
            order.log.say(f"environment {key}: another app is having it made, waiting for that")
            order.progress("waiting for an environment that another app is having made")
        return await self._building.result(key, lambda: self._build(key, order))

    def finished(self, key: str) -> Environment | None:
        """The environment of that key, when it is finished and still whole as far as a few stats can tell."""
        directory = self._directory / key
        try:
            record = json.loads((directory / _FINISHED).read_bytes())
            environment = Environment(**record["environment"])
            os.stat(environment.python)  # noqa: PTH116 -- follows links: the interpreter itself may be gone
            whole = (directory / record["site"] / "gunicorn" / "__init__.py").stat().st_size > 0
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return environment if whole and environment.directory == str(directory) else None

    def facts(self, directory: str) -> dict[str, str]:
        """What the environment in `directory` was made from; empty when that cannot be told."""
        try:
            facts: dict[str, str] = json.loads(Path(directory, _FINISHED).read_bytes())["facts"]
        except (OSError, ValueError, KeyError):
            return {}
        return facts

    async def _build(self, key: str, order: Order) -> Environment:
        directory = self._directory / key
        async with self._slots, asyncio.timeout(self._timeout_s), self._locked(key, order) as lock:
            finished = self.finished(key)
            if finished is not None:
                order.log.say(f"environment {key}: made by another process meanwhile")
                return finished
            because = differences(order.ingredients.facts, order.previous) if order.previous else "none like it exists"
            order.log.say(f"environment {key}: making it, because {because}")
            await in_thread(lambda _: self._clear(directory))
            try:
                for command in self._commands(directory, order, lock):
                    await run(command, order.log, order.progress)
                return await in_thread(lambda _: _finish(directory, order.ingredients))
            except BaseException:
                await in_thread(lambda _: remove(directory))
                raise

    def _clear(self, directory: Path) -> None:
        """Make room for the environment: whatever is there was not finished, or was damaged."""
        remove(directory)
        for leftover in leftovers(self._directory):
            if leftover.name.startswith(f".gone-{directory.name}-"):
                remove(leftover)

    @asynccontextmanager
    async def _locked(self, key: str, order: Order) -> AsyncIterator[int]:
        """Hold the key against other processes; the descriptor that holds it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._directory / f"{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    order.progress("waiting for an installer of another process")
                    await asyncio.sleep(_LOCK_POLL_S)
            yield lock
        finally:
            os.close(lock)

    def _commands(self, directory: Path, order: Order, lock: int) -> tuple[Command, ...]:
        environment = {
            "LANG": "C.UTF-8",
            **clean_environment(os.environ),
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
        }
        ingredients, file = order.ingredients, order.ingredients.dependencies.file
        create = (
            *(sys.executable, "-I", "-m", "virtualenv", "--quiet", "--no-seed", "--no-periodic-update"),
            *("--no-vcs-ignore", "--app-data", str(self._cache / "virtualenv")),
            *("--python", ingredients.runtime.path, str(directory)),
        )
        # The server is resolved together with the app's requirements, so a version they pin wins.
        install = (
            *(self._uv, "pip", "install", "--python", str(directory / "bin" / "python")),
            *("--cache-dir", str(self._cache / "uv"), "--link-mode", "hardlink", "--compile-bytecode"),
            *("--color", "never"),
            *(("--requirements", str(order.code / file)) if file else ()),
            *ingredients.servers,
        )
        # From "/" uv finds no project's settings; from the code, its own and nobody else's.
        own = str(order.code) if has_own_configuration(order.code) else "/"
        return (
            Command(
                doing=f"creating an environment for {ingredients.runtime.name}",
                arguments=create,
                environment=environment,
                held=(lock,),
            ),
            Command(
                doing=f"installing {file or 'gunicorn'}",
                arguments=install,
                directory=own,
                environment=environment,
                held=(lock,),
            ),
        )


def _finish(directory: Path, ingredients: Ingredients) -> Environment:
    """Make it durable, then say so: a power cut leaves a whole environment or an unfinished one."""
    site = (
        next(iter(sorted(directory.glob("lib/python*/site-packages"))), None)
        or directory.glob("lib/pypy*/site-packages").__next__()
    )
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
    }
    _sync(directory)
    draft = directory / f"{_FINISHED}.draft"
    with draft.open("w", encoding="utf-8") as file:
        json.dump(record, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(directory / _FINISHED)
    return environment


def _installed(site: Path, package: str) -> str:
    for found in site.glob(f"{package}-*.dist-info"):
        return found.name.removeprefix(f"{package}-").removesuffix(".dist-info")
    raise StagingError(f"the installer finished, and {package} is not there: see the staging log")


def _asgi_worker(site: Path) -> str:
    if (site / "gunicorn/workers/gasgi.py").is_file():
        return "asgi"
    return "uvicorn.workers.UvicornWorker" if (site / "uvicorn/workers.py").is_file() else ""


def _sync(directory: Path) -> None:
    """Everything of this file system to the disk: one call, where an fsync for each of thousands of files takes long.

    Packages are links into the installer's cache, so this keeps the cache whole as well.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
