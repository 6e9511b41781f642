"""Find the extras of a project that install what its app imports and its dependencies do not name."""

import ast
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.staging.detection.dependencies import Dependencies
from reconciler.staging.detection.modules import dotted, read
from reconciler.staging.detection.package_names import canonical
from reconciler.staging.detection.pyproject import project_table
from reconciler.staging.detection.reached import reached_files, settings_modules
from reconciler.staging.detection.syntax import Unparsed, parsed
from reconciler.staging.detection.target import EntryPoint
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import read_source

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_LISTS = ("INSTALLED_APPS", "MIDDLEWARE", "MIDDLEWARE_CLASSES")
_PREFIXES = ("", "django_", "flask_", "python_", "py")


def missing_extras(code: Path, entry: EntryPoint, found: Dependencies) -> tuple[str, ...]:
    """Return as few extras as install all that some extra does; empty unless a pyproject.toml lists dependencies."""
    if found.kind != "project":
        return ()
    project = project_table(code / found.directory)
    extras: Mapping[str, Any] = project.get("optional-dependencies", {})
    required = _names(project.get("dependencies", ()))
    modules = {each for each in _imported(code, entry) if not any(_installs(name, each) for name in required)}
    offers = {
        extra: {each for each in modules if any(_installs(name, each) for name in _names(lines))}
        for extra, lines in extras.items()
    }
    chosen: list[str] = []
    while any(offers.values()):
        best = max(offers, key=lambda extra: len(offers[extra]))
        chosen.append(best)
        offers = {extra: offered - offers[best] for extra, offered in offers.items()}
    return tuple(chosen)


def _imported(code: Path, entry: EntryPoint) -> Iterator[str]:
    """Yield the packages that the served module and the settings import or list."""
    own = {path.stem if path.is_file() else path.name for path in (*code.iterdir(), *(code / entry.chdir).iterdir())}
    of_django = bool(settings_modules(code, entry))
    for number, (path, top) in enumerate(reached_files(code, entry)):
        if of_django and number > 1:  # what the settings and the served module import is what is needed first
            break
        origins = (*read(path, top).imported.values(), *(_listed(path) if of_django else ()))
        yield from (name for origin in origins if (name := origin.partition(".")[0]) not in own)


def _listed(path: Path) -> Iterator[str]:
    with suppress(Unparsed, StagingError, OSError):
        for statement in parsed(read_source(path, path.name), path.name):
            if isinstance(statement, ast.Assign) and any(dotted(target) in _LISTS for target in statement.targets):
                values = (part.value for part in ast.walk(statement.value) if isinstance(part, ast.Constant))
                yield from (value for value in values if isinstance(value, str))


def _names(lines: object) -> list[str]:
    found = (_NAME.match(line) for line in lines if isinstance(line, str)) if isinstance(lines, list | tuple) else ()
    return [canonical(name[0]).replace("-", "_") for name in found if name]


def _installs(distribution: str, module: str) -> bool:
    """Tell whether a distribution is likely to contain a module, by their names."""
    name = module.lower()
    return distribution.startswith(f"{name}_") or any(distribution == f"{prefix}{name}" for prefix in _PREFIXES)
