"""An app's code in, what it says itself about the Python it needs out.

`.python-version` or `runtime.txt` name a runtime, as a manifest would; `requires-python` bounds whichever is chosen.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.specifiers import SpecifierSet

from reconciler.staging.detection import tables
from reconciler.staging.detection.runtimes import Runtime, choose, table
from reconciler.staging.errors import StagingError

_FILE = "pyproject.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """The Pythons that a file of the code is for; `way_out` is what else could be done about one that does not fit."""

    file: str
    pythons: SpecifierSet
    way_out: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The runtime of a build, and why it is this one."""

    runtime: Runtime
    because: str


def chosen(runtimes: tuple[Runtime, ...], asked: str | None, code: Path, also: Bound | None = None) -> Choice:
    """The runtime the manifest asks for, else the code itself, else the newest; StagingError when there is none.

    `also` is what a lock file was made for: it bounds the choice as requires-python does.
    """
    bounds = [bound for bound in (Bound(file="pyproject.toml", pythons=requires_python(code)), also) if bound]
    required = SpecifierSet(",".join(str(bound.pythons) for bound in bounds if bound.pythons))
    own = _named(code)
    named = (asked, "runtime: in the manifest") if asked else own
    try:
        if named is not None:
            choice = Choice(runtime=choose(runtimes, named[0]), because=named[1])
            if asked and own is not None and not _agrees(own[0], choice.runtime):
                raise StagingError(
                    f"{own[1]} asks for {own[0]}, and {choice.because} for {asked}"
                    f" ({choice.runtime.description}): change one of the two"
                )
            for bound in bounds:
                if not bound.pythons.contains(choice.runtime.version, prereleases=True):
                    raise StagingError(
                        f"{bound.file} is for python {bound.pythons}, and {choice.because} asks for {named[0]}"
                        f" ({choice.runtime.description}): change one of the two{bound.way_out}"
                    )
            return choice
        fitting = [runtime for runtime in runtimes if required.contains(runtime.version, prereleases=True)]
        if required and not any(runtime.name.startswith("python") for runtime in fitting):
            files = " and ".join(bound.file for bound in bounds if bound.pythons)
            raise StagingError(f"{files} asks for python {required}; this host has\n{table(runtimes)}")
    except StagingError as error:
        origin = f" (from {named[1]})" if named and not asked else ""
        raise StagingError(f"cannot choose a runtime{origin}: {error}") from error
    because = f"the newest that is {required}" if required else "the newest on this host"
    return Choice(runtime=choose(fitting, None), because=because)


def requires_python(code: Path) -> SpecifierSet:
    """`project.requires-python` of pyproject.toml; everything when there is none."""
    said = tables.text(_FILE, project_table(code), "requires-python", "")
    try:
        return SpecifierSet(said)
    except ValueError as error:
        raise StagingError(f"cannot read requires-python in pyproject.toml: {error}") from error


def project_table(code: Path) -> Mapping[str, Any]:
    """The `[project]` table of pyproject.toml; empty when there is none."""
    return tables.table(_FILE, pyproject(code), "project")


def tool_table(code: Path, tool: str) -> Mapping[str, Any]:
    """The `[tool.…]` table of pyproject.toml; empty when there is none."""
    return tables.table(_FILE, pyproject(code), "tool", tool)


def pyproject(code: Path) -> dict[str, Any]:
    """All of pyproject.toml; empty when there is none."""
    try:
        return tomllib.loads((code / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StagingError(f"cannot read {_FILE}: {error}") from error
    except RecursionError as error:
        raise StagingError(f"cannot read {_FILE}: it is nested too deep") from error


def _agrees(asked: str, runtime: Runtime) -> bool:
    """Whether a file asks for this kind of Python, as far as its first two numbers go."""
    numbers = re.search(r"(\d+)(?:\.(\d+))?", asked)
    if numbers is None:
        return True
    wanted = tuple(int(number) for number in numbers.groups() if number)
    return runtime.release[: len(wanted)] == wanted


def _named(code: Path) -> tuple[str, str] | None:
    for file in (".python-version", "runtime.txt"):
        try:
            lines = (code / file).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for line in lines:
            asked = line.partition("#")[0].strip()
            if asked and asked != "system":
                return asked, file
    return None
