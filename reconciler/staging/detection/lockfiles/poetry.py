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
_BOUND = re.compile(
    r"(?P<operator>\^|~=|~|===?|=|!=|<=|>=|<|>)?\s*(?P<version>\d+(?:\.\d+)*(?:\.\*)?(?:(?:a|b|rc)\d+)?|\*)\s*,?\s*"
)


def _paths(lock: Lock) -> Iterator[str]:
    for package in tables(_FILE, lock, "package"):
        source = table(_FILE, package, "source")
        if source.get("type") in {"directory", "file"}:
            yield str(source.get("url", ""))


def _pythons(lock: Lock) -> str:
    """Return Poetry's bounds as Python's own: `^3.9` is `>=3.9,<4`, `3.12.1` is `==3.12.1`."""
    bounds = text(_FILE, table(_FILE, lock, "metadata"), "python-versions", "")
    return " || ".join(_bounds_of(each) for each in re.split(r"\|\|?", bounds))


def _bounds_of(text: str) -> str:
    """Return the specifiers of bounds that all hold, with commas or only spaces between them."""
    remaining, found = text.strip(), []
    while remaining:
        bound = _BOUND.match(remaining)
        if bound is None:
            raise ValueError(f"the Python version {text.strip()!r}")
        found.append(_translated(bound))
        remaining = remaining[bound.end() :]
    return ",".join(filter(None, found))


def _translated(bound: re.Match[str]) -> str:
    operator, version = bound["operator"] or "==", bound["version"]
    if version == "*":
        return ""
    if operator not in {"^", "~"}:
        return f"{'==' if operator == '=' else operator}{version}"
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    fixed = 1 if operator == "^" or len(numbers) == 1 else 2
    limit = [*numbers[: fixed - 1], numbers[fixed - 1] + 1]
    return f">={version},<{'.'.join(map(str, limit))}"


def _needs_lock(directory: Path) -> bool:
    return _TOOL.name in table(pyproject.FILE, pyproject.pyproject(directory), "tool")


def _is_package(directory: Path) -> bool:
    """Tell whether Poetry installs the project: a package of its own way to write them needs no build system."""
    package_mode = pyproject.tool_table(directory, "poetry").get("package-mode", True)
    return bool(package_mode) and pyproject.is_package(directory)


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
    installs_project=_is_package,
    optional_project=True,
    any_patch=True,
)
