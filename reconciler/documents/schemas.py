"""A kind of document in; its JSON Schema out: the same files that editors read, from a wheel or a checkout."""

import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of `app` or `service` documents."""
    inside = files("reconciler") / "schemas"
    folder = inside if inside.is_dir() else files("reconciler") / ".." / "schemas"
    found: dict[str, Any] = json.loads((folder / f"{kind}.schema.json").read_text(encoding="utf-8"))
    return found


@cache
def validator(kind: str) -> Any:
    """A validator for documents of this kind. Building one takes a while, so it happens once and when first needed."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend

    def whole_line(_: Any, pattern: str, value: Any, __: Any) -> Iterator[ValidationError]:
        """In a schema `$` is the end of the text; in Python it may also stand before a last line break."""
        if isinstance(value, str) and ("\n" in value or not re.search(pattern, value)):
            yield ValidationError("does not match")

    def all_different(_: Any, wanted: bool, items: Any, __: Any) -> Iterator[ValidationError]:
        """The library's own compares every item with every other when they cannot be sorted."""
        if not wanted or not isinstance(items, list):
            return
        if len({json.dumps(item, sort_keys=True) for item in items}) < len(items):
            yield ValidationError("has items twice")

    own: Any = extend  # has no types
    return own(Draft202012Validator, {"pattern": whole_line, "uniqueItems": all_different})(schema(kind))
