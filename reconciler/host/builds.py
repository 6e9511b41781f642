"""The builds of each app on this host: staged, found again, removed.

An installation outlives its action: a crash of the app that has to be handled first costs it nothing.
"""

import asyncio
import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from reconciler.isolation.limiting import hold
from reconciler.linux.files import is_leftover
from reconciler.linux.listing import names_in
from reconciler.linux.removals import Removals
from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.revision import Build
from reconciler.planning.fingerprint import Json
from reconciler.planning.isolation.limits import Limits
from reconciler.planning.states import AppState
from reconciler.serving.live_instance import CannotStart
from reconciler.serving.programs.gunicorn import Code
from reconciler.staging.concurrency import DetachedWork
from reconciler.staging.progress import Phase
from reconciler.staging.stager import Staged, Stager
from reconciler.state.paths import StatePaths

if TYPE_CHECKING:
    from reconciler.serving.instances import Instances
    from reconciler.staging.build_cell import BuildCell

_MOST = 5000  # names in a directory, which an app may have filled
_IN_A_BUILD = Limits(processes=1024)  # many compilers at once, and far from all that a host has
_NO_FILES = (0, 0)
_NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})
_NONE: Mapping[str, CodeCommands] = MappingProxyType({})


class AppBuilds:
    """The finished builds of every app. `progress` is called with an app, its state and the phase of that.

    What builds an isolated app is confined, and in a cell, as its `instances` are.
    """

    def __init__(
        self,
        paths: StatePaths,
        stager: Stager,
        removals: Removals,
        progress: Callable[[str, AppState, Phase], None],
        *,
        instances: "Instances",
    ) -> None:
        self._paths = paths
        self._removals = removals
        self._stager = stager
        self._progress = progress
        self._confinements = instances.confinements
        self._cells = instances.cells
        self._builds = {name: stager.build_ids(name) for name in _directories(paths.apps)}
        found = {name: stager.commands(name, ids) for name, ids in self._builds.items()}
        self._commands: dict[str, Mapping[str, CodeCommands]] = {name: each for name, each in found.items() if each}
        self._staging: DetachedWork[Staged] = DetachedWork()
        self._written: dict[str, dict[str, tuple[str, ...]]] = {}

    def names(self) -> frozenset[str]:
        """Return the apps that have a directory here."""
        return frozenset(self._builds)

    def of(self, name: str) -> tuple[str, ...]:
        """Return the ids of an app's finished builds, the newest last."""
        return self._builds.get(name, ())

    def commands(self, name: str) -> Mapping[str, CodeCommands]:
        """Return the commands that the code of an app's builds asks for, by build."""
        return self._commands.get(name, _NONE)

    def remove_leftovers(self) -> None:
        """Remove what staging or removal left half done: found now, before anything is staged, removed in threads."""
        builds = (self._paths.builds(name) for name in self._builds)
        for directory in (self._paths.apps, self._paths.short_scratches, self._paths.wakeups, *builds):
            with suppress(OSError, RuntimeError):
                for found in filter(is_leftover, names_in(directory, _MOST)):
                    self._removals.begin(directory / found)

    async def stage(self, name: str, build: Build, app: App | None) -> str:
        """Make a build, and return what it consists of, as an app uses it. Raises StagingError, SourceChanged."""
        begun = self._staging.is_running(name)
        made_of, progress = (build.content, build.recipe), partial(self._progress, name, "staging")
        async with nullcontext() if begun else self._stager.entrance.inside(name, made_of, progress):
            staged = await self._staging.result(name, build.id, lambda: self._stage(name, build, self._cell(app)))
        self._builds[name] = (*self._without(name, build.id), build.id)
        if staged.commands:
            self._commands[name] = {**self.commands(name), build.id: staged.commands}
        return _summary(staged, () if app is None else [process.name for process in app.processes])

    async def remove(self, name: str, build: str) -> tuple[str, ...]:
        """Remove a build that nothing uses, and return the files that the app had written into it, which are kept."""
        kept = await asyncio.to_thread(self._stager.keep_written, name, build, self._paths.written(name, build))
        await self._removals.remove(self._stager.discard(name, build))
        self._builds[name] = self._without(name, build)
        if build in self.commands(name):
            self._commands[name] = {other: each for other, each in self.commands(name).items() if other != build}
        return kept

    async def cancel(self, name: str) -> None:
        """End the installation of an app that was removed, and forget its builds."""
        await self._staging.cancel(name)

    async def cancel_all(self) -> None:
        """End every installation that is under way."""
        await self._staging.cancel_all()

    def forget(self, name: str) -> None:
        """Forget the builds of an app that was removed."""
        self._builds.pop(name, None)
        self._commands.pop(name, None)
        self._written.pop(name, None)

    def mark_served(self, name: str, build: str) -> None:
        """Record that a build is about to serve; where the disk is full, it counts from when it was made."""
        with suppress(OSError):
            self._stager.mark_served(name, build)

    def written(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """Return the places an app has written to in its builds, by build, as last looked for."""
        return self._written.get(name, _NOTHING)

    async def look_for_written(self, builds: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
        """Look for files that apps have written into these builds; return those with some that had none before."""
        seen = await asyncio.to_thread(lambda: [self._stager.written(name, build) for name, build in builds])
        first = []
        for (name, build), found in zip(builds, seen, strict=True):
            known = self._written.get(name, {})
            if found.places != known.get(build, ()):
                self._written[name] = {**known, build: found.places}
                if build not in known:
                    first.append((name, build))
        return first

    def code(self, name: str, build: Build) -> Code:
        """Return what an instance of a finished build runs. Raises CannotStart when the build is damaged."""
        staged = self._stager.finished(name, build.id)
        if staged is None:
            self._builds[name] = self._without(name, build.id)
            raise CannotStart(f"build {build.id} of {name} is damaged and is staged again")
        return code_of(staged)

    def missing(self, name: str, build: str, *, of_python: bool) -> str:
        """Return what a finished build lacks, as the end of a message; "" for nothing.

        `of_python` says that it failed on what other Pythons have: then it is told how to get another.
        """
        staged = self._stager.finished(name, build)
        if staged is None:
            return ""
        lacks = (staged.missing, staged.python_advice if of_python else "")
        return "".join(f"; {text}" for text in lacks if text)

    async def suspect(self, name: str, build: str) -> bool:
        """Return whether the environment of a build that cannot start is damaged: then it is staged again."""
        return await self._stager.is_damaged(name, build)

    def reused_environment(self, name: str, build: str) -> bool:
        """Return whether a finished build got an environment that was in the store already."""
        staged = self._stager.finished(name, build)
        return staged is not None and staged.reused

    def _cell(self, app: App | None) -> "BuildCell | None":
        """Return where code of an app's packages runs, None for one that is not isolated."""
        if app is None or self._confinements is None or not app.isolation:
            return None
        from reconciler.staging.build_cell import BuildCell

        return BuildCell(
            app=app.name,
            directory=self._paths.build_cell(app.name),
            confines=self._confinements.builds.of_app(app.name, app.isolation),
        )

    async def _stage(self, name: str, build: Build, cell: "BuildCell | None") -> Staged:
        def progress(phase: Phase) -> None:
            entrance = self._stager.entrance
            (entrance.waits if phase.waits else entrance.goes_on)(name)
            if self._staging.is_awaited(name):
                self._progress(name, "staging", phase)

        log, kept = self._paths.log(name, "staging"), self._paths.persisted(name)
        if cell is None:
            return await self._stager.stage(name, build, log, progress, kept=kept)
        held = await asyncio.to_thread(self._cells.make, name, f"build-{build.id}", _IN_A_BUILD.controllers)
        try:
            hold(held, _IN_A_BUILD, (), _NO_FILES)
            cell = replace(cell, confines=partial(cell.confines, cells=held.entrances))
            return await self._stager.stage(name, build, log, progress, kept=kept, cell=cell)
        finally:
            await asyncio.shield(asyncio.to_thread(held.end))

    def _without(self, name: str, build: str) -> tuple[str, ...]:
        return tuple(b for b in self.of(name) if b != build)


def _directories(parent: Path) -> list[str]:
    return sorted(entry.name for entry in parent.iterdir() if not is_leftover(entry.name)) if parent.is_dir() else []


def _summary(staged: Staged, processes: Collection[str]) -> str:
    from reconciler.staging.detection.procfile import without_used  # only what makes builds needs it

    what = f"{shlex.join(staged.command)} on {staged.runtime}"
    if not staged.command and not staged.entrypoint:
        what = f"no web server, on {code_of(staged).runtime}"
    elif not staged.command:
        what = f"{staged.entrypoint} on python {staged.python_version} with gunicorn {staged.gunicorn_version}"
    environment = f"; environment {staged.because}" if staged.because else ""
    missing = f"; {staged.missing}" if staged.missing else ""
    ignored = without_used(staged.reported, processes)
    reported = f"; ignored: {', '.join(ignored)}" if ignored else ""
    notes = "".join(f"; {note}" for note in staged.notes)
    return f"{what}{environment}{missing}{reported}{notes}"


def code_of(staged: Staged) -> Code:
    """Return what an instance of a finished build runs."""
    return Code(
        directory=staged.code,
        python=staged.python,
        target=staged.entrypoint,
        worker_class=staged.worker_class,
        runtime=staged.runtime or (f"python {staged.python_version}" if staged.python else "the programs of this host"),
        settings=_settings_of(staged),
        command=staged.command,
        listen=staged.listen,
    )


def _settings_of(staged: Staged) -> dict[str, Json]:
    """Return the settings of gunicorn that the code itself brings; the manifest overrides them."""
    paths: dict[str, Json] = {"pythonpath": ",".join(staged.pythonpath)} if staged.pythonpath else {}
    return {**staged.gunicorn, **paths}
