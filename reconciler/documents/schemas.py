"""Load the JSON Schemas of documents: the files that editors read, from a wheel or a checkout."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

# Keywords that look at a value alone, at no part of it, and those that check nothing.
_OF_VALUES = frozenset(("type", "enum", "const", "pattern", "minimum", "maximum", "minLength", "maxLength"))
_OF_READERS = frozenset(("title", "description", "errorMessage", "default", "examples", "deprecated"))


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of document, such as `app` or `service`."""
    found: dict[str, Any] = json.loads(_file(kind).read_text(encoding="utf-8"))
    return found


def schema_path(kind: str, directory: Path) -> str:
    """Return the path of a schema for files in `directory`, relative if it is near: a checkout can be moved."""
    found, here = _file(kind), directory.resolve()
    near = here.parent in {found.parent.parent, *found.parent.parents[:2]}
    return os.path.relpath(found, here) if near else str(found)


def _file(kind: str) -> Path:
    """Return the file of a schema: a wheel has it inside the package, a checkout beside it."""
    package = Path(str(files("reconciler")))
    inside = package / "schemas"
    return (inside if inside.is_dir() else package.parent / "schemas") / f"{kind}.schema.json"


@cache
def validator(kind: str) -> Any:
    """Return the validator of a kind of document, built when first needed, as that takes a while."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def whole_line(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
        """Match the whole text: in Python, `$` also matches before a final line break."""
        if isinstance(value, str) and ("\n" in value or not re.search(pattern, value)):
            yield ValidationError("does not match")

    def all_different(_: Any, unique: bool, items: Any, __: Any) -> Iterator[ValidationError]:
        """Compare items by their JSON: the library compares each with every other if they cannot be sorted."""
        if not unique or not isinstance(items, list):
            return
        if len({json.dumps(item, sort_keys=True) for item in items}) < len(items):
            yield ValidationError("has items twice")

    plain = _PlainChecks(schema(kind).get("$defs", {}), {**Draft202012Validator.VALIDATORS, "pattern": whole_line})

    def given_fields(checker: Any, fields: dict[str, Any], value: Any, __: Any) -> Iterator[ValidationError]:
        """Check the fields that are there: the library visits all that could be, and prepares for parts of each."""
        if isinstance(value, dict):
            for name, given in value.items():
                if name in fields and not plain.surely_fits(checker, given, fields[name]):
                    yield from checker.descend(given, fields[name], path=name, schema_path=name)

    own: Any = extend  # has no types
    keywords = {"pattern": whole_line, "uniqueItems": all_different, "properties": given_fields}
    return own(Draft202012Validator, keywords)(schema(kind))


class _PlainChecks:
    """The checks of the schemas that look at a value alone, found once; most fields of most documents have no other."""

    def __init__(self, definitions: dict[str, Any], keywords: dict[str, Any]) -> None:
        self._definitions = {f"#/$defs/{name}": defined for name, defined in definitions.items()}
        self._keywords = keywords
        self._checks: dict[int, list[tuple[Any, Any, Any]] | None] = {}

    def surely_fits(self, checker: Any, value: Any, expected: Any) -> bool:
        """Return whether a value fits a schema that has only plain checks; False leaves it open."""
        if id(expected) not in self._checks:
            self._checks[id(expected)] = self._found(expected)
        checks = self._checks[id(expected)]
        return checks is not None and not any(
            problem for check, asked, schema in checks for problem in check(checker, asked, value, schema) or ()
        )

    def _found(self, expected: Any) -> list[tuple[Any, Any, Any]] | None:
        """Return the checks of a schema: the function, what it asks for, and its schema. None if one is not plain."""
        if not isinstance(expected, dict):
            return None
        found: list[tuple[Any, Any, Any]] = []
        for keyword, asked in expected.items():
            if keyword == "$ref":
                more = self._found(self._definitions.get(asked))
                if more is None:
                    return None
                found += more
            elif keyword in _OF_VALUES:
                found.append((self._keywords[keyword], asked, expected))
            elif keyword not in _OF_READERS:
                return None
        return found
