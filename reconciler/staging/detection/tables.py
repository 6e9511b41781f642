"""A file that was parsed in, the table, list or text at a place in it out, or words about what is there instead.

Whoever wrote the file: nothing in it is taken for what it should be.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.staging.errors import StagingError


def table(file: str, of: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The table at `path`, empty when there is none; StagingError."""
    found: Any = of
    for depth, name in enumerate(path, 1):
        found = as_table(file, ".".join(path[:depth]), found.get(name, {}))
    return found  # type: ignore[no-any-return]


def tables(file: str, of: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The tables of the list at `name`, none when there is no list; StagingError."""
    return [as_table(file, f"{name}[{number}]", each) for number, each in enumerate(listed(file, of, name))]


def listed(file: str, of: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list at `name`, empty when there is none; StagingError."""
    found = of.get(name, [])
    if not isinstance(found, list):
        raise _other(file, name, "a list")
    return found


def text(file: str, of: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """The text at `name`; StagingError when it is not there and has no default."""
    found = of.get(name, default)
    if not isinstance(found, str):
        raise _other(file, name, "text")
    return found


def as_table(file: str, place: str, found: Any) -> Mapping[str, Any]:
    """What was found at `place`, when it is a table; StagingError."""
    if not isinstance(found, dict):
        raise _other(file, place, "a table")
    return found


def _other(file: str, place: str, expected: str) -> StagingError:
    return StagingError(f"cannot read {file}: expected {place} to be {expected}")
