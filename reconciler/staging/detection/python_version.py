"""Choose the runtime of a build from its manifest and the files of its code.

`.python-version` and `runtime.txt` name a runtime as a manifest does, `requires-python` and lock files constrain it.
What files meant for other tools name is preferred among those that are left.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.retry import Retry
from reconciler.staging.detection import tables
from reconciler.staging.detection.pyproject import FILE, project_table
from reconciler.staging.detection.python_bounds import PythonBounds
from reconciler.staging.detection.python_hint import PythonHint, python_hint
from reconciler.staging.detection.runtimes import Runtime, choose, is_supported, names, same_minor
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import StagingError

# Of a runtime's name and of bounds; numbers of thousands of digits are no versions.
_LONGEST_NAME = 100
_LONGEST_BOUNDS = 1000
# Files that name a runtime.
PINS = (".python-version", "runtime.txt")


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonConstraint:
    """The Pythons that a file of the code allows; `fix` is a command that changes the file.

    `any_patch` says that another patch release does as well as one that the file pins and the host lacks.
    """

    file: str
    pythons: PythonBounds
    fix: str = ""
    any_patch: bool = True

    def allows(self, runtime: Runtime) -> bool:
        """Tell whether the file allows a runtime, or another patch release of its minor version."""
        return runtime.version in self.pythons or (self.any_patch and runtime.version in self.pythons.any_patch())


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeChoice:
    """The runtime of a build, and why it was chosen; `pinned` if a file of the code names it.

    `named` says that a manifest or a file names it: otherwise it is the daemon's choice, and `another` is the name of
    one that would do as well, "" for none. `note` says what an operator should know of the choice.
    """

    runtime: Runtime
    because: str
    pinned: bool = False
    named: bool = True
    another: str = ""
    note: str = ""

    @property
    def advice(self) -> str:
        """The end of a message about an app that fails on a Python that nothing names; "" where something does."""
        if self.named:
            return ""
        way = f": `runtime: {self.another}` in the manifest chooses another" if self.another else ""
        return f"on {self.runtime.name}, which neither the app nor its manifest names{way}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named:
    """A runtime that the manifest or a file names."""

    name: str
    by: str
    pinned: bool


def choose_runtime(
    runtimes: tuple[Runtime, ...],
    manifest: str | None,
    code: Path,
    lock: PythonConstraint | None = None,
    previous: str | None = None,
) -> RuntimeChoice:
    """Return the runtime that the manifest names, else the code, else one that fits; raises StagingError.

    `lock` is what a lock file was made for: it constrains the choice as requires-python does. `previous` is the version
    of the runtime that the daemon chose for the build before: its minor version is kept while it is there.
    """
    any_patch = lock is None or lock.any_patch
    required = PythonConstraint(file=FILE, pythons=requires_python(code), any_patch=any_patch)
    constraints = [required, *filter(None, (lock,))]
    pin = _pin(code)
    named = _Named(name=manifest, by="`runtime` in the manifest", pinned=False) if manifest else pin
    try:
        if named is None:
            return _preferred(runtimes, constraints, previous, python_hint(code))
        runtime = _named_runtime(runtimes, named)
        given_up = pin if pin is not None and not named.pinned and not _can_be_had(runtimes, pin) else None
        note = (
            _note(runtime, named) if given_up is None else f"{given_up.by} names {given_up.name}, which this host lacks"
        )
        choice = RuntimeChoice(runtime=runtime, because=named.by, pinned=named.pinned, note=note)
        _check(choice, named, pin if given_up is None else None, constraints)
    except StagingError as error:
        origin = f" (from {named.by})" if named and named.pinned else ""
        raise StagingError(f"cannot choose a runtime{origin}: {error}") from error
    return choice


def named_runtime(code: Path) -> str | None:
    """Return the runtime that the files of the code name, None if none does; raises StagingError if two disagree."""
    pin = _pin(code)
    return None if pin is None else pin.name


def requires_python(code: Path) -> PythonBounds:
    """Return `project.requires-python` of pyproject.toml; every Python if there is none."""
    specifiers = tables.text(FILE, project_table(code), "requires-python", "")
    if len(specifiers) > _LONGEST_BOUNDS:
        raise StagingError(f"cannot read requires-python in {FILE}: it has {len(specifiers)} characters")
    try:
        return PythonBounds.parse(specifiers)
    except ValueError as error:
        raise StagingError(f"cannot read requires-python in {FILE}: {error}") from error


def _named_runtime(runtimes: tuple[Runtime, ...], named: _Named) -> Runtime:
    """Return the runtime of a name. A file may pin a patch release: most were written where any can be had."""
    try:
        return choose(runtimes, named.name)
    except StagingError:
        other = same_minor(runtimes, named.name) if named.pinned else None
        if other is None:
            raise
        return other


def _can_be_had(runtimes: tuple[Runtime, ...], pin: _Named) -> bool:
    """Tell whether this host has a runtime that a file names: the manifest is the way out where it has none."""
    try:
        _named_runtime(runtimes, pin)
    except StagingError:
        return False
    return True


def _note(runtime: Runtime, named: _Named) -> str:
    numbers = re.search(r"(?<!\d)\d{1,9}\.\d{1,9}\.\d{1,9}", named.name)
    if named.name.startswith("/") or numbers is None or runtime.version.startswith(numbers[0]):
        return ""
    return f"{named.by} names {named.name}, which this host lacks; it runs on {runtime.version}"


def _preferred(
    runtimes: tuple[Runtime, ...], constraints: list[PythonConstraint], previous: str | None, hint: PythonHint | None
) -> RuntimeChoice:
    """Return the runtime of a hint if the constraints allow it, else the daemon's choice, with what became of it."""
    required = [each for each in constraints if each.pythons]
    fitting = _fitting(runtimes, required)
    hinted = None if hint is None else _of_minor(fitting, hint.version)
    if hint is not None and hinted is not None:
        return RuntimeChoice(runtime=hinted, because=hint.file)
    choice = _newest_or_kept(fitting, required, previous)
    if hint is None:
        return choice
    files = " and ".join(dict.fromkeys(each.file for each in required))
    reason = "this host lacks" if _of_minor(runtimes, hint.version) is None else f"{files} rules out"
    note = f"{hint.file} names Python {hint.version}, which {reason}; it runs on {choice.runtime.version}"
    return replace(choice, note="; ".join(filter(None, (note, choice.note))))


