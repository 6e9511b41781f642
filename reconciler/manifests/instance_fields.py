"""Read and check the field `instances` of an app: how many instances serve it, in a cluster."""

from collections.abc import Iterator
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import whole_number
from reconciler.planning.scaling.instance_range import ONE, InstanceRange

_HERE_ONE = "one host runs one instance: remove it, and raise 'workers', or have 'place' name a cluster"


def instances_of(tree: Node) -> InstanceRange:
    """Return the number or the range of a document that has no problem."""
    node = tree.given("instances")
    if node is None:
        return ONE
    if not isinstance(node.value, dict):
        return InstanceRange(least=whole_number(node.value))
    given: dict[str, Any] = node.value
    return InstanceRange(least=given.get("min", ONE.least), most=given["max"], cpu=given.get("cpu", ONE.cpu))


def problems_of_instances(tree: Node, *, is_placed: bool) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the field beyond the schema; an app that is not `is_placed` serves on this host."""
    node = tree.given("instances")
    if node is None:
        return
    if not is_placed and node.value != 1:
        yield ("instances",), _HERE_ONE
    if isinstance(node.value, dict):
        least, most = node.value.get("min", 1), node.value.get("max")
        if isinstance(least, int) and isinstance(most, int) and least >= most:
            yield ("instances", "min"), f"must be less than 'max', which is {most}: or give a number in place of both"
