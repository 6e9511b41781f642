"""The format poetry.lock: exported by Poetry's own plugin; its version bounds are translated to Python's."""

import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.staging.detection import pyproject
from reconciler.staging.detection.lockfiles.format import ExportByTool, ExportOptions, Lock, LockFormat, Tool, repeated
from reconciler.staging.detection.tables import table, tables, text
from reconciler.staging.detection.toml import parse_toml

_FILE = "poetry.lock"
_TOOL = Tool(name="poetry", needs=("poetry>=2,<3", "poetry-plugin-export>=1.9"))
_BOUND = re.compile(r"(?P<operator>[\^~])\s*(?P<version>\d+(?:\.\d+)*)")


def _paths(lock: Lock) -> Iterator[str]:
    for package in tables(_FILE, lock, "package"):
        source = table(_FILE, package, "source")
        if source.get("type") in {"directory", "file"}:
            yield str(source.get("url", ""))


def _pythons(lock: Lock) -> str:
    """Return Poetry's bounds as Python's own: `^3.9` is `>=3.9,<4`; alternatives (`||`) bound nothing."""
    bounds = text(_FILE, table(_FILE, lock, "metadata"), "python-versions", "")
    if "||" in bounds or bounds.strip() == "*":
        return ""
    return ",".join(_BOUND.sub(_translated, part.strip()) for part in bounds.split(",") if part.strip())


def _translated(match: re.Match[str]) -> str:
    numbers = [int(number) for number in match["version"].split(".")]
    fixed = 1 if match["operator"] == "^" or len(numbers) == 1 else 2
    limit = [*numbers[: fixed - 1], numbers[fixed - 1] + 1]
    return f">={match['version']},<{'.'.join(map(str, limit))}"


def _needs_lock(directory: Path) -> bool:
    return _TOOL.name in table(pyproject.FILE, pyproject.pyproject(directory), "tool")


def _check(options: ExportOptions) -> tuple[str, ...]:
    return (*options.program, "--no-ansi", "-n", "check", "--lock")


def _export(options: ExportOptions) -> tuple[str, ...]:
    return (
        *(*options.program, "--no-ansi", "-n", "export", "--format", "requirements.txt"),
        *("--output", str(options.output)),
        *(*repeated("--extras", options.extras), *repeated("--with", options.groups)),
    )


POETRY = LockFormat(
    file=_FILE,
    project=pyproject.FILE,
    project_digest=pyproject.declared_digest,
    fix="poetry lock",
    parse=parse_toml,
    declared_pythons=_pythons,
    local_paths=_paths,
    export=ExportByTool(
        tool=_TOOL, check=_check, export=_export, stale=re.compile("changed significantly|out-of-date|not up to date")
    ),
    needs_lock=_needs_lock,
)
