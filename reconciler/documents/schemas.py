"""Load the JSON Schemas of documents: the files that editors read, from a wheel or a checkout."""

import json
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from reconciler.documents.fitting import all_differ, matches, surely_fits

# Kinds of which there are many documents; a daemon reads its settings once.
_OF_MANY = frozenset(("app", "service"))
_WORDS = frozenset(("title", "description", "errorMessage"))


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
    package = Path(__file__).parent.parent
    inside = package / "schemas"
    return (inside if inside.is_dir() else package.parent / "schemas") / f"{kind}.schema.json"


def fits(kind: str, document: Any) -> bool:
    """Return whether a document surely fits its schema; if not, the validator tells what is wrong with it, if anything.

    Takes next to nothing, while the validator comes with a library of megabytes.
    """
    bare = _kept_bare(kind) if kind in _OF_MANY else _bare(kind)
    return surely_fits(document, bare, bare.get("$defs", {}))


@cache
def _kept_bare(kind: str) -> dict[str, Any]:
    return _bare(kind)


def _bare(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of document without words for readers, and with equal parts once."""
    parts: dict[str, dict[str, Any]] = {}

    def part(found: dict[str, Any]) -> dict[str, Any]:
        bare = {name: said for name, said in found.items() if not (name in _WORDS and isinstance(said, str))}
        return parts.setdefault(repr(bare), bare)

    found: dict[str, Any] = json.loads(_file(kind).read_text(encoding="utf-8"), object_hook=part)
    return found


@cache
def validator(kind: str) -> Any:
    """Return the validator of a kind of document, built when first needed, as that takes a while."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    definitions = schema(kind).get("$defs", {})

    def whole_line(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
        if not matches(value, pattern):
            yield ValidationError("does not match")

    def all_different(_: Any, unique: bool, items: Any, __: Any) -> Iterator[ValidationError]:
        """Compare items by their JSON: the library compares each with every other if they cannot be sorted."""
        if unique and not all_differ(items):
            yield ValidationError("has items twice")

    def given_fields(checker: Any, fields: dict[str, Any], value: Any, __: Any) -> Iterator[ValidationError]:
        """Check the fields that are there: the library visits all that could be, and prepares for parts of each."""
        if isinstance(value, dict):
            for name, given in value.items():
                if name in fields and not surely_fits(given, fields[name], definitions):
                    yield from checker.descend(given, fields[name], path=name, schema_path=name)

    own: Any = extend  # has no types
    keywords = {"pattern": whole_line, "uniqueItems": all_different, "properties": given_fields}
    return own(Draft202012Validator, keywords)(schema(kind))
