"""Check the `place` of an app's document: this host, or a cluster that the host's settings name."""

from collections.abc import Iterator

from reconciler.documents.problem import Problem
from reconciler.documents.schema_checks import suggestion
from reconciler.documents.tree import Node
from reconciler.planning.apps.app import HERE


def place_problems(file: str, tree: Node, clusters: frozenset[str] | None) -> Iterator[Problem]:
    """Yield what is wrong with the place; None for clusters that are not known here."""
    node = tree.given("place")
    if node is None or clusters is None or node.value == HERE or node.value in clusters:
        return
    close = suggestion(str(node.value), clusters | {HERE})
    known = ", ".join(sorted(clusters)) or "none"
    hint = f"did you mean '{close}'?" if close else f"'clusters' of the host's settings has {known}"
    message = f"no cluster is named '{node.value}'; {hint}"
    yield Problem(file=file, line=node.line, column=node.column, path="place", message=message)
