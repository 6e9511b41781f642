"""Read a length of time that a document gives, to say what is wrong with it."""

from collections.abc import Callable

from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s


def duration_problem(node: Node, path: tuple[str, ...], problem: Callable[[float], str]) -> str:
    """Return what is wrong with the duration at a path below a node, "" if nothing is, or its schema says it.

    `problem` says what is wrong with a number of seconds.
    """
    found = node.given(*path)
    if found is None or not isinstance(found.value, str | int | float):
        return ""
    try:
        seconds = duration_s(str(found.written))
    except ValueError as error:
        return str(error)
    return problem(seconds)
