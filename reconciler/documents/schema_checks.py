"""Check a document against its schema, and describe each violation with its position.

The words are the schema's own `errorMessage`, so that editors and the daemon report the same.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from reconciler.documents.fitting import first_repeated
from reconciler.documents.other_names import OTHER_NAMES
from reconciler.documents.problem import MOST_PROBLEMS, NEVER_QUOTED, Path, Problem, dotted
from reconciler.documents.scalars import value_of
from reconciler.documents.schemas import fits, validator
from reconciler.documents.tree import Node
from reconciler.planning.fingerprint import Json

_LONGEST_NAME = 64
_NOT_BOOLEAN = frozenset(("yes", "no", "on", "off", "y", "n"))


def problems_of(file: str, kind: str, tree: Node) -> list[Problem]:
    """Return the problems of a document, the first hundred at most, in the order of the file."""
    if fits(kind, tree.value):
        return []
    found: dict[Path, Problem] = {}
    for error in islice(validator(kind).iter_errors(tree.value), MOST_PROBLEMS):
        for path, position, message in _explained(error, tree):
            problem = Problem(file=file, line=position[0], column=position[1], path=dotted(path), message=message)
            found.setdefault(path, problem)
    return sorted(found.values(), key=lambda problem: (problem.line, problem.column))


def suggestion(name: str, known: frozenset[str]) -> str:
    """Return the known name that was probably meant, "" if none is close."""
    return next(iter(_meant(name, known)), "")


def _meant(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Return the known names that were probably meant: a close one, or those that others call by a close one."""
    if len(name) > _LONGEST_NAME:
        return ()
    other = {said: fields for said, meant in OTHER_NAMES.items() if (fields := tuple(f for f in meant if f in known))}
    written = name.lower().replace("-", "_")
    if written in other:
        return other[written]
    from difflib import get_close_matches  # a file without a mistake needs none

    close = get_close_matches(written, sorted(known), n=1) or get_close_matches(written, sorted(other), n=1, cutoff=0.8)
    return next((other.get(each, (each,)) for each in close), ())


def shown(value: Json) -> str:
    """Format a value for a message, shortened."""
    match value:
        case None:
            return "an empty value"
        case bool():
            return "true" if value else "false"
        case str():
            return repr(value if len(value) <= _LONGEST_NAME else value[: _LONGEST_NAME - 1] + "…")
        case dict():
            return "a mapping" if value else "an empty mapping"
        case list():
            return "a list" if value else "an empty list"
        case _:
            return str(value)


def _explained(error: Any, tree: Node) -> Iterator[tuple[Path, tuple[int, int], str]]:
    path: Path = tuple(error.absolute_path)
    node = tree.at(path)
    position = (node.line, node.column)
    if "propertyNames" in error.schema_path:
        name = error.instance
        written = "NAME=value" if "=" in name and NEVER_QUOTED.intersection(path) else shown(name)
        yield (*path, name), node.keys.get(name, position), f"{_expected(error)}, not {written}"
    elif error.validator in ("required", "additionalProperties") and _is_alternative(error, node):
        yield path, position, f"{_expected(error).partition(';')[0]}, not a mapping of other names"
    elif error.validator == "additionalProperties":
        known = frozenset(error.schema.get("properties", ()))
        for name in islice((key for key in node.keys if key not in known), MOST_PROBLEMS):
            yield (*path, name), node.keys[name], _unknown(name, known)
    elif error.validator == "required":
        known = frozenset(error.schema.get("properties", ())) or frozenset(error.validator_value)
        misspelt = {suggestion(name, known) for name in islice(node.keys, MOST_PROBLEMS) if name not in known}
        for name in error.validator_value:
            if name not in node.keys and name not in misspelt:
                yield (*path, name), position, "is required"
    elif error.validator == "oneOf":
        yield from _of_alternatives(error, node, path, position)
    elif error.validator == "uniqueItems":
        yield _repeated(error.instance, node, path)
    else:
        yield path, position, _of_value(error, node, path)


def _of_value(error: Any, node: Node, path: Path) -> str:
    if error.validator == "not":
        return _expected(error)
    written = _kind_of(error.instance) if NEVER_QUOTED.intersection(path) else _as_written(node, error.instance)
    return f"{_expected(error)}, not {written}{_hint(error)}"


def _repeated(items: Sequence[Json], node: Node, path: Path) -> tuple[Path, tuple[int, int], str]:
    """Return the place of the first item that a list has twice, and the message."""
    index = first_repeated(items) or 0
    again = node.at((index,))
    which = "this" if NEVER_QUOTED.intersection(path) else shown(items[index])
    return (*path, index), (again.line, again.column), f"{which} is listed twice"


def _of_alternatives(
    error: Any, node: Node, path: Path, position: tuple[int, int]
) -> Iterator[tuple[Path, tuple[int, int], str]]:
    """Explain that one of some fields is required, and all but one are too many; what has no fields is told already."""
    if not isinstance(node.value, dict):
        return
    first, *others = (name for each in error.validator_value for name in each["required"])
    known = frozenset(error.schema.get("properties", ()))
    given = [name for name in (first, *others) if name in node.keys]
    if given:
        yield (*path, given[-1]), node.keys[given[-1]], f"stands in place of '{given[0]}': leave one of the two out"
        return
    misspelt = {suggestion(name, known) for name in islice(node.keys, MOST_PROBLEMS) if name not in known}
    if misspelt.isdisjoint((first, *others)):
        yield (*path, first), position, f"is required, or '{' or '.join(others)}' in its place"


def _expected(error: Any) -> str:
    return str(error.schema.get("errorMessage") or "expected fields such as 'path: ../apps/blog'")


def _unknown(name: str, known: frozenset[str]) -> str:
    meant = " or ".join(f"'{each}'" for each in _meant(name, known))
    hint = f"did you mean {meant}?" if meant else f"the fields here are {', '.join(sorted(known))}"
    return f"unknown field {shown(name)}; {hint}"


def _is_alternative(error: Any, node: Node) -> bool:
    """Whether a mapping stands where a plain value would do, and has none of the fields that one would need."""
    needed, known = error.schema.get("required", ()), frozenset(error.schema.get("properties", ()))
    is_near = any(name in known or suggestion(name, known) for name in islice(node.keys, MOST_PROBLEMS))
    return bool(needed) and "string" in error.schema.get("type", ()) and not is_near


def _kind_of(value: Json) -> str:
    """Name the kind of a value instead of quoting it."""
    match value:
        case str():
            return "this text"
        case int() | float() if not isinstance(value, bool):
            return "a number"
        case _:
            return shown(value)


def _as_written(node: Node, value: Json) -> str:
    """Format a value, numbers as in the file: 3.10, not 3.1."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(node.written) if is_number else shown(value)


def _hint(error: Any) -> str:
    types = error.schema.get("type", ())
    if isinstance(error.instance, str) and _would_fit(error.instance, types):
        return "; remove the quotes"
    if error.validator != "type":
        return ""
    if types == "boolean" and str(error.instance).lower() in _NOT_BOOLEAN:
        return " (YAML 1.2 has only true and false)"
    if types == "string" and isinstance(error.instance, bool | int | float):
        return "; quote it to make it text"
    return ""


def _would_fit(text: str, types: str | Sequence[str]) -> bool:
    """Whether a text would be a number, or true or false, without its quotes, where such is expected."""
    value = value_of(text)
    wanted = frozenset((types,) if isinstance(types, str) else types)
    if isinstance(value, bool):
        return "boolean" in wanted
    return isinstance(value, int | float) and not wanted.isdisjoint(("integer", "number"))
