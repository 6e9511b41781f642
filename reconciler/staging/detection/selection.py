"""Select the runtime, the entry point and the dependencies of a build from its code and recipe.

Everything selected has a reason in an operator's words.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.code_commands import NO_COMMANDS, CodeCommands
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.dependencies import Dependencies, DependencyOptions, dependencies
from reconciler.staging.detection.entry_point import EntryPoint, detect
from reconciler.staging.detection.offline import OfflinePackages, find_offline_packages
from reconciler.staging.detection.pkg_resources import imports_pkg_resources
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.detection.python_version import PythonConstraint, choose_runtime
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.static_files import static_files
from reconciler.staging.detection.unread import missing_packages, unread_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """How to install and serve an app; `because` says why the runtime was chosen.

    `runtime_named` says that a manifest or a file names the runtime: otherwise it is the daemon's choice, and
    `python_advice` says how to get another. `notes` are what an operator should know of the selection.
    `imports_pkg_resources` says that the code does. `commands` are what the code asks to run before it serves,
    `missing` says what it imports and nothing installs. `program` serves in place of gunicorn, if any.
    """

    runtime: Runtime
    because: str
    runtime_named: bool
    python_advice: str
    notes: tuple[str, ...]
    entry: EntryPoint
    dependencies: Dependencies
    offline: OfflinePackages | None
    commands: CodeCommands = NO_COMMANDS
    missing: str = ""
    imports_pkg_resources: bool = False
    program: ServingProgram | None = None

    def lines(self) -> Iterator[str]:
        """Yield lines for the staging log: what was selected, and why."""
        yield f"runtime: {self.runtime.description}, {self.runtime.path} ({self.because})"
        if self.program is None:
            yield f"entry point: {self.entry.target} ({self.entry.interface}; {self.entry.because})"
        else:
            yield self.program.line
        for reported in self.entry.reported:
            yield f"entry point: ignored: {reported}"
        yield f"dependencies: {self.dependencies.file or 'none'} ({self.dependencies.because})"
        for command in (self.commands.collect, self.commands.release):
            if command:
                yield f"before it serves: {command}"
        if self.missing:
            yield self.missing
        yield from self.notes
        if self.offline is not None:
            yield f"packages: from {self.offline.name} in the source"


def select(
    code: Path,
    recipe: Recipe,
    runtimes: tuple[Runtime, ...],
    previous: str | None = None,
    program: ServingProgram | None = None,
) -> Selection:
    """Select from the code; raises StagingError if something is missing or ambiguous. Blocks.

    `previous` is the version of the runtime that was chosen for the build before, None if it was named; `program`
    serves the app in place of gunicorn.
    """
    options = DependencyOptions(file=recipe.dependencies, extras=recipe.extras, groups=recipe.groups)
    found = dependencies(code, options)
    choice = choose_runtime(runtimes, recipe.runtime, code, python_of_lock(found), previous)
    if program is not None:
        return Selection(
            runtime=choice.runtime,
            because=choice.because,
            runtime_named=choice.named,
            python_advice=choice.advice,
            notes=(*filter(None, (choice.note,)), *program.notes),
            entry=EntryPoint(target="", interface="wsgi", because=program.because, reported=program.reported),
            commands=CodeCommands(release=program.release),
            dependencies=found,
            offline=find_offline_packages(code),
            imports_pkg_resources=imports_pkg_resources(code),
            program=program,
        )
    entry = detect(code, recipe.entrypoint, found.directory)
    static = static_files(code, entry)
    unread = unread_files(code, found)
    return Selection(
        runtime=choice.runtime,
        because=choice.because,
        runtime_named=choice.named,
        python_advice=choice.advice,
        notes=tuple(filter(None, (choice.note,))),
        entry=replace(entry, reported=(*entry.reported, *static.reported, *unread, *_unused(recipe))),
        missing=missing_packages(code, entry) if found.kind == "none" and choice.runtime.release >= (3,) else "",
        commands=CodeCommands(
            collect="" if "collectstatic" in entry.release else static.collect, release=entry.release
        ),
        dependencies=found,
        offline=find_offline_packages(code),
        imports_pkg_resources=imports_pkg_resources(code),
    )


def _unused(recipe: Recipe) -> tuple[str, ...]:
    """Return what of the manifest has no effect on an app that gunicorn serves."""
    if not recipe.build:
        return ()
    return ("`build` of the manifest (it does not run where gunicorn serves; build before the source is copied)",)


def python_of_lock(found: Dependencies) -> PythonConstraint | None:
    """Return the Pythons for which a lock file was made; None for other dependencies."""
    lock = found.lock
    if lock is None:
        return None
    return PythonConstraint(file=found.file, pythons=found.python, fix=lock.fix, any_patch=lock.any_patch)
