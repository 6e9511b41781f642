"""Create the environment of a key where it stays, and write down last of all that it is finished."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.isolation.pythons import pythons_below
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import leftovers, remove, replace_file
from reconciler.staging.build_cell import BuildCell
from reconciler.staging.command import Command, run
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.environments import integrity
from reconciler.staging.environments.environment import RECORD, Environment, EnvironmentRequest
from reconciler.staging.environments.export import Exporter
from reconciler.staging.environments.identity import Ingredients, differences
from reconciler.staging.environments.installation import Installation, site_packages
from reconciler.staging.environments.tools import Tools
from reconciler.staging.errors import StagingError
from reconciler.staging.log import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """Creates environments in `store` with `uv` and its `cache`; one of `runtimes` runs the tools of lock files."""

    store: Path
    cache: Path
    uv: str
    boot: str
    runtimes: tuple[Runtime, ...]

    async def create(self, request: EnvironmentRequest, damage: Sequence[str], lock_fd: int) -> Environment:
        """Create the environment, whose lock is `lock_fd`, in place of one with `damage`. Raises StagingError."""
        key = request.ingredients.key
        directory = self.store / key
        because = _why_created(request, damage)
        request.log.step(f"environment {key}: creating it, because {because}")
        if damage:
            await self._evict_damaged(directory, damage, request)
        await in_thread(lambda _: self._clear(directory))
        tools = Tools(self.store.parent / "tools", self.cache, self.uv)
        exporter = Exporter(tools=tools, uv=self.uv, cache=self.cache, runtimes=self.runtimes)
        try:
            await Installation(request, directory, exporter, lock_fd).make()
            made = await in_thread(lambda _: _finish(directory, request.ingredients, self.boot))
        except BaseException:
            await in_thread(lambda _: remove(directory))
            raise
        return replace(made, because=f"created, because {because}")

    async def _evict_damaged(self, directory: Path, damage: Sequence[str], request: EnvironmentRequest) -> None:
        """Remove damaged packages from the cache where it shares their files, as earlier versions had it."""
        names = await in_thread(lambda _: integrity.owners(directory, integrity.shared(directory, tuple(damage))))
        if not names:
            return
        cache = ("--cache-dir", str(self.cache / "uv"))
        clean = Command(
            activity="removing damaged packages from the cache",
            arguments=(self.uv, "cache", "clean", *cache, *sorted(names)),
            environment=request.environment,
        )
        with suppress(StagingError):
            await run(clean, request.log, request.progress)

    def _clear(self, directory: Path) -> None:
        """Remove what is at the environment's path: it was not finished, or is damaged."""
        remove(directory)
        for leftover in leftovers(self.store):
            if leftover.name.startswith(f".gone-{directory.name}-"):
                remove(leftover)


async def compile_bytecode(directory: Path, cell: BuildCell | None) -> None:
    """Write the bytecode of an environment's packages at the lowest priority. Raises StagingError, OSError.

    The interpreter runs code of packages as it starts, in the `cell` of the app for which they were installed.
    """
    site, python = site_packages(directory), directory / "bin" / "python"
    command = Command(
        activity="compiling",
        arguments=(
            *("nice", "-n", "19", str(python), "-m", "compileall", "-q"),
            str(site),
        ),
        environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
    )
    if cell is not None:
        command = cell.around(command, visible=(str(directory), *pythons_below(str(python))), writable=(site,))
    with Log(Path(os.devnull)) as log:
        await run(command, log, lambda _: None)


def _why_created(request: EnvironmentRequest, damage: Sequence[str]) -> str:
    if damage:
        more = f" and {len(damage) - 1} more" if len(damage) > 1 else ""
        return f"the one in the store was damaged ({damage[0]}{more})"
    return differences(request.ingredients.facts, request.previous) if request.previous else "none like it exists"


def _finish(directory: Path, ingredients: Ingredients, boot: str) -> Environment:
    """Record what was installed, and last of all that the environment is finished."""
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
    replace_file(directory / RECORD, json.dumps(record, indent=1), mode=0o644, durable=False)
    return environment


def _installed(site: Path, package: str) -> str:
    for found in (*site.glob(f"{package}-*.dist-info"), *site.glob(f"{package}-*.egg-info")):
        return found.name.removeprefix(f"{package}-").removesuffix(".dist-info").partition("-py")[0]
    raise StagingError(f"the installer finished without installing {package}: see the staging log", retry="soon")


def _asgi_worker(site: Path) -> str:
    if (site / "gunicorn/workers/gasgi.py").is_file():
        return "asgi"
    return "uvicorn.workers.UvicornWorker" if (site / "uvicorn/workers.py").is_file() else ""
