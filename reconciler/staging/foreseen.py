"""Foresee what staging a source would refuse, from a look at it in place: nothing of it runs, and nothing is copied.

Only what is certain is told: a source whose ignore file decides what belongs to it, or whose look takes too long, is
left to staging.
"""

import os
import re
import sys
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.gunicorn_fields import why_unfit
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.dependency_file import dependency_file
from reconciler.staging.detection.entry_point import EntryPoint, detect
from reconciler.staging.detection.modules import find
from reconciler.staging.detection.programs.languages import how_to_install, language_of, missing_programs
from reconciler.staging.detection.programs.program import ServingProgram
from reconciler.staging.detection.programs.recognition import needs_python, serving_program
from reconciler.staging.detection.python_version import choose_runtime, named_runtime, requires_python
from reconciler.staging.detection.runtimes import Runtime, discover, program_names
from reconciler.staging.detection.target import SOURCES
from reconciler.staging.detection.unread import missing_packages
from reconciler.staging.environments.absent_module import absent_module, meant_instead, modules_near_top
from reconciler.staging.errors import StagingError
from reconciler.staging.source.allowance import Allowance, allowing
from reconciler.staging.source.names import IGNORE_FILE
from reconciler.staging.source.reading import LARGEST_LOCK, source_text

_WITHIN_S = 5.0
_ALIKE = 0.8
_NAMED = re.compile(r"(?:c?python[-@]?)?(?P<version>\d+(?:\.\d+)?)(?:\.x|\.\*)?")

# The field of the manifest that is at fault, or that would help, and what is wrong.
Foreseen = tuple[str, str]


class HostPythons:
    """The interpreters of this host: the names of their programs, and what each is, for which it has to be run."""

    def __init__(self, extra: tuple[str, ...]) -> None:
        self._extra = extra

    def minors(self) -> Iterator[str]:
        """Yield the minor version of this interpreter, then those of Python 3 that the names of programs stand for."""
        yield f"3.{sys.version_info.minor}"
        yield from self._named

    @cached_property
    def _named(self) -> frozenset[str]:
        names = (re.fullmatch(r"python(3\.(?:[6-9]|\d\d))", name) for name in program_names(self._extra))
        return frozenset(name[1] for name in names if name is not None)

    @cached_property
    def all(self) -> tuple[Runtime, ...]:
        """Every interpreter. Each one is run, as `reconciler runtimes` does."""
        return discover(self._extra)


def foreseen(
    code: Path, recipe: Recipe, pythons: HostPythons, of_gunicorn: tuple[str, ...] = ()
) -> tuple[Foreseen, ...]:
    """Return what staging would refuse of the source in the directory `code`. Blocks for at most a few seconds.

    `of_gunicorn` are fields of the manifest that no other program heeds, and with which none starts.
    """
    if (code / IGNORE_FILE).exists():
        return ()
    try:
        with allowing(Allowance(within_s=_WITHIN_S)):
            return tuple(_Look(code, recipe, pythons, of_gunicorn).found())
    except (StagingError, OSError, RecursionError):  # the look ended early
        return ()


@dataclass(frozen=True, slots=True)
class _Look:
    code: Path
    recipe: Recipe
    pythons: HostPythons
    of_gunicorn: tuple[str, ...]

    def found(self) -> Iterator[Foreseen]:
        program = serving_program(self.code, self.recipe)
        if program is not None:
            yield from ((field, why_unfit(_language(program))) for field in self.of_gunicorn)
            for named, name in missing_programs(build=program.build, command=program.command):
                missing = f"there is no program '{name}' on this host: {how_to_install(name)}"
                yield named if getattr(self.recipe, named) else "path", missing
            if not needs_python(self.code, self.recipe, program):
                return
        if message := _refused(self._runtime):
            yield "runtime" if self.recipe.runtime else "path", message
        try:
            file = dependency_file(self.code, self.recipe.dependencies)
        except StagingError as error:
            yield "dependencies" if self.recipe.dependencies else "path", str(error)
            return
        if program is not None:
            return
        field = "entrypoint" if self.recipe.entrypoint else "path"
        try:
            entry = detect(self.code, self.recipe.entrypoint, file.rpartition("/")[0])
        except StagingError as error:
            yield field, str(error)
            return
        if entry.installed:
            message = self._absent(entry, file)
        else:
            message = "" if file or self._is_python_2() else missing_packages(self.code, entry)
        if message:
            yield field if entry.installed else "path", message

    def _runtime(self) -> None:
        """Raise StagingError if no interpreter of this host will do; they are run only if their names do not tell."""
        if (self.recipe.runtime or "").startswith("/"):
            if not os.access(self.recipe.runtime or "", os.X_OK):
                raise StagingError(f"cannot choose a runtime: there is no program {self.recipe.runtime}")
            return
        pinned = named_runtime(self.code)
        minors = {_minor(name) for name in (self.recipe.runtime, pinned) if name is not None} - {"3"}
        if minors <= {next(iter(minors), "")}:
            bounds = requires_python(self.code).any_patch()
            likely = (each for each in self.pythons.minors() if not minors or each in minors)
            if any(f"{each}.{patch}" in bounds for each in likely for patch in (0, 99)):
                return
        choose_runtime(self.pythons.all, self.recipe.runtime, self.code)

    def _is_python_2(self) -> bool:
        """Return whether the code may be of a Python whose standard library is another."""
        named = self.recipe.runtime or named_runtime(self.code) or ""
        return named.startswith("/") or _minor(named).startswith("2")

    def _absent(self, entry: EntryPoint, file: str) -> str:
        """Return that the module of an entry point is nowhere, "" if a package that is required may bring it."""
        module = entry.target.partition(":")[0]
        top = module.partition(".")[0]
        tops = [self.code / file.rpartition("/")[0], self.code, self.code / SOURCES]
        is_ours = any(find(top, each) for each in tops)
        meant = get_close_matches(module, modules_near_top(self.code), n=1, cutoff=_ALIKE)
        if file and not is_ours and (not meant or self._may_bring(file, top)):
            return ""
        said = absent_module(entry, self.code)
        return f"{said}{meant_instead(entry, self.code)}" if said else ""

    def _may_bring(self, file: str, module: str) -> bool:
        """Return whether the dependency file has the name of a module in it, however it is written."""
        text = source_text(self.code / file, most=LARGEST_LOCK)
        return re.sub(r"[-_.]+", "-", module.lower()) in re.sub(r"[-_.]+", "-", text.lower())


def _refused(check: Callable[[], None]) -> str:
    try:
        check()
    except StagingError as error:
        return str(error)
    return ""


def _language(program: ServingProgram) -> str:
    language = language_of(program.language_program)
    return program.name if language is None else language.title


def _minor(name: str) -> str:
    """Return the version that a runtime is named by, if it is a major or a minor one; otherwise the name."""
    named = _NAMED.fullmatch(name.strip().lower())
    return named["version"] if named is not None else "3" if name == "python3" else name
