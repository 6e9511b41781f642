"""Compute the identifiers of values: canonical JSON data, and its fingerprint.

A field that holds its default is left out, so a field that a later version adds changes no identifier; so is a field by
which values are not compared.
"""

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def canonical(value: object) -> object:
    """Convert a value to canonical JSON data, leaving out fields that hold their default or are not compared."""
    if isinstance(value, str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((name, getattr(value, name), default) for name, default in _defaults(type(value)))
        return {name: canonical(part) for name, part, default in parts if part != default}
    if isinstance(value, Mapping):
        return {str(name): canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(part) for part in value]
    return value


@cache
def _defaults(of: Any) -> tuple[tuple[str, object], ...]:
    """Return the name and the default of each field of a class by which its values are compared."""
    compared = (f for f in fields(of) if f.compare)
    return tuple((f.name, f.default_factory() if f.default_factory is not MISSING else f.default) for f in compared)


def fingerprint(value: object) -> str:
    """Return twelve hexadecimal digits that depend on the content of JSON data, not on the order of its keys."""
    import hashlib  # loads OpenSSL: commands that only look wait for it

    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
