"""Read values from parsed files that users wrote: tables, lists and text, each checked for its type.

A value of another type is a StagingError that names the file and the key.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.staging.errors import StagingError


def table(file: str, content: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """Return the table at `path`; empty if there is none."""
    found: Any = content
    for depth, name in enumerate(path, 1):
        found = as_table(file, ".".join(path[:depth]), found.get(name, {}))
    return found  # type: ignore[no-any-return]


def tables(file: str, content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the tables of the list at `name`; none if there is no list."""
    return [as_table(file, f"{name}[{number}]", each) for number, each in enumerate(items(file, content, name))]


def items(file: str, content: Mapping[str, Any], name: str) -> Sequence[Any]:
    """Return the list at `name`; empty if there is none."""
    found = content.get(name, [])
    if not isinstance(found, list):
        raise _unexpected(file, name, "a list")
    return found


def text(file: str, content: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """Return the text at `name`, or the default; a key without either is an error."""
    found = content.get(name, default)
    if not isinstance(found, str):
        raise _unexpected(file, name, "text")
    return found


def as_table(file: str, key: str, found: Any) -> Mapping[str, Any]:
    """Return `found` if it is a table."""
    if not isinstance(found, dict):
        raise _unexpected(file, key, "a table")
    return found


def _unexpected(file: str, key: str, expected: str) -> StagingError:
    return StagingError(f"cannot read {file}: expected {key} to be {expected}")
