"""An app's build in, a finished directory out: code, environment and a record of both, or an error that says why not.

Everything is done in a draft beside the finished builds and renamed into place last, so a build is finished or not
there, whenever staging is cancelled or killed.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.desired import Build
from reconciler.staging import django, staged
from reconciler.staging.command import clean_environment
from reconciler.staging.dependencies import Dependencies, dependencies
from reconciler.staging.detect import EntryPoint, detect
from reconciler.staging.environment import Environment, Environments, Order
from reconciler.staging.failure import SourceChanged, StagingError
from reconciler.staging.identity import Ingredients, indexes, installer
from reconciler.staging.log import Log
from reconciler.staging.pinned import chosen
from reconciler.staging.removal import draft, leftovers, remove
from reconciler.staging.runtimes import Interpreters, Runtime
from reconciler.staging.source import snapshot
from reconciler.staging.staged import Staged
from reconciler.staging.threads import in_thread

__all__ = ["SourceChanged", "Staged", "Stager", "StagingError"]

_CODE = "code"
_FIRST_WITH_ASGI_WORKER = (3, 10)  # the oldest Python on which gunicorn has a worker for ASGI apps


class Stager:
    """Makes builds. `builds` says where an app's are kept; all paths are on one file system.

    `interpreters` are the host settings' own (programs or directories), `slots` bounds what is staged at once, and each
    of copying and installing may take `timeout_s`, the wait for a slot not counted. One task at a time stages an app.
    """

    def __init__(  # noqa: PLR0913 -- collaborators, each named
        self,
        *,
        builds: Callable[[str], Path],
        environments: Path,
        cache: Path,
        interpreters: Sequence[str],
        timeout_s: float,
        slots: asyncio.Semaphore,
        uv: str,
    ) -> None:
        self._builds = builds
        self._interpreters = Interpreters(interpreters)
        self._environments = Environments(directory=environments, cache=cache, uv=uv, slots=slots, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        self._slots = slots
        self._uv = uv
        self._boot = staged.boot_id()

    async def stage(self, app: str, build: Build, log: Path, progress: Callable[[str], None]) -> Staged:
        """The finished build, made now unless it is there already; StagingError, SourceChanged.

        `progress` is told what is being done, once a second; `log` is appended to.
        """
        finished = self.finished(app, build.id)
        if finished is not None:
            return finished
        with _explained(app, self._timeout_s), Log(log) as lines:
            loop = asyncio.get_running_loop()
            began = loop.time()
            lines.say(f"staging build {build.id} of {app} from {build.source.path}")
            try:
                made = await self._make(_Job(app=app, build=build, log=lines, progress=progress))
            except BaseException as error:
                why = str(error) or ("cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__)
                lines.say(f"build {build.id} was not finished: {why}")
                raise
            lines.say(f"build {build.id} finished in {loop.time() - began:.3f} s")
            return made

    def finished(self, app: str, build_id: str) -> Staged | None:
        """The build, when it is finished and its environment is whole. A few file reads."""
        found = staged.read(self._builds(app) / build_id, self._boot)
        if found is None or self._environments.finished(Path(found.environment).name) is None:
            return None
        return found

    def kept(self, app: str) -> tuple[str, ...]:
        """The ids of the builds that are there, oldest first; whether one is still whole `finished` says."""
        found = [
            (record.stat().st_mtime_ns, record.parent.name) for record in self._builds(app).glob(f"*/{staged.RECORD}")
        ]
        return tuple(build for _, build in sorted(found) if not build.startswith("."))

    def discard(self, app: str, build_id: str) -> None:
        """Remove the build, finished or not; it is gone at once, though emptying it blocks for a while."""
        remove(self._builds(app) / build_id)

    async def runtimes(self) -> tuple[Runtime, ...]:
        """Every interpreter of this host."""
        return await self._interpreters.known()

    async def _make(self, job: "_Job") -> Staged:
        builds = self._builds(job.app)
        directory, unfinished = builds / job.build.id, draft(builds, job.build.id)
        try:
            await self._copy(job, builds, unfinished / _CODE)
            runtimes = await self._interpreters.known(job.build.recipe.runtime)
            plan = await in_thread(lambda _: _look(unfinished / _CODE, job.build, runtimes))
            job.log.say(f"runtime: {plan.runtime.description}, {plan.runtime.path} ({plan.because})")
            job.log.say(f"entry point: {plan.entry.target} ({plan.entry.interface})")
            job.log.say(f"dependencies: {plan.dependencies.file or 'none'}")
            environment = await self._environment(job, plan, unfinished / _CODE)
            made = _staged(directory, plan, environment)
            await in_thread(lambda _: _finish(unfinished, plan, made, self._boot))
        except BaseException:
            await in_thread(lambda _: remove(unfinished))
            raise
        return made

    async def _copy(self, job: "_Job", builds: Path, code: Path) -> None:
        def copy(go_on: Callable[[], bool]) -> str:
            builds.mkdir(parents=True, exist_ok=True)
            for leftover in leftovers(builds):
                remove(leftover)
            return snapshot(job.build.source.path, code, go_on)

        job.progress("copying the source")
        async with self._slots, asyncio.timeout(self._timeout_s):
            content = await in_thread(copy)
        if content != job.build.content:
            raise SourceChanged("the source changed meanwhile: what it is now is staged instead")

    async def _environment(self, job: "_Job", plan: "_Look", code: Path) -> Environment:
        """An environment that can serve the app: gunicorn's own worker, or for ASGI uvicorn's where it has none."""
        servers: tuple[str, ...] = ("gunicorn",)
        needs_asgi = plan.entry.interface == "asgi"
        if needs_asgi and plan.runtime.release < _FIRST_WITH_ASGI_WORKER:
            servers = ("gunicorn", "uvicorn")
        ingredients = Ingredients(
            runtime=plan.runtime,
            dependencies=plan.dependencies,
            servers=servers,
            installer=await asyncio.to_thread(installer, self._uv),
            indexes=indexes(clean_environment(os.environ)),
        )
        order = Order(
            ingredients=ingredients,
            code=code,
            previous=self._previous(job.app),
            log=job.log,
            progress=job.progress,
        )
        environment = await self._environments.obtain(order)
        if needs_asgi and not environment.asgi_worker and len(servers) == 1:
            job.log.say(f"gunicorn {environment.gunicorn_version} has no worker for ASGI apps: uvicorn's is needed")
            both = replace(ingredients, servers=("gunicorn", "uvicorn"))
            environment = await self._environments.obtain(replace(order, ingredients=both))
        if needs_asgi and not environment.asgi_worker:
            raise StagingError(
                f"it is an ASGI app, and neither gunicorn {environment.gunicorn_version} nor the uvicorn beside it"
                " can serve those: allow gunicorn 25 or newer in the requirements"
            )
        return environment

    def _previous(self, app: str) -> Mapping[str, str]:
        """What the environment of the app's newest build was made from; empty when there is none."""
        records = self._builds(app).glob(f"*/{staged.RECORD}")
        newest = max(records, key=lambda record: record.stat().st_mtime_ns, default=None)
        found = None if newest is None else staged.read(newest.parent, self._boot)
        return {} if found is None else self._environments.facts(found.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    app: str
    build: Build
    log: Log
    progress: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What a look at the code says about how to run it."""

    runtime: Runtime
    because: str
    entry: EntryPoint
    dependencies: Dependencies


def _look(code: Path, build: Build, runtimes: tuple[Runtime, ...]) -> _Look:
    choice = chosen(runtimes, build.recipe.runtime, code)
    return _Look(
        runtime=choice.runtime,
        because=choice.because,
        entry=detect(code, build.recipe.entrypoint),
        dependencies=dependencies(code, build.recipe.dependencies),
    )


def _staged(directory: Path, look: _Look, environment: Environment) -> Staged:
    return Staged(
        directory=str(directory),
        code=str(directory / _CODE / look.entry.chdir),
        environment=environment.directory,
        python=environment.python,
        python_version=environment.python_version,
        gunicorn_version=environment.gunicorn_version,
        entrypoint=look.entry.target,
        interface=look.entry.interface,
        worker_class=environment.asgi_worker if look.entry.interface == "asgi" else "sync",
    )


def _finish(unfinished: Path, look: _Look, made: Staged, boot: str) -> None:
    if look.entry.settings is not None:
        django.write_module(unfinished / _CODE / look.entry.chdir, look.entry.settings)
    staged.write(made, unfinished, boot)
    remove(Path(made.directory))  # one that is there and was not counted as finished
    unfinished.rename(made.directory)


@contextmanager
def _explained(app: str, timeout_s: float) -> Iterator[None]:
    """Give every failure of staging the app's name."""
    try:
        yield
    except StagingError as error:
        raise type(error)(f"cannot stage {app}: {error}") from error
    except TimeoutError as error:
        raise StagingError(f"cannot stage {app}: it took longer than {timeout_s:g} s and was ended") from error
    except (OSError, RecursionError, subprocess.SubprocessError) as error:
        raise StagingError(f"cannot stage {app}: {error}") from error
