"""Load the JSON Schemas of documents: the files that editors read, from a wheel or a checkout."""

import json
import os
import re
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any


@cache
def schema(kind: str) -> dict[str, Any]:
    """Return the schema of a kind of document, such as `app` or `service`."""
    inside = files("reconciler") / "schemas"
    folder = inside if inside.is_dir() else files("reconciler") / ".." / "schemas"
    found: dict[str, Any] = json.loads((folder / f"{kind}.schema.json").read_text(encoding="utf-8"))
    return found


def schema_path(kind: str, directory: Path) -> str:
    """Return the path of a schema for files in `directory`, relative if it is near: a checkout can be moved."""
    package = Path(str(files("reconciler")))
    inside = package / "schemas"
    found = (inside if inside.is_dir() else package.parent / "schemas") / f"{kind}.schema.json"
    here = directory.resolve()
    near = here.parent in {found.parent.parent, *found.parent.parents[:2]}
    return os.path.relpath(found, here) if near else str(found)


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

    own: Any = extend  # has no types
    return own(Draft202012Validator, {"pattern": whole_line, "uniqueItems": all_different})(schema(kind))
