"""Describe a lock file format: how the file is read, which Pythons and paths it names, how it becomes requirements.

A format is a value: what runs programs reads it, and nothing decides by the name of a file.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.staging.detection.python_bounds import PythonBounds
from reconciler.staging.detection.tables import as_table
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import LARGEST_LOCK

Lock: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program from the package index: `needs` is what to install, `newest` the last Python (3.x) it runs on."""

    name: str
    needs: tuple[str, ...]
    newest: int = 99


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What the command lines of an export are made from.

    `program` starts the tool, `python` is the app's interpreter (None if uv cannot use it), `output` the requirements
    file to write.
    """

    program: tuple[str, ...]
    python: str | None
    extras: tuple[str, ...]
    groups: tuple[str, ...]
    output: Path


CommandLine: TypeAlias = Callable[[ExportOptions], tuple[str, ...]]


def _never(_: Path) -> bool:
    return False


def _not_known(_: Path, __: Lock) -> bool:
    return False


def _any_python(_: Path, __: Lock) -> str:
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportByTool:
    """Command lines that check a lock file against its project, and export it.

    `tool` has to be installed first; None stands for uv, which every host has. Output of `check` that matches `stale`
    says that the project changed; it is not run where `matches` knows that the lock belongs to the project in its
    directory. `checked_with` returns the minor version of the Python that `check` needs, "" for any. `to_stdout` marks
    an export that is printed instead of written to a file.
    """

    tool: Tool | None
    check: CommandLine
    export: CommandLine
    stale: re.Pattern[str]
    matches: Callable[[Path, Lock], bool] = _not_known
    checked_with: Callable[[Path, Lock], str] = _any_python
    to_stdout: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportByConversion:
    """Functions that do the same without a program.

    `mismatch` compares the lock with the project's table for a version of Python and returns the difference in words,
    "" for none; `requirements` returns the requirements file for the chosen extras and groups.
    """

    mismatch: Callable[[Lock, Mapping[str, Any], str], str]
    requirements: Callable[[Lock, tuple[str, ...], tuple[str, ...]], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockFormat:
    """A lock file format, all that staging knows of it.

    `project` is the file that a lock is made from, `project_digest` a digest of what that file declares, and `fix` the
    command that brings a stale lock up to date. `declared_pythons` returns version specifiers, alternatives between
    `||`, and `any_patch` says that the lock serves every patch release of a minor version that it pins; `local_paths`
    returns what is built from the source tree. `needs_lock` tells whether a directory is a project of the tool, which
    cannot be installed without its lock; `installs_project` whether the project itself belongs to the environment,
    `optional_project` that it is served from where it is if it cannot be built.
    `has_extras` is False where only groups exist, `installed_by_uv` True where uv installs from the file itself.
    """

    file: str
    project: str
    project_digest: Callable[[Path], str]
    fix: str
    parse: Callable[[str], Any]
    declared_pythons: Callable[[Lock], str]
    local_paths: Callable[[Lock], Iterable[str]]
    export: ExportByTool | ExportByConversion
    needs_lock: Callable[[Path], bool] = _never
    installs_project: Callable[[Path], bool] = _never
    any_patch: bool = False
    optional_project: bool = False
    has_extras: bool = True
    installed_by_uv: bool = False

    def read(self, path: Path) -> Lock:
        """Return the content of a lock file; raises StagingError if it is malformed."""
        try:
            return as_table(self.file, "the document", self.parse(text_of(path, self.file, most=LARGEST_LOCK)))
        except (OSError, ValueError) as error:
            raise StagingError(f"cannot read {self.file}: {error}") from error
        except RecursionError as error:
            raise StagingError(f"cannot read {self.file}: it is nested too deeply") from error

    def pythons(self, lock: Lock) -> PythonBounds:
        """Return the Pythons a lock was made for; every Python if it names none."""
        try:
            return PythonBounds.parse(self.declared_pythons(lock))
        except ValueError as error:
            raise StagingError(f"cannot read {self.file}: {error}") from error

    def paths(self, lock: Lock) -> tuple[str, ...]:
        """Return the directories and files, relative to the lock, that packages are built from; not the project."""
        return tuple(dict.fromkeys(path for path in self.local_paths(lock) if path and path != "."))

    def stale(self, detail: str = "", without: str = "") -> StagingError:
        """Return the error for a lock that no longer matches its project, which can be installed `without` it."""
        difference = f" ({detail})" if detail else ""
        other = f", or set `dependencies: {without}` in the manifest to install without the lock" if without else ""
        return StagingError(
            f"cannot use {self.file}: it does not match {self.project}{difference}; run `{self.fix}`{other}",
            retry="never",
        )

    def missing(self) -> StagingError:
        """Return the error for a project of the tool that comes without its lock."""
        return StagingError(f"cannot install from {self.project}: {self.file} is missing; run `{self.fix}`")


def repeated(option: str, values: tuple[str, ...]) -> tuple[str, ...]:
    """Return command-line words that give `option` once for each value."""
    return tuple(word for value in values for word in (option, value))
