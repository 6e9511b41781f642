"""Make a build: copy the source, select what it needs, obtain its environment, and record what it consists of.

A build is made in a draft beside the finished ones and renamed into place last, so it is complete or does not exist,
whenever that is cancelled or killed.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from pathlib import Path

from reconciler.convergence.slots import Slots
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import draft, leftovers, remove, require_within
from reconciler.planning.apps.revision import Build
from reconciler.staging import staged
from reconciler.staging.build_cell import BuildCell
from reconciler.staging.concurrency import in_thread, look_in_thread
from reconciler.staging.detection import django
from reconciler.staging.detection.entry_point import EntryPoint
from reconciler.staging.detection.interpreters import Interpreters
from reconciler.staging.detection.programs.languages import runtime_of
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.detection.programs.recognition import needs_python, serving_program
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import Selection, select
from reconciler.staging.detection.target import loadable, write_app
from reconciler.staging.differences import mark_copied
from reconciler.staging.environments.environment import Environment, EnvironmentRequest
from reconciler.staging.environments.identity import installer
from reconciler.staging.environments.installation import site_packages
from reconciler.staging.environments.serving import environment_for, ingredients_of
from reconciler.staging.environments.store import Environments
from reconciler.staging.errors import SourceChanged, StagingError, UnsuitablePython
from reconciler.staging.log import Log
from reconciler.staging.progress import Phase, Progress
from reconciler.staging.slots import slot_of
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.staged import Staged
from reconciler.staging.written_files import has_written

_CODE = "code"
# How many more an app is tried on: each may take as long as the packages take to build.
_MOST_OTHER_PYTHONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Maker:
    """Makes builds with what the stager of this host has; `boot` is the boot that their records name.

    `hopeless` are the ids of builds for which no Python will do: others are not tried again with each retry.
    """

    builds: Callable[[str], Path]
    environments: Environments
    interpreters: Interpreters
    timeout_s: float
    slots: Slots
    uv: str
    environ: Callable[[], Mapping[str, str]]
    boot: str
    hopeless: set[str] = field(default_factory=set)

    async def make(  # noqa: PLR0913  each is another part of what is made
        self, app: str, build: Build, log: Log, progress: Progress, *, kept: Path, cell: BuildCell | None
    ) -> Staged:
        """Return the finished build. Raises StagingError, SourceChanged, TimeoutError, OSError."""
        from reconciler.staging.environments.absent_module import refuse_absent

        request = _Request(app=app, build=build, log=log, progress=progress, kept=kept, cell=cell)
        builds = self.builds(request.app)
        directory, unfinished = builds / request.build.id, draft(builds, request.build.id)
        recipe = request.build.recipe
        log.name(unfinished / _CODE, ".")
        try:
            program = await self._copy(request, builds, unfinished / _CODE)
            if program is not None and not await in_thread(lambda _: needs_python(unfinished / _CODE, recipe, program)):
                return await self._made_without_python(request, program, directory, unfinished)
            selection, environment = await self._installed(request, unfinished / _CODE, program)
            if selection.entry.installed:
                packages = site_packages(Path(environment.directory))
                await in_thread(lambda _: refuse_absent(selection.entry, unfinished / _CODE, packages))
            runtime = ""
            if program is None:
                selection = replace(selection, entry=loadable(selection.entry, environment.gunicorn_version))
            else:
                runtime = await self._built(request, program, unfinished / _CODE, str(Path(environment.python).parent))
            made = _staged(directory, selection, environment, runtime)
            if recipe.persist:
                await in_thread(lambda _: self._persist(request, unfinished / _CODE))
            await in_thread(lambda _: _finish(unfinished, selection, made, self.boot))
        except BaseException:
            await in_thread(lambda _: remove(unfinished))
            raise
        return made

    async def _copy(self, request: "_Request", builds: Path, code: Path) -> ServingProgram | None:
        """Copy the source, and return what serves the app in place of gunicorn, if anything does."""

        def copy() -> tuple[str, ServingProgram | None]:
            builds.mkdir(parents=True, exist_ok=True)
            for leftover in leftovers(builds):
                remove(leftover)
            content = snapshot(request.build.source.path, code)
            mark_copied(code.parent)
            changed = content != request.build.content
            return content, None if changed else serving_program(code, request.build.recipe)

        async with slot_of(self.slots, request.app, request.progress, goes_on=False), asyncio.timeout(self.timeout_s):
            request.progress(Phase(activity="copying the source"))
            content, program = await look_in_thread(copy)
        if content != request.build.content:
            raise SourceChanged("the source changed while it was copied: the new content is staged instead")
        return program

    async def _built(self, request: "_Request", program: ServingProgram, code: Path, scripts: str = "") -> str:
        """Build a program in the code, and return what runs it. `scripts` are the commands of its environment."""
        from reconciler.staging.program_build import ProgramBuild, build_program, for_builds

        home = self.builds(request.app).parent / "build-home"
        build = ProgramBuild(
            code=code, scripts=scripts, home=home, environment=for_builds(self.environ()), cell=request.cell
        )
        async with slot_of(self.slots.apart, request.app, request.progress), asyncio.timeout(self.timeout_s):
            await build_program(build, program, request.log, request.progress)
        return await in_thread(lambda _: runtime_of(program.language_program, build.trusted()))

    async def _made_without_python(
        self, request: "_Request", program: ServingProgram, directory: Path, unfinished: Path
    ) -> Staged:
        """Finish the build of an app for which no environment is made."""
        from reconciler.staging.program_build import staged_program

        for line in (program.line, *program.notes, *(f"ignored: {each}" for each in program.reported)):
            request.log.step(line)
        runtime = await self._built(request, program, unfinished / _CODE)
        made = staged_program(directory, program, runtime)
        if request.build.recipe.persist:
            await in_thread(lambda _: self._persist(request, unfinished / _CODE))
        await in_thread(lambda _: _complete(unfinished, made, self.boot))
        return made

    async def _installed(
        self, request: "_Request", code: Path, program: ServingProgram | None
    ) -> tuple[Selection, Environment]:
        """Return what the app needs, installed: for another Python if it names none and a package cannot have this."""
        named = request.build.recipe.runtime
        runtimes = await self.interpreters.known_to(named, isolated=request.cell is not None)
        selection = await self._selection(request, code, runtimes, self._previous_runtime(request.app), program)
        try:
            return selection, await self._environment(request, selection, code, runtimes)
        except UnsuitablePython as error:
            if selection.runtime_named or request.build.id in self.hopeless:
                raise
            failed, tried = error, [selection.runtime]
        while len(tried) <= _MOST_OTHER_PYTHONS:
            others = tuple(each for each in runtimes if all(each.release[:2] != other.release[:2] for other in tried))
            try:
                selection = await self._selection(request, code, others, None, program, failed.reason)
                return selection, await self._environment(request, selection, code, runtimes)
            except UnsuitablePython as error:
                request.log.step(error.reason)
                tried.append(selection.runtime)
            except StagingError:
                break
        self.hopeless.add(request.build.id)
        more = f"; nor for {', '.join(each.name for each in tried[1:])}" if tried[1:] else ""
        raise UnsuitablePython(f"{failed}{more}", failed.reason) from failed

    async def _selection(  # noqa: PLR0913, PLR0917  each is another part of what is selected from
        self,
        request: "_Request",
        code: Path,
        runtimes: tuple[Runtime, ...],
        previous: str | None,
        program: ServingProgram | None,
        instead: str = "",
    ) -> Selection:
        """Select from the code, and log it; `instead` says why it is not the Python that was chosen first."""
        async with slot_of(self.slots, request.app, request.progress):
            recipe = request.build.recipe
            found = await look_in_thread(lambda: select(code, recipe, runtimes, previous, program), self.timeout_s)
        if instead:
            python = f"Python {'.'.join(map(str, found.runtime.release[:2]))}"
            note = f"{instead}; {python} was taken: write `runtime: {found.runtime.name}` to keep it"
            found = replace(found, because=instead, notes=(*found.notes, note))
        for line in found.lines():
            request.log.step(line)
        return found

    async def _environment(
        self, request: "_Request", selection: Selection, code: Path, runtimes: tuple[Runtime, ...]
    ) -> Environment:
        environ = self.environ()
        ingredients = await in_thread(lambda _: ingredients_of(selection, installer(self.uv), environ))
        needed = EnvironmentRequest(
            app=request.app,
            ingredients=ingredients,
            code=code,
            previous=self._previous(request.app),
            log=request.log,
            progress=request.progress,
            environ=environ,
            offline=selection.offline,
            python_advice=selection.python_advice,
            cell=request.cell,
        )
        return await environment_for(self.environments, needed, selection.entry, runtimes)

    def _persist(self, request: "_Request", code: Path) -> None:
        from reconciler.staging.persist import link_persisted, require_place

        for path in request.build.recipe.persist:
            require_place(code, path)
        builds = self.builds(request.app)
        earlier = [builds / build / _CODE for build in reversed(staged.build_ids(builds))]
        link_persisted(code, request.build.recipe.persist, request.kept, earlier, has_written)

    def _previous(self, app: str) -> Mapping[str, str]:
        """Return what the environment of the app's newest build was made from; empty if there is none."""
        found = self._newest(app)
        return {} if found is None or not found.environment else self.environments.facts(found.environment)

    def _previous_runtime(self, app: str) -> str | None:
        """Return the version of the Python that was chosen for the app's newest build; None if it was named."""
        found = self._newest(app)
        return None if found is None or found.runtime_named or not found.python_version else found.python_version

    def _newest(self, app: str) -> Staged | None:
        records = staged.records(self.builds(app))
        return staged.read(records[-1].parent, self.boot) if records else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    app: str
    build: Build
    log: Log
    progress: Progress
    kept: Path
    cell: BuildCell | None


def _staged(directory: Path, selection: Selection, environment: Environment, runtime: str) -> Staged:
    entry, program = selection.entry, selection.program
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
        python_advice=selection.python_advice,
        command=() if program is None else program.command,
        listen="port" if program is None else program.listen,
        runtime=runtime,
    )


def _worker_class(entry: EntryPoint, environment: Environment) -> str:
    return environment.asgi_worker if entry.interface == "asgi" else "sync"


def _finish(unfinished: Path, selection: Selection, made: Staged, boot: str) -> None:
    served = require_within(unfinished / _CODE, Path(selection.entry.chdir))
    if selection.entry.settings is not None:
        django.write_module(served, selection.entry.settings)
    if selection.entry.expression is not None:
        write_app(served, selection.entry.expression)
    _complete(unfinished, made, boot)


def _complete(unfinished: Path, made: Staged, boot: str) -> None:
    staged.write(made, unfinished, boot)
    remove(Path(made.directory))  # a directory that does not count as finished
    unfinished.rename(made.directory)
