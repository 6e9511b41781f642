"""The format uv.lock: exported by uv itself, without the network, so that nothing is resolved again."""

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.staging.detection import pyproject
from reconciler.staging.detection.lockfiles.format import ExportByTool, ExportOptions, Lock, LockFormat, repeated
from reconciler.staging.detection.tables import table, tables, text
from reconciler.staging.detection.toml import parse_toml

_FILE = "uv.lock"


def _paths(lock: Lock) -> Iterator[str]:
    for package in tables(_FILE, lock, "package"):
        source = table(_FILE, package, "source")
        yield str(source.get("editable") or source.get("directory") or source.get("path") or "")


def _checked_with(directory: Path, lock: Lock) -> str:
    """Return the minor version that `uv lock` ran on if the project names none: uv bounds the lock by it, and compares.

    The bound is `>=3.12`.
    """
    if pyproject.project_table(directory).get("requires-python"):
        return ""
    return text(_FILE, lock, "requires-python", "").removeprefix(">=")


def _python(options: ExportOptions) -> tuple[str, ...]:
    return () if options.python is None else ("--python", options.python)


def _check(options: ExportOptions) -> tuple[str, ...]:
    # Without the network: a lock that matches is found to match, and one that does not fails sooner.
    return (*options.program, "lock", "--check", "--offline", *_python(options))


def _export(options: ExportOptions) -> tuple[str, ...]:
    return (
        *(*options.program, "export", "--frozen", "--offline", "--format", "requirements.txt", *_python(options)),
        *("--no-default-groups", "--no-editable", "--no-emit-project", "--no-header", "--no-annotate"),
        *(*repeated("--extra", options.extras), *repeated("--group", options.groups)),
        *("--output-file", str(options.output)),
    )


UV = LockFormat(
    file=_FILE,
    project=pyproject.FILE,
    project_digest=pyproject.declared_digest,
    fix="uv lock",
    parse=parse_toml,
    declared_pythons=lambda lock: text(_FILE, lock, "requires-python", ""),
    local_paths=_paths,
    export=ExportByTool(
        tool=None,
        check=_check,
        export=_export,
        checked_with=_checked_with,
        stale=re.compile(r"needs to be updated|network (?:was|is) disabled|not found in the cache"),
    ),
    installs_project=pyproject.is_package,
)
