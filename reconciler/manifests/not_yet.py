"""A document's tree in; a problem out for each field that has no effect yet. Nothing is ignored in silence.

A feature that begins to work deletes its line from the table.
"""

from collections.abc import Callable, Iterator, Mapping

from reconciler.desired import Json
from reconciler.manifests.problem import Problem, dotted
from reconciler.manifests.tree import Node
from reconciler.manifests.validate import shown

# Path in the document (`*` is any name) → whether this value of it asks for something that does not work yet.
NOT_YET: Mapping[tuple[str, ...], Callable[[Json], bool]] = {
    ("kind",): lambda value: value == "service",
    ("services",): bool,
    ("env", "*"): lambda value: isinstance(value, dict),
}


def unsupported(file: str, tree: Node) -> list[Problem]:
    """One problem for each field of the document that is not supported yet."""
    return [
        Problem(file=file, line=node.line, column=node.column, path=dotted(path), message=_message(node.value))
        for pattern, asks in NOT_YET.items()
        for path, node in _matching(tree, pattern)
        if asks(node.value)
    ]


def _matching(node: Node, pattern: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Node]]:
    if not pattern:
        yield (), node
        return
    names = list(node.keys) if pattern[0] == "*" else [pattern[0]]
    for name in names:
        if name in node.keys:
            for path, found in _matching(node.parts[name], pattern[1:]):
                yield (name, *path), found


def _message(value: Json) -> str:
    return f"{shown(value)} is not supported yet" if isinstance(value, str) else "is not supported yet"
