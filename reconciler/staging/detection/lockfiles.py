"""A lock file in; the Pythons it is for and the paths of the tree it installs from, out. Nothing is resolved.

Formats: uv.lock, poetry.lock (its own), pylock.toml (PEP 751), Pipfile.lock (pipfile-spec 6).
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from reconciler.staging.detection.tables import as_table, listed, table, tables, text
from reconciler.staging.errors import StagingError

_PYLOCK = "pylock.toml"
_POETRY_BOUND = re.compile(r"(?P<kind>[\^~])\s*(?P<version>\d+(?:\.\d+)*)")


def read(path: Path) -> Mapping[str, Any]:
    """A lock file's content; StagingError."""
    try:
        if path.name == "Pipfile.lock":
            return as_table(path.name, "all of it", json.loads(path.read_bytes()))
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StagingError(f"cannot read {path.name}: {error}") from error
    except RecursionError as error:
        raise StagingError(f"cannot read {path.name}: it is nested too deep") from error


def pythons(name: str, lock: Mapping[str, Any]) -> SpecifierSet:
    """The Pythons a lock file was made for; every Python when it does not say."""
    try:
        return SpecifierSet(_pythons(name, lock))
    except ValueError as error:
        raise StagingError(f"cannot read {name}: {error}") from error


def paths(name: str, lock: Mapping[str, Any]) -> tuple[str, ...]:
    """The directories and files, relative to the lock file, that it has packages built from; not the project's own."""
    return tuple(dict.fromkeys(path for path in _paths(name, lock) if path and path != "."))


def misfit(lock: Mapping[str, Any], project: Mapping[str, Any], python: str) -> str:
    """Why a pylock.toml does not hold what its project asks for, "" when it does; direct dependencies only."""
    versions: dict[str, list[str]] = {}
    for package in tables(_PYLOCK, lock, "packages"):
        versions.setdefault(canonicalize_name(text(_PYLOCK, package, "name")), []).append(
            text(_PYLOCK, package, "version", "")
        )
    for asked in listed("pyproject.toml", project, "dependencies"):
        try:
            wanted = Requirement(str(asked))
        except InvalidRequirement:
            continue
        if wanted.marker is not None and not wanted.marker.evaluate({"python_full_version": python}):
            continue
        locked = versions.get(canonicalize_name(wanted.name))
        if locked is None:
            return f"it lacks {wanted.name}"
        if not any(version == "" or wanted.specifier.contains(version, prereleases=True) for version in locked):
            return f"it has {wanted.name} {', '.join(locked)}, and {asked} is asked for"
    return ""


def as_requirements(lock: Mapping[str, Any], extras: tuple[str, ...], groups: tuple[str, ...]) -> str:
    """A pylock.toml as a requirements file with hashes, for installers and places that cannot use its addresses."""
    lines = []
    chosen = {*groups, *map(str, listed(_PYLOCK, lock, "default-groups"))}
    for package in tables(_PYLOCK, lock, "packages"):
        name, version = text(_PYLOCK, package, "name"), text(_PYLOCK, package, "version", "")
        marker = _without_choices(text(_PYLOCK, package, "marker", ""), set(extras), chosen)
        if not version or marker is False:
            continue
        files = [*tables(_PYLOCK, package, "wheels"), table(_PYLOCK, package, "sdist")]
        hashes = [f"{kind}:{value}" for file in files for kind, value in table(_PYLOCK, file, "hashes").items()]
        condition = f" ; {marker}" if isinstance(marker, str) else ""
        lines.append(" ".join((f"{name}=={version}{condition}", *(f"--hash={each}" for each in dict.fromkeys(hashes)))))
    return "\n".join(lines) + "\n"


def _without_choices(marker: str, extras: set[str], groups: set[str]) -> str | bool:
    """The marker, with its conditions on extras and groups answered: False when they leave the package out."""
    if not marker:
        return True
    if "extras" not in marker and "dependency_groups" not in marker:
        return marker
    try:
        return Marker(marker).evaluate({"extras": extras, "dependency_groups": groups}, context="lock_file")
    except InvalidMarker as error:
        raise StagingError(f"cannot read pylock.toml: {error}") from error


def _paths(name: str, lock: Mapping[str, Any]) -> Iterator[str]:
    if name == "Pipfile.lock":
        for each, found in table(name, lock, "default").items():
            package = as_table(name, f"default.{each}", found)
            yield str(package.get("path") or package.get("file") or "") if "://" not in str(package) else ""
        return
    for package in tables(name, lock, "package"):
        source = table(name, package, "source")
        if name == "poetry.lock" and source.get("type") in {"directory", "file"}:
            yield str(source.get("url", ""))
        elif name == "uv.lock":
            yield str(source.get("editable") or source.get("directory") or source.get("path") or "")
    for package in tables(name, lock, "packages"):
        for kind in ("directory", "archive"):
            yield text(name, table(name, package, kind), "path", "")


def _pythons(name: str, lock: Mapping[str, Any]) -> str:
    if name == "poetry.lock":
        return _of_poetry(text(name, table(name, lock, "metadata"), "python-versions", ""))
    if name == "Pipfile.lock":
        requires = table(name, lock, "_meta", "requires")
        full, short = (text(name, requires, key, "") for key in ("python_full_version", "python_version"))
        return f"=={full}" if full else (f"=={short}.*" if short else "")
    return text(name, lock, "requires-python", "")


def _of_poetry(said: str) -> str:
    """Poetry's way of writing bounds as Python's own: `^3.9` is `>=3.9,<4`; alternatives (`||`) bound nothing."""
    if "||" in said or said.strip() == "*":
        return ""
    return ",".join(_POETRY_BOUND.sub(_bounds, part.strip()) for part in said.split(",") if part.strip())


def _bounds(match: re.Match[str]) -> str:
    numbers = [int(number) for number in match["version"].split(".")]
    kept = 1 if match["kind"] == "^" or len(numbers) == 1 else 2
    above = [*numbers[: kept - 1], numbers[kept - 1] + 1]
    return f">={match['version']},<{'.'.join(map(str, above))}"
