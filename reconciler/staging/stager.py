"""An app's build in, a finished directory out: code, environment and a record of both, or an error that says why not.

Everything is done in a draft beside the finished builds and renamed into place last, so a build is finished or not
there, whenever staging is cancelled or killed.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.files import draft, leftovers, remove
from reconciler.planning.desired import Build
from reconciler.staging import staged
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection import django
from reconciler.staging.detection.entry_point import EntryPoint
from reconciler.staging.detection.runtimes import Interpreters, Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installer_env import for_installers
from reconciler.staging.environments.serving import environment_for, ingredients_of
from reconciler.staging.environments.store import Environment, EnvironmentRequest, Environments
from reconciler.staging.errors import SourceChanged, StagingError
from reconciler.staging.log import Log
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.staged import Staged
from reconciler.vault.secret_patterns import secrets_in

__all__ = ["SourceChanged", "Staged", "Stager", "StagingError"]

_CODE = "code"


class Stager:
    """Makes builds. `builds` says where an app's are kept; all paths are on one file system.

    `interpreters` are the host settings' own (programs or directories), `slots` bounds what is staged at once, and each
    of copying and installing may take `timeout_s`, the wait for a slot not counted; `environ` gives the variables that
    say where packages come from. One task at a time stages an app.
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
        environ: Callable[[], Mapping[str, str]],
    ) -> None:
        self._environ = environ
        self._builds = builds
        self._interpreters = Interpreters(interpreters)
        self._boot = staged.boot_id()
        self._environments = Environments(
            directory=environments, cache=cache, uv=uv, slots=slots, timeout_s=timeout_s, boot=self._boot
        )
        self._timeout_s = timeout_s
        self._slots = slots
        self._uv = uv
        self._read: dict[Path, tuple[tuple[int, int], Staged | None]] = {}

    async def stage(self, app: str, build: Build, log: Path, progress: Callable[[str], None]) -> Staged:
        """The finished build, made now unless it is there already; StagingError, SourceChanged.

        `progress` is told what is being done, once a second; `log` is appended to.
        """
        finished = self.finished(app, build.id)
        if finished is not None:
            return finished
        with _explained(app, self._timeout_s), Log(log, secrets_in(self._environ())) as lines:
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
        directory = self._builds(app) / build_id
        try:
            facts = (directory / staged.RECORD).stat()
        except OSError:
            self._read.pop(directory, None)
            return None
        stamp, found = self._read.get(directory, (None, None))
        if stamp != (facts.st_mtime_ns, facts.st_ino):
            found = staged.read(directory, self._boot)
            self._read[directory] = (facts.st_mtime_ns, facts.st_ino), found
        if found is None or self._environments.finished(Path(found.environment).name) is None:
            return None
        return found

    def kept(self, app: str) -> tuple[str, ...]:
        """The ids of the builds that are there, oldest first; whether one is still whole `finished` says."""
        found = [
            (record.stat().st_mtime_ns, record.parent.name) for record in self._builds(app).glob(f"*/{staged.RECORD}")
        ]
        return tuple(build for _, build in sorted(found) if not build.startswith("."))

    async def warm_up(self) -> None:
        """Learn what the first build would else have to wait for: the interpreters, and the installer's version."""
        await self._interpreters.known()
        await asyncio.to_thread(installer, self._uv)

    def collect(self, apps: Iterable[str], retention_s: float) -> tuple[str, ...]:
        """Remove the environments that no build of these apps has, and nobody asked for in `retention_s`. Blocks."""
        found = (staged.read(record.parent, self._boot) for app in apps for record in self._records(app))
        in_use = frozenset(Path(each.environment).name for each in found if each is not None)
        return self._environments.collect(in_use, retention_s)

    async def compile_ahead(self) -> None:
        """Until cancelled: have the bytecode of new environments written while nothing else is to be done."""
        await self._environments.compile_ahead()

    def discard(self, app: str, build_id: str) -> None:
        """Remove the build, finished or not; it is gone at once, though emptying it blocks for a while."""
        directory = self._builds(app) / build_id
        remove(directory)
        self._read.pop(directory, None)

    async def runtimes(self) -> tuple[Runtime, ...]:
        """Every interpreter of this host."""
        return await self._interpreters.known()

    async def _make(self, job: "_Job") -> Staged:
        builds = self._builds(job.app)
        directory, unfinished = builds / job.build.id, draft(builds, job.build.id)
        try:
            await self._copy(job, builds, unfinished / _CODE)
            runtimes = await self._interpreters.known(job.build.recipe.runtime)
            plan = await in_thread(lambda _: select(unfinished / _CODE, job.build.recipe, runtimes))
            for line in plan.lines():
                job.log.say(line)
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

    async def _environment(self, job: "_Job", plan: Selection, code: Path) -> Environment:
        order = EnvironmentRequest(
            ingredients=ingredients_of(plan, await asyncio.to_thread(installer, self._uv), self._environ()),
            code=code,
            previous=self._previous(job.app),
            log=job.log,
            progress=job.progress,
            environment=for_installers(self._environ()),
            supply=plan.supply,
        )
        return await environment_for(self._environments, order, plan.entry, await self._interpreters.known())

    def _records(self, app: str) -> list[Path]:
        return list(self._builds(app).glob(f"*/{staged.RECORD}"))

    def _previous(self, app: str) -> Mapping[str, str]:
        """What the environment of the app's newest build was made from; empty when there is none."""
        newest = max(self._records(app), key=lambda record: record.stat().st_mtime_ns, default=None)
        found = None if newest is None else staged.read(newest.parent, self._boot)
        return {} if found is None else self._environments.facts(found.environment)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    app: str
    build: Build
    log: Log
    progress: Callable[[str], None]


def _staged(directory: Path, plan: Selection, environment: Environment) -> Staged:
    return Staged(
        directory=str(directory),
        code=str(directory / _CODE / plan.entry.chdir),
        environment=environment.directory,
        python=environment.python,
        python_version=environment.python_version,
        gunicorn_version=environment.gunicorn_version,
        entrypoint=plan.entry.target,
        interface=plan.entry.interface,
        worker_class=plan.entry.worker_class or _worker_class(plan.entry, environment),
        gunicorn=plan.entry.gunicorn,
        pythonpath=tuple(str(directory / _CODE / path) for path in plan.entry.pythonpath),
        because=environment.because,
        reported=plan.entry.reported,
    )


def _worker_class(entry: EntryPoint, environment: Environment) -> str:
    return environment.asgi_worker if entry.interface == "asgi" else "sync"


def _finish(unfinished: Path, plan: Selection, made: Staged, boot: str) -> None:
    if plan.entry.settings is not None:
        django.write_module(unfinished / _CODE / plan.entry.chdir, plan.entry.settings)
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
