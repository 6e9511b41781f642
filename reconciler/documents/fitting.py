"""Tell whether a value fits a JSON Schema, without the library that tells why one does not.

Nearly every document fits, and the library takes megabytes, which a daemon then holds for good. Only the keywords that
the schemas of this project have are known.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from itertools import chain
from typing import Any, TypeAlias

# The value, what the keyword asks for, the schema that has the keyword, and the definitions of the document.
_Check: TypeAlias = Callable[[Any, Any, Mapping[str, Any], Mapping[str, Any]], bool]

_OF_READERS = frozenset(
    ("$schema", "$id", "$defs", "title", "description", "errorMessage", "default", "examples", "deprecated")
)
_WITH_IF = frozenset(("then", "else"))


class _Open(Exception):
    """Raised where only the library can tell."""


def surely_fits(value: Any, expected: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    """Return whether a value fits a schema; False leaves it open. `definitions` are the `$defs` of the whole schema."""
    try:
        return _fits(value, expected, definitions)
    except _Open:
        return False


def matches(value: Any, pattern: str) -> bool:
    """Return whether a value is one line that matches, or no text: in Python, `$` also matches before a line break."""
    return not isinstance(value, str) or ("\n" not in value and re.search(pattern, value) is not None)


def all_differ(value: Any) -> bool:
    """Return whether a value is no list, or its items differ in their JSON."""
    return not isinstance(value, list) or first_repeated(value) is None


def first_repeated(items: Sequence[Any]) -> int | None:
    """Return the index of the first item that a list has had before by its JSON, None if there is none."""
    seen = set[str]()
    for index, item in enumerate(items):
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            return index
        seen.add(text)
    return None


def _fits(value: Any, expected: Any, definitions: Mapping[str, Any]) -> bool:
    if isinstance(expected, bool):
        return expected
    for keyword, asked in expected.items():
        check = _CHECKS.get(keyword)
        if check is not None:
            if not check(value, asked, expected, definitions):
                return False
        elif keyword not in _OF_READERS and not (keyword in _WITH_IF and "if" in expected):
            raise _Open
    return True


def _is_of_type(value: Any, asked: Any, _: Any, __: Any) -> bool:
    found: tuple[str, ...]
    match value:
        case None:
            found = ("null",)
        case bool():
            found = ("boolean",)
        case int():
            found = ("integer", "number")
        case float():
            found = ("number", "integer") if value.is_integer() else ("number",)
        case str():
            found = ("string",)
        case list():
            found = ("array",)
        case dict():
            found = ("object",)
        case _:
            raise _Open
    wanted = (asked,) if isinstance(asked, str) else asked
    return any(kind in wanted for kind in found)


def _is_among(value: Any, asked: Any, _: Any, __: Any) -> bool:
    if isinstance(value, list | dict):
        raise _Open
    return any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in asked)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _has_required(value: Any, asked: Any, _: Any, __: Any) -> bool:
    return not isinstance(value, dict) or all(name in value for name in asked)


def _fields_fit(value: Any, asked: Any, _: Any, definitions: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    return all(_fits(given, asked[name], definitions) for name, given in value.items() if name in asked)


def _others_fit(value: Any, asked: Any, expected: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    if not isinstance(value, dict):
        return True
    known = expected.get("properties", ())
    return all(_fits(given, asked, definitions) for name, given in value.items() if name not in known)


def _names_fit(value: Any, asked: Any, _: Any, definitions: Mapping[str, Any]) -> bool:
    return not isinstance(value, dict) or all(_fits(name, asked, definitions) for name in value)


def _items_fit(value: Any, asked: Any, _: Any, definitions: Mapping[str, Any]) -> bool:
    return not isinstance(value, list) or all(_fits(item, asked, definitions) for item in value)


def _one_fits(value: Any, asked: Any, _: Any, definitions: Mapping[str, Any]) -> bool:
    return sum(_fits(value, each, definitions) for each in asked) == 1


def _branch_fits(value: Any, asked: Any, expected: Mapping[str, Any], definitions: Mapping[str, Any]) -> bool:
    branch = "then" if _fits(value, asked, definitions) else "else"
    return _fits(value, expected.get(branch, True), definitions)


def _definition_fits(value: Any, asked: Any, _: Any, definitions: Mapping[str, Any]) -> bool:
    name = asked.removeprefix("#/$defs/")
    if name not in definitions:
        raise _Open
    return _fits(value, definitions[name], definitions)


def _limits(kind: type[Sized], least: str, most: str) -> Iterator[tuple[str, _Check]]:
    """Return the checks of how long a value of a kind is."""
    yield least, lambda value, asked, _, __: not isinstance(value, kind) or len(value) >= asked
    yield most, lambda value, asked, _, __: not isinstance(value, kind) or len(value) <= asked


_CHECKS: Mapping[str, _Check] = {
    "type": _is_of_type,
    "enum": _is_among,
    "const": lambda value, asked, expected, definitions: _is_among(value, (asked,), expected, definitions),
    "pattern": lambda value, asked, _, __: matches(value, asked),
    "uniqueItems": lambda value, asked, _, __: not asked or all_differ(value),
    "minimum": lambda value, asked, _, __: not _is_number(value) or value >= asked,
    "maximum": lambda value, asked, _, __: not _is_number(value) or value <= asked,
    "required": _has_required,
    "properties": _fields_fit,
    "additionalProperties": _others_fit,
    "propertyNames": _names_fit,
    "items": _items_fit,
    "oneOf": _one_fits,
    "anyOf": lambda value, asked, _, definitions: any(_fits(value, each, definitions) for each in asked),
    "allOf": lambda value, asked, _, definitions: all(_fits(value, each, definitions) for each in asked),
    "not": lambda value, asked, _, definitions: not _fits(value, asked, definitions),
    "if": _branch_fits,
    "$ref": _definition_fits,
    **dict(
        chain(
            _limits(str, "minLength", "maxLength"),
            _limits(list, "minItems", "maxItems"),
            _limits(dict, "minProperties", "maxProperties"),
        )
    ),
}
