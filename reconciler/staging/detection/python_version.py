"""Choose the runtime of a build from its manifest and the files of its code.

`.python-version` and `runtime.txt` name a runtime as a manifest does; `requires-python` and lock files constrain it.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from packaging.specifiers import SpecifierSet

from reconciler.staging.detection import tables
from reconciler.staging.detection.pyproject import FILE, project_table
from reconciler.staging.detection.runtimes import Runtime, choose, table
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import StagingError

# Of a runtime's name and of bounds; numbers of thousands of digits are no versions.
_LONGEST_NAME = 100
_LONGEST_BOUNDS = 1000
# Files that name a runtime.
PINS = (".python-version", "runtime.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonConstraint:
    """The Pythons that a file of the code allows; `fix` is a command that changes the file."""

    file: str
    pythons: SpecifierSet
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeChoice:
    """The runtime of a build, and why it was chosen; `pinned` if a file of the code names it."""

    runtime: Runtime
    because: str
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A runtime that the manifest or a file names."""

    name: str
    by: str
    pinned: bool


def choose_runtime(
    runtimes: tuple[Runtime, ...], manifest: str | None, code: Path, lock: PythonConstraint | None = None
) -> RuntimeChoice:
    """Return the runtime that the manifest names, else the code, else the newest that fits; raises StagingError.

    `lock` is what a lock file was made for: it constrains the choice as requires-python does.
    """
    constraints = [each for each in (PythonConstraint(file=FILE, pythons=requires_python(code)), lock) if each]
    pin = _pin(code)
    named = _Named(name=manifest, by="`runtime` in the manifest", pinned=False) if manifest else pin
    try:
        if named is None:
            return _newest(runtimes, constraints)
        choice = RuntimeChoice(runtime=choose(runtimes, named.name), because=named.by, pinned=named.pinned)
        _check(choice, named, pin, constraints)
    except StagingError as error:
        origin = f" (from {named.by})" if named and named.pinned else ""
        raise StagingError(f"cannot choose a runtime{origin}: {error}") from error
    return choice


def requires_python(code: Path) -> SpecifierSet:
    """Return `project.requires-python` of pyproject.toml; every Python if there is none."""
    specifiers = tables.text(FILE, project_table(code), "requires-python", "")
    if len(specifiers) > _LONGEST_BOUNDS:
        raise StagingError(f"cannot read requires-python in {FILE}: it has {len(specifiers)} characters")
    try:
        return SpecifierSet(specifiers)
    except ValueError as error:
        raise StagingError(f"cannot read requires-python in {FILE}: {error}") from error


def _newest(runtimes: tuple[Runtime, ...], constraints: list[PythonConstraint]) -> RuntimeChoice:
    required = SpecifierSet(",".join(str(each.pythons) for each in constraints if each.pythons))
    fitting = [runtime for runtime in runtimes if required.contains(runtime.version, prereleases=True)]
    if required and not any(runtime.name.startswith("python") for runtime in fitting):
        files = [each.file for each in constraints if each.pythons]
        verb = "requires" if len(files) == 1 else "require"
        raise StagingError(f"{' and '.join(files)} {verb} Python {required}; this host has\n{table(runtimes)}")
    because = f"the newest that is {required}" if required else "the newest on this host"
    return RuntimeChoice(runtime=choose(fitting, None), because=because)


def _check(choice: RuntimeChoice, named: _Named, pin: _Named | None, constraints: list[PythonConstraint]) -> None:
    """Raise StagingError if a file of the code contradicts the chosen runtime."""
    chosen = f"{named.by} is {named.name} ({choice.runtime.description})"
    if pin is not None and not named.pinned and not _agrees(pin.name, choice.runtime):
        raise StagingError(f"{pin.by} names {pin.name}, but {chosen}; change one of them")
    for constraint in constraints:
        if not constraint.pythons.contains(choice.runtime.version, prereleases=True):
            fix = f", or run `{constraint.fix}`" if constraint.fix else ""
            raise StagingError(
                f"{constraint.file} requires Python {constraint.pythons}, but {chosen}; change one of them{fix}"
            )


def _agrees(name: str, runtime: Runtime) -> bool:
    """Tell whether a name stands for this runtime, as far as its first two numbers go."""
    expected = _minor(name)
    return runtime.release[: len(expected)] == expected


def _pin(code: Path) -> _Named | None:
    """Return the runtime that the files of the code name; raises StagingError if they contradict each other."""
    named = [found for file in PINS if (found := _named_in(code, file))]
    for first, second in pairwise(named):
        if not _agree(first.name, second.name):
            raise StagingError(
                f"cannot choose a runtime: {first.by} names {first.name}, but {second.by} names {second.name};"
                " change or remove one of them"
            )
    return named[0] if named else None


def _named_in(code: Path, file: str) -> _Named | None:
    try:
        lines = text_of(code / file, file).splitlines()
    except FileNotFoundError:
        return None
    names = (line.partition("#")[0].strip() for line in lines)
    name = next((name for name in names if name and name != "system"), None)
    if name is not None and len(name) > _LONGEST_NAME:
        raise StagingError(f"cannot choose a runtime: {file} names one of {len(name)} characters")
    return None if name is None else _Named(name=name, by=file, pinned=True)


def _agree(one: str, other: str) -> bool:
    """Tell whether two names stand for one minor version, as far as both say."""
    pairs = zip(_minor(one), _minor(other), strict=False)
    return all(first == second for first, second in pairs)


def _minor(name: str) -> tuple[int, ...]:
    numbers = re.search(r"(\d+)(?:\.(\d+))?", name)
    return () if numbers is None else tuple(int(number) for number in numbers.groups() if number)
