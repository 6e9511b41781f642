"""Stage builds: the code and environment of an app, in a directory with a record of both.

A build is made in a draft beside the finished ones and renamed into place last, so it is complete or does not exist,
whenever staging is cancelled or killed.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.linux.files import draft, leftovers, remove
from reconciler.planning.apps.revision import Build, CodeCommands
from reconciler.staging import staged
from reconciler.staging.concurrency import in_thread
from reconciler.staging.detection import django
from reconciler.staging.detection.entry_point import EntryPoint
from reconciler.staging.detection.runtimes import Interpreters, Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.detection.target import refuse_for
from reconciler.staging.environments.environment import Environment, EnvironmentRequest
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installer_env import for_installers, secrets_of
from reconciler.staging.environments.serving import environment_for, ingredients_of
from reconciler.staging.environments.store import Environments
from reconciler.staging.errors import CommandFailed, SourceChanged, StagingError, where_all_is
from reconciler.staging.log import Log
from reconciler.staging.persist import link_persisted
from reconciler.staging.progress import Phase, Progress
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.staged import Staged
from reconciler.staging.written_files import WrittenFiles, has_written, keep_written, mark_served, written_files

__all__ = ["SourceChanged", "Staged", "Stager", "StagingError"]

_CODE = "code"


class Stager:
    """Makes builds. `builds` returns the directory of an app's builds; all paths are on one file system.

    `interpreters` are programs or directories from the host's settings. `slots` bounds how many apps are staged at
    once; copying and installing may take `timeout_s` each, not counting the wait for a slot. `environ` returns the
    variables that say where packages come from. An app is staged by one task at a time.
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
        self._loaded: dict[Path, tuple[tuple[int, int], Staged | None]] = {}

    async def stage(self, app: str, build: Build, log: Path, progress: Progress, *, kept: Path) -> Staged:
        """Return the finished build, made now unless it exists already; raises StagingError or SourceChanged.

        `progress` gets the phase, once a second; `log` is appended to. What the recipe persists is below `kept`.
        """
        finished = self.finished(app, build.id)
        if finished is not None:
            return finished
        with _error_context(app, self._timeout_s), Log(log, secrets_of(self._environ())) as lines:
            loop = asyncio.get_running_loop()
            began = loop.time()
            lines.step(f"staging build {build.id} of {app} from {build.source.path}")
            try:
                made = await self._make(_Request(app=app, build=build, log=lines, progress=progress, kept=kept))
            except BaseException as error:
                why = str(error) or ("cancelled" if isinstance(error, asyncio.CancelledError) else type(error).__name__)
                lines.step(f"build {build.id} failed: {why}")
                raise
            lines.step(f"build {build.id} finished in {loop.time() - began:.3f} s")
            return made

    def finished(self, app: str, build_id: str) -> Staged | None:
        """Return the build if it is finished and its environment exists. A few file reads."""
        directory = self._builds(app) / build_id
        try:
            stat = (directory / staged.RECORD).stat()
        except OSError:
            self._loaded.pop(directory, None)
            return None
        stamp, found = self._loaded.get(directory, (None, None))
        if stamp != (stat.st_mtime_ns, stat.st_ino):
            found = staged.read(directory, self._boot)
            self._loaded[directory] = (stat.st_mtime_ns, stat.st_ino), found
        if found is None or self._environments.finished(Path(found.environment).name) is None:
            return None
        return found

    async def is_damaged(self, app: str, build_id: str) -> bool:
        """Compare the environment of a finished build with what was installed; a damaged one is created again."""
        found = self.finished(app, build_id)
        return found is not None and bool(await self._environments.verify(Path(found.environment).name))

    def build_ids(self, app: str) -> tuple[str, ...]:
        """Return the ids of the builds on disk, oldest first; `finished` tells whether one is still usable."""
        found = [
            (record.stat().st_mtime_ns, record.parent.name) for record in self._builds(app).glob(f"*/{staged.RECORD}")
        ]
        return tuple(build for _, build in sorted(found) if not build.startswith("."))

    def commands(self, app: str, build_ids: Iterable[str]) -> dict[str, CodeCommands]:
        """Return the commands that the code of these builds asks for, of those that ask for any."""
        found = ((build_id, staged.commands_of(self._builds(app) / build_id)) for build_id in build_ids)
        return {build_id: commands for build_id, commands in found if commands}

    async def warm_up(self) -> None:
        """Discover the interpreters and the installer's version ahead of the first build."""
        await self._interpreters.known()
        await asyncio.to_thread(installer, self._uv)

    def collect(self, apps: Iterable[str], retention_s: float) -> tuple[str, ...]:
        """Remove the environments that no build of these apps uses and none requested in `retention_s`. Blocks."""
        found = (staged.read(record.parent, self._boot) for app in apps for record in self._records(app))
        in_use = frozenset(Path(each.environment).name for each in found if each is not None)
        return self._environments.collect(in_use, retention_s)

    async def compile_ahead(self) -> None:
        """Write the bytecode of new environments at the lowest priority, until cancelled."""
        await self._environments.compile_ahead()

    def mark_served(self, app: str, build_id: str) -> None:
        """Record that the build serves: what is written into it from now on is the app's own data. Raises OSError."""
        mark_served(self._builds(app) / build_id)

    def written(self, app: str, build_id: str) -> WrittenFiles:
        """Return the files that the app has written into the build since it served. Blocks."""
        return written_files(self._builds(app) / build_id)

    def keep_written(self, app: str, build_id: str, kept: Path) -> tuple[str, ...]:
        """Move what the app has written into the build below `kept`, and return it. Raises OSError; blocks."""
        return keep_written(self._builds(app) / build_id, kept)

    def discard(self, app: str, build_id: str) -> None:
        """Remove the build, finished or not. It disappears at once; deleting its files blocks for a while."""
        directory = self._builds(app) / build_id
        remove(directory)
        self._loaded.pop(directory, None)

    async def runtimes(self) -> tuple[Runtime, ...]:
        """Return every interpreter of this host."""
        return await self._interpreters.known()

    async def _make(self, request: "_Request") -> Staged:
        builds = self._builds(request.app)
        directory, unfinished = builds / request.build.id, draft(builds, request.build.id)
        recipe = request.build.recipe
        try:
            await self._copy(request, builds, unfinished / _CODE)
            runtimes = await self._interpreters.known(recipe.runtime)
            previous = self._previous_runtime(request.app)
            selection = await in_thread(lambda _: select(unfinished / _CODE, recipe, runtimes, previous))
            for line in selection.lines():
                request.log.step(line)
            environment = await self._environment(request, selection, unfinished / _CODE)
            refuse_for(selection.entry, environment.gunicorn_version)
            made = _staged(directory, selection, environment)
            if recipe.persist:
                await in_thread(lambda _: self._persist(request, unfinished / _CODE))
            await in_thread(lambda _: _finish(unfinished, selection, made, self._boot))
        except BaseException:
            await in_thread(lambda _: remove(unfinished))
            raise
        return made

    async def _copy(self, request: "_Request", builds: Path, code: Path) -> None:
        def copy(should_continue: Callable[[], bool]) -> str:
            builds.mkdir(parents=True, exist_ok=True)
            for leftover in leftovers(builds):
                remove(leftover)
            return snapshot(request.build.source.path, code, should_continue)

        if self._slots.locked():
            request.progress(Phase(activity="waiting until other apps are staged"))
        async with self._slots, asyncio.timeout(self._timeout_s):
            request.progress(Phase(activity="copying the source"))
            content = await in_thread(copy)
        if content != request.build.content:
            raise SourceChanged("the source changed while it was copied: the new content is staged instead")

    async def _environment(self, request: "_Request", selection: Selection, code: Path) -> Environment:
        versions = await asyncio.to_thread(installer, self._uv)
        needed = EnvironmentRequest(
            ingredients=ingredients_of(selection, versions, self._environ()),
            code=code,
            previous=self._previous(request.app),
            log=request.log,
            progress=request.progress,
            environment=for_installers(self._environ()),
            offline=selection.offline,
            runtime_named=selection.runtime_named,
        )
        return await environment_for(self._environments, needed, selection.entry, await self._interpreters.known())

    def _persist(self, request: "_Request", code: Path) -> None:
        earlier = [self._builds(request.app) / build / _CODE for build in reversed(self.build_ids(request.app))]
        link_persisted(code, request.build.recipe.persist, request.kept, earlier, has_written)

    def _records(self, app: str) -> list[Path]:
        return list(self._builds(app).glob(f"*/{staged.RECORD}"))

    def _previous(self, app: str) -> Mapping[str, str]:
        """Return what the environment of the app's newest build was made from; empty if there is none."""
        found = self._newest(app)
        return {} if found is None else self._environments.facts(found.environment)

    def _previous_runtime(self, app: str) -> str | None:
        """Return the version of the Python that was chosen for the app's newest build; None if it was named."""
        found = self._newest(app)
        return None if found is None or found.runtime_named else found.python_version

    def _newest(self, app: str) -> Staged | None:
        newest = max(self._records(app), key=lambda record: record.stat().st_mtime_ns, default=None)
        return None if newest is None else staged.read(newest.parent, self._boot)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    app: str
    build: Build
    log: Log
    progress: Progress
    kept: Path


