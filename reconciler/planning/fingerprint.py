"""Compute the identifiers of values: canonical JSON data, and its fingerprint.

A field that holds its default is left out, so a field that a later version adds changes no identifier.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def canonical(value: object) -> object:
    """Convert a value to canonical JSON data, leaving out fields that hold their default."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) != _default(f)}
        return {name: canonical(part) for name, part in given.items()}
    if isinstance(value, Mapping):
        return {str(name): canonical(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [canonical(part) for part in value]
    return value


def _default(of: "Field[Any]") -> object:
    return of.default_factory() if of.default_factory is not MISSING else of.default


def fingerprint(value: object) -> str:
    """Return twelve hexadecimal digits that depend on the content of JSON data, not on the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
