"""Read and check the field `workers` of an app whose number of workers is chosen by need."""

from collections.abc import Callable, Iterator
from typing import Any

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import duration_s, share_of_one
from reconciler.planning.scaling.worker_range import WorkerRange

_LEAST_SHARE = 0.05
_LONGEST_S = 86_400.0


def worker_range_of(tree: Node) -> WorkerRange | None:
    """Return the range of a document that has no problem, None if it says a number."""
    node = tree.given("workers")
    if node is None or not isinstance(node.value, dict):
        return None
    given: dict[str, Any] = node.value  # the schema has seen to it
    silent = WorkerRange(least=1, most=1)
    queue_s, calm_s = node.seconds("queue"), node.seconds("calm")
    return WorkerRange(
        least=int(given.get("min", 1)),
        most=int(given["max"]),
        busy=share_of_one(str(node.parts["busy"].written)) if "busy" in given else None,
        queue_s=silent.queue_s if queue_s is None else queue_s,
        calm_s=silent.calm_s if calm_s is None else calm_s,
        spare=int(given.get("spare", 0)),
    )


def problems_of_workers(tree: Node) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with a range beyond the schema."""
    node = tree.given("workers")
    if node is None or not isinstance(node.value, dict):
        return
    least, most, spare = (_count(node.value.get(name)) for name in ("min", "max", "spare"))
    if most is not None and (least or 1) > most:
        yield ("workers", "min"), f"is more than 'max', which is {most}"
    elif most is not None and (spare or 0) >= most:
        yield ("workers", "spare"), f"must be less than 'max', which is {most}"
    if problem := _problem(node, "busy", share_of_one, _busy_problem):
        yield ("workers", "busy"), problem
    for name in ("queue", "calm"):
        if problem := _problem(node, name, duration_s, _duration_problem):
            yield ("workers", name), problem


def _problem(node: Node, name: str, read: Callable[[str], float], problem: Callable[[float], str]) -> str:
    if name not in node.keys:
        return ""
    try:
        return problem(read(str(node.parts[name].written)))
    except ValueError as error:
        return str(error)


def _busy_problem(share: float) -> str:
    return "" if share >= _LEAST_SHARE else "expected a share from 5% to 100%"


def _duration_problem(seconds: float) -> str:
    return "must be greater than zero" if seconds <= 0 else "" if seconds <= _LONGEST_S else "must be at most 1d"


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