def _staged(directory: Path, selection: Selection, environment: Environment) -> Staged:
    entry = selection.entry
    return Staged(
        directory=str(directory),
        code=str(directory / _CODE / entry.chdir),
        environment=environment.directory,
        python=environment.python,
        python_version=environment.python_version,
        gunicorn_version=environment.gunicorn_version,
        entrypoint=entry.target,
        interface=entry.interface,
        worker_class=entry.worker_class or _worker_class(entry, environment),
        gunicorn=entry.gunicorn,
        pythonpath=tuple(str(directory / _CODE / path) for path in entry.pythonpath),
        because=environment.because,
        reported=entry.reported,
        reused=environment.reused,
        commands=selection.commands,
        missing=selection.missing,
        notes=selection.notes,
        runtime_named=selection.runtime_named,
    )


def _worker_class(entry: EntryPoint, environment: Environment) -> str:
    return environment.asgi_worker if entry.interface == "asgi" else "sync"


def _finish(unfinished: Path, selection: Selection, made: Staged, boot: str) -> None:
    if selection.entry.settings is not None:
        django.write_module(unfinished / _CODE / selection.entry.chdir, selection.entry.settings)
    staged.write(made, unfinished, boot)
    remove(Path(made.directory))  # a directory that does not count as finished
    unfinished.rename(made.directory)


@contextmanager
def _error_context(app: str, timeout_s: float) -> Iterator[None]:
    """Add the app's name to every error of staging."""
    try:
        yield
    except CommandFailed as error:
        raise CommandFailed(f"cannot stage {app}: {error}\n{where_all_is(app)}") from error
    except StagingError as error:
        raise type(error)(f"cannot stage {app}: {error}") from error
    except TimeoutError as error:
        limit = f"{timeout_s:g} s (staging.timeout of the host's settings)"
        raise StagingError(
            f"cannot stage {app}: it took longer than {limit} and was ended; {where_all_is(app)}"
        ) from error
    except (OSError, RecursionError, subprocess.SubprocessError) as error:
        raise StagingError(f"cannot stage {app}: {error}") from error
