"""The format Pipfile.lock (pipfile-spec 6): exported by pipenv, which prints requirements instead of writing a file."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.staging.detection.bounded_json import parse_json
from reconciler.staging.detection.lockfiles.format import ExportByTool, ExportOptions, Lock, LockFormat, Tool
from reconciler.staging.detection.tables import as_table, table, text
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.toml import parse_toml
from reconciler.staging.source.reading import read_source

_FILE = "Pipfile.lock"
_PROJECT = "Pipfile"
_PYPI = {"name": "pypi", "url": "https://pypi.org/simple", "verify_ssl": True}  # of a Pipfile that names no source
_TOOL = Tool(name="pipenv", needs=("pipenv>=2024",))


def _paths(lock: Lock) -> Iterator[str]:
    for name, entry in table(_FILE, lock, "default").items():
        package = as_table(_FILE, f"default.{name}", entry)
        if "://" not in str(package):
            yield str(package.get("path") or package.get("file") or "")


def _pythons(lock: Lock) -> str:
    requires = table(_FILE, lock, "_meta", "requires")
    full, short = (text(_FILE, requires, key, "") for key in ("python_full_version", "python_version"))
    bounds = full or short
    if not bounds or bounds == "*" or not bounds[0].isdigit():
        return "" if bounds == "*" else bounds
    return f"=={full}" if full else f"=={short}.*"


def _matches(directory: Path, lock: Lock) -> bool:
    """Tell whether a lock has the hash of its Pipfile, as pipenv up to 2026.2 computed it: with names as written.

    Later versions hash names in their canonical form, and take a lock of before for stale.
    """
    recorded = table(_FILE, lock, "_meta", "hash").get("sha256")
    try:
        content = parse_toml(text_of(directory / _PROJECT, _PROJECT))
    except (FileNotFoundError, ValueError, RecursionError):
        return False
    known = {"source", "packages", "dev-packages", "requires", "scripts", "pipfile", "pipenv", "default", "develop"}
    hashed = {
        "_meta": {"sources": content.get("source", [_PYPI]), "requires": content.get("requires", {})},
        "default": content.get("packages", {}),
        "develop": content.get("dev-packages", {}),
        **{category: packages for category, packages in content.items() if category not in known},
    }
    written = json.dumps(hashed, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(written.encode()).hexdigest() == recorded


def _project_digest(directory: Path) -> str:
    try:
        return hashlib.sha256(read_source(directory / _PROJECT)).hexdigest()
    except OSError:
        return "none"


def _export(options: ExportOptions) -> tuple[str, ...]:
    categories = ("--categories", ",".join(("packages", *options.groups))) if options.groups else ()
    return (*options.program, "requirements", "--hash", *categories)


PIPENV = LockFormat(
    file=_FILE,
    project=_PROJECT,
    project_digest=_project_digest,
    fix="pipenv lock",
    parse=parse_json,
    declared_pythons=_pythons,
    local_paths=_paths,
    export=ExportByTool(
        tool=_TOOL,
        check=lambda options: (*options.program, "verify"),
        export=_export,
        stale=re.compile("out-of-date|not up to date"),
        matches=_matches,
        to_stdout=True,
    ),
    needs_lock=lambda directory: (directory / _PROJECT).is_file(),
    any_patch=True,
    has_extras=False,
)