def _fitting(runtimes: tuple[Runtime, ...], required: list[PythonConstraint]) -> list[Runtime]:
    """Return the runtimes that all constraints allow."""
    exact = [runtime for runtime in runtimes if all(runtime.version in each.pythons for each in required)]
    fitting = exact or [runtime for runtime in runtimes if all(each.allows(runtime) for each in required)]
    if required and not any(runtime.name.startswith("python") for runtime in fitting):
        files = " and ".join(dict.fromkeys(each.file for each in required))
        verb = "requires" if len(required) == 1 else "require"
        lacks = f"{files} {verb} Python {_bounds(required)}; this host has {names(runtimes)}"
        raise StagingError(lacks, retry="later")
    return fitting


def _bounds(required: list[PythonConstraint]) -> str:
    return " and ".join(dict.fromkeys(str(each.pythons) for each in required))


def _newest_or_kept(fitting: list[Runtime], required: list[PythonConstraint], previous: str | None) -> RuntimeChoice:
    """Return the newest of the runtimes that fit, or the one of the build before."""
    newest = choose(fitting, None)
    kept = _of_minor(fitting, previous)
    because = f"the newest that is {_bounds(required)}" if required else "the newest on this host"
    if kept is not None and kept.release[:2] != newest.release[:2]:
        because = f"as the build before it; `runtime: {newest.name}` in the manifest would choose the newest"
    chosen = newest if kept is None else kept
    missing = [each for each in required if chosen.version not in each.pythons]
    note = f"{missing[0].file} requires Python {missing[0].pythons}, which this host lacks" if missing else ""
    return RuntimeChoice(
        runtime=chosen,
        because=because,
        named=False,
        another=_another(fitting, chosen),
        note=f"{note}; it runs on {chosen.version}" if note else "",
    )


def _another(fitting: Sequence[Runtime], chosen: Runtime) -> str:
    """Return the name of the newest runtime that is older than the chosen one, else of the newest other one."""
    others = [
        each
        for each in fitting
        if each.release[:2] != chosen.release[:2] and each.name.startswith("python") and each.stable
    ]
    supported = [each for each in others if is_supported(each)]
    best = max(supported, key=lambda each: (each.release[:2] < chosen.release[:2], each.release), default=None)
    return "" if best is None else best.name


def _of_minor(runtimes: Sequence[Runtime], version: str | None) -> Runtime | None:
    """Return the newest patch release of the minor version that a version is of, None if there is none."""
    numbers = re.match(r"\d+\.\d+", version or "")
    try:
        return None if numbers is None else choose(runtimes, numbers[0])
    except StagingError:
        return None


def _check(choice: RuntimeChoice, named: _Named, pin: _Named | None, constraints: list[PythonConstraint]) -> None:
    """Raise StagingError if a file of the code contradicts the chosen runtime."""
    chosen = f"{named.by} is {named.name} ({choice.runtime.description})"
    # Another Python may be installed that has the same name: `python3`, or a path.
    retry: Retry | None = "later" if named.name.startswith("/") or len(_minor(named.name)) < 2 else None
    if pin is not None and not named.pinned and not _agrees(pin.name, choice.runtime):
        raise StagingError(f"{pin.by} names {pin.name}, but {chosen}; change one of them", retry=retry)
    for constraint in constraints:
        if not constraint.allows(choice.runtime):
            fix = f", or run `{constraint.fix}`" if constraint.fix else ""
            raise StagingError(
                f"{constraint.file} requires Python {constraint.pythons}, but {chosen}; change one of them{fix}",
                retry=retry,
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
