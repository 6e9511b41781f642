"""Parse the `notifications` of a settings file, already checked by its schema, into targets or problems."""

import posixpath
from collections.abc import Mapping
from typing import Any

from reconciler.documents.problem import Problem, dotted
from reconciler.documents.tree import Node
from reconciler.notifications.target import Target
from reconciler.notifications.targets.registry import target_type


def targets_of(file: str, tree: Node) -> tuple[tuple[Target, ...], list[Problem]]:
    """Return the notification targets, and the problem of each that is invalid."""
    node = tree.parts.get("notifications") if "notifications" in tree.keys else None
    targets: list[Target] = []
    problems: list[Problem] = []
    for index, part in node.parts.items() if node is not None else ():
        fields: Any = part.value
        message = _problem(fields)
        if message:
            path = dotted(("notifications", index))
            problems.append(Problem(file=file, line=part.line, column=part.column, path=path, message=message))
        else:
            targets.append(target_type(fields["to"]).parse(fields, posixpath.dirname(file)))
    return tuple(targets), problems


def _problem(fields: Mapping[str, Any]) -> str:
    of_type = target_type(fields["to"])
    for name in of_type.REQUIRED:
        if name not in fields:
            return f"requires '{name}' with 'to: {fields['to']}'"
    for name in sorted(fields.keys() - {"to", *of_type.REQUIRED, *of_type.OPTIONAL}):
        return f"has '{name}', which does not apply to 'to: {fields['to']}'"
    return of_type.problem(fields)
