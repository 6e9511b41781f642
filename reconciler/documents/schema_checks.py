"""A document's tree and its kind in; every way in which it breaks its schema out, each at its line and in words.

The words are the schema's own `errorMessage`, so that an editor and the daemon say the same.
"""

from collections.abc import Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schemas import schema, validator
from reconciler.documents.tree import Node
from reconciler.planning.fingerprint import Json

MOST_PROBLEMS = 100

_LONGEST_NAME = 64
_NOT_TRUTH = frozenset(("yes", "no", "on", "off", "y", "n"))


def problems_of(file: str, kind: str, tree: Node) -> list[Problem]:
    """What is wrong with this document, at most the first hundred things, in the order of the file."""
    found: dict[Path, Problem] = {}
    for error in islice(validator(kind).iter_errors(tree.value), MOST_PROBLEMS):
        for path, position, message in _explained(error, tree):
            problem = Problem(file=file, line=position[0], column=position[1], path=dotted(path), message=message)
            found.setdefault(path, problem)
    return sorted(found.values(), key=lambda problem: (problem.line, problem.column))


def known_fields(kind: str) -> frozenset[str]:
    """The names of the fields a document of this kind may have."""
    return frozenset(schema(kind)["properties"])


def suggestion(name: str, known: frozenset[str]) -> str:
    """The known name that was probably meant, or nothing."""
    close = get_close_matches(name.lower(), sorted(known), n=1) if len(name) <= _LONGEST_NAME else []
    return close[0] if close else ""


def shown(value: Json) -> str:
    """A value in a sentence, short."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= _LONGEST_NAME else value[: _LONGEST_NAME - 1] + "…")
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case _:
            return str(value)


def _explained(error: Any, tree: Node) -> Iterator[tuple[Path, tuple[int, int], str]]:
    path: Path = tuple(error.absolute_path)
    node = tree.at(path)
    here = (node.line, node.column)
    if "propertyNames" in error.schema_path:
        name = error.instance
        yield (*path, name), node.keys.get(name, here), f"{_expected(error)}, not {shown(name)}"
    elif error.validator == "additionalProperties":
        known = frozenset(error.schema.get("properties", ()))
        for name in islice((key for key in node.keys if key not in known), MOST_PROBLEMS):
            yield (*path, name), node.keys[name], _unknown(name, known)
    elif error.validator == "required":
        known = frozenset(error.schema.get("properties", ())) or frozenset(error.validator_value)
        misspelt = {suggestion(name, known) for name in islice(node.keys, MOST_PROBLEMS) if name not in known}
        for name in error.validator_value:
            if name not in node.keys and name not in misspelt:
                yield (*path, name), here, "is required and missing"
    elif error.validator == "not":
        yield path, here, _expected(error)
    else:
        yield path, here, f"{_expected(error)}, not {_as_given(node, error.instance)}{_hint(error)}"


def _expected(error: Any) -> str:
    return str(error.schema.get("errorMessage") or "expected a document of named fields, such as 'path: ../apps/blog'")


def _unknown(name: str, known: frozenset[str]) -> str:
    meant = suggestion(name, known)
    return f"unknown field {shown(name)}; did you mean '{meant}'?" if meant else f"unknown field {shown(name)}"


def _as_given(node: Node, value: Json) -> str:
    """Numbers as they stand in the file: 3.10, not 3.1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(node.written) if is_number else shown(value)


def _hint(error: Any) -> str:
    types = error.schema.get("type", ())
    if error.validator != "type":
        return ""
    if types == "boolean" and str(error.instance).lower() in _NOT_TRUTH:
        return " (of these words YAML 1.2 knows only true and false)"
    if types == "string" and isinstance(error.instance, bool | int | float):
        return "; put it in quotes to make it text"
    return ""
