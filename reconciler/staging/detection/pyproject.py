"""Read pyproject.toml: its tables, and a digest of the requirements it declares.

A project without the file is a project with empty tables.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.staging.detection import tables
from reconciler.staging.detection.text_file import text_of
from reconciler.staging.detection.toml import parse_toml
from reconciler.staging.errors import StagingError
from reconciler.staging.source.allowance import parsed_once

FILE = "pyproject.toml"
_UV_TABLE = re.compile(
    r"^[ \t]*\[[ \t]*tool[ \t]*\.[ \t]*uv[ \t]*\](?P<content>[^\n]*(?:\n(?![ \t]*\[)[^\n]*)*)", re.MULTILINE
)
_REQUIRED_UV = re.compile(r"^[ \t]*required-version[ \t]*=[^\n]*", re.MULTILINE)


def pyproject(directory: Path) -> dict[str, Any]:
    """Return all of pyproject.toml; empty if there is none."""
    content: dict[str, Any] = parsed_once((FILE, str(directory)), lambda: _parsed(directory))
    return content


def _parsed(directory: Path) -> dict[str, Any]:
    try:
        return parse_toml(text_of(directory / FILE, FILE))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StagingError(f"cannot read {FILE}: {error}") from error
    except RecursionError as error:
        raise StagingError(f"cannot read {FILE}: it is nested too deeply") from error


def project_table(directory: Path) -> Mapping[str, Any]:
    """Return the `[project]` table; empty if there is none."""
    return tables.table(FILE, pyproject(directory), "project")


def tool_table(directory: Path, tool: str) -> Mapping[str, Any]:
    """Return the `[tool.…]` table; empty if there is none."""
    return tables.table(FILE, pyproject(directory), "tool", tool)


def is_package(directory: Path) -> bool:
    """Tell whether a project can be installed: one with a build system, unless it says that it is no package."""
    content = pyproject(directory)
    poetry = tables.table(FILE, content, "tool", "poetry")
    declared = tables.table(FILE, content, "tool", "uv").get("package", poetry.get("package-mode"))
    return "build-system" in content if declared is None else bool(declared)


def declared_digest(directory: Path) -> str:
    """Return a digest of the part of pyproject.toml that declares dependencies; other edits do not change it."""
    from reconciler.staging.detection.requirements import digest_of  # `validate` digests nothing

    content = pyproject(directory)
    project = project_table(directory)
    names = ("name", "dependencies", "optional-dependencies", "requires-python")
    poetry = tool_table(directory, "poetry")
    return digest_of(
        json.dumps(
            [
                {name: project[name] for name in names if name in project},
                content.get("dependency-groups", {}),
                {name: poetry[name] for name in ("dependencies", "group", "extras", "source") if name in poetry},
            ],
            sort_keys=True,
            default=str,
        )
    )


def drop_required_uv(directory: Path) -> None:
    """Remove `required-version` of uv from a copy of a project: it says which uv its developers use."""
    for file in (FILE, "uv.toml"):
        try:
            text = text_of(directory / file, file)
        except FileNotFoundError:
            continue
        own = _UV_TABLE.search(text) if file == FILE else None
        start, end = own.span("content") if own else (0, 0 if file == FILE else len(text))
        kept = _REQUIRED_UV.sub("", text[start:end])
        if kept != text[start:end]:
            (directory / file).write_text(f"{text[:start]}{kept}{text[end:]}", encoding="utf-8")
