"""What keeps an app from being exported, and what of it differs in a cluster: each with its place in the manifest."""

from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.cluster.fields import FIELDS, verdict_of
from reconciler.cluster.rules import refused_values, told_values
from reconciler.cluster.target import Target, Values
from reconciler.documents.problem import Path, Problem, dotted
from reconciler.documents.schemas import schema
from reconciler.documents.tree import Node
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service

_BY_NAME = frozenset(("processes", "schedules"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting:
    """An app that is to be exported as its document says it: its address has the document's port, if any.

    `values` are its secrets, None where they are not known; `services` are those that it may bind. `without` are the
    fields of the document that the app does not have.
    """

    app: App
    tree: Node
    target: Target
    services: Mapping[str, Service]
    values: Values | None = None
    without: frozenset[str] = frozenset()


def refusals_of(exporting: Exporting) -> list[Problem]:
    """Return what keeps an app from being exported, in the order of the manifest."""
    found = [(path, verdict.words) for path, _, verdict in _verdicts(exporting.tree, "refused")]
    found += refused_values(exporting.app, exporting.tree, exporting.target, exporting.services, exporting.values)
    return _problems(exporting, found)


def notes_of(exporting: Exporting) -> list[Problem]:
    """Return what of an app differs in a cluster, in the order of the manifest."""
    found = [(path, verdict.words) for path, _, verdict in _verdicts(exporting.tree, "told")]
    found += told_values(exporting.app, exporting.tree, exporting.target)
    return _problems(exporting, found)


def given_fields(tree: Node) -> Iterator[tuple[str, Path, Node]]:
    """Yield the fields that a document gives, as FIELDS names them, with the place of each."""
    yield from _below(tree, "", ())


def _below(node: Node, pattern: str, path: Path) -> Iterator[tuple[str, Path, Node]]:
    for name, part in node.parts.items():
        if isinstance(name, int):  # of a list: its items are meant by the name of the list
            yield from _below(part, pattern, (*path, name))
            continue
        own = name if not pattern else f"{pattern}.*" if pattern in _BY_NAME else f"{pattern}.{name}"
        yield own, (*path, name), part
        if any(each.startswith(f"{own}.") for each in FIELDS):
            yield from _below(part, own, (*path, name))


def _verdicts(tree: Node, fate: str) -> Iterator[tuple[Path, Node, Any]]:
    for pattern, path, node in given_fields(tree):
        verdict = verdict_of(pattern)
        if verdict is not None and verdict.fate == fate and not _is_default(pattern, node):
            yield path, node, verdict


def _is_default(pattern: str, node: Node) -> bool:
    """Return whether a field says what it is anyway."""
    described: dict[str, Any] = schema("app")
    for name in pattern.split("."):
        if name == "*":
            described = described.get("additionalProperties", {})
        else:
            described = described.get("items", described).get("properties", {}).get(name, {})
    return "default" in described and described["default"] == node.value


def _problems(exporting: Exporting, found: list[tuple[Path, str]]) -> list[Problem]:
    problems = [
        _problem(exporting, path, message)
        for path, message in dict(found).items()
        if not any(dotted(path[:end]) in exporting.without for end in range(1, len(path) + 1))
    ]
    return sorted(problems, key=lambda problem: (problem.line, problem.column, problem.path))


def _problem(exporting: Exporting, path: Path, message: str) -> Problem:
    node = exporting.tree.at(path)
    parent = exporting.tree.at(path[:-1]) if path else exporting.tree
    line, column = parent.keys.get(str(path[-1]), (node.line, node.column)) if path else (node.line, node.column)
    return Problem(file=exporting.app.manifest, line=line, column=column, path=dotted(path), message=message)
