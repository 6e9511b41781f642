"""Read and check the field `limits` of an app or of one of its processes."""

from collections.abc import Iterator

from reconciler.documents.problem import Path
from reconciler.documents.tree import Node
from reconciler.documents.units import size_bytes, whole_number
from reconciler.planning.isolation.limits import NO_LIMITS, Limits, size

# A Python process takes some 10M by itself; no host has more than the largest.
_LEAST_MEMORY, _MOST_MEMORY = 16 << 20, 1 << 46
_LEAST_CPU, _MOST_CPU = 0.01, 1024.0
_LEAST_DISK = 1 << 20
_SIZES = ("memory", "soft", "disk")


def limits_of(node: Node | None, most: Limits = NO_LIMITS) -> Limits:
    """Return the limits of a document that has no problem, with those of the host where it says none."""
    if node is None or not isinstance(node.value, dict):
        return NO_LIMITS.within(most)
    sizes = {name: size_bytes(str(node.parts[name].written)) for name in _SIZES if name in node.keys}
    counts = {name: whole_number(node.value[name]) for name in ("processes", "files") if name in node.keys}
    cpu = float(str(node.value["cpu"])) if "cpu" in node.keys else None
    return Limits(
        memory=sizes.get("memory"),
        soft=sizes.get("soft"),
        disk=sizes.get("disk"),
        cpu=cpu,
        processes=counts.get("processes"),
        files=counts.get("files"),
    ).within(most)


def problems_of_limits(tree: Node, most: Limits) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong with the limits of an app and of its processes; `most` are those of the host."""
    workers = tree.value.get("workers", 1) if isinstance(tree.value, dict) else 1
    needed = 1 + (workers if isinstance(workers, int) and not isinstance(workers, bool) else 1)
    for path, message in _problems(tree.given("limits"), most, needed=needed):
        yield ("limits", *path), message
    processes = tree.given("processes")
    for name in processes.keys if processes is not None else ():
        for path, message in _problems(tree.given("processes", name, "limits"), most):
            yield ("processes", name, "limits", *path), message


def _problems(node: Node | None, most: Limits, *, needed: int = 1) -> Iterator[tuple[Path, str]]:
    """Yield what is wrong beyond the schema; `needed` is how many processes there are in any case."""
    if node is None or not isinstance(node.value, dict):
        return
    sizes: dict[str, int] = {}
    for name in (each for each in _SIZES if each in node.keys):
        try:
            sizes[name] = size_bytes(str(node.parts[name].written))
        except ValueError as error:
            yield (name,), str(error)
            return
        least = _LEAST_DISK if name == "disk" else _LEAST_MEMORY
        if not least <= sizes[name] <= _MOST_MEMORY:
            yield (name,), f"expected a size from {size(least)} to {size(_MOST_MEMORY)}, not {size(sizes[name])}"
            return
    cpu = node.value.get("cpu")
    if isinstance(cpu, int | float) and not isinstance(cpu, bool) and not _LEAST_CPU <= cpu <= _MOST_CPU:
        yield ("cpu",), f"expected a number of cores from {_LEAST_CPU:g} to {_MOST_CPU:g}, not {cpu:g}"
        return
    processes = node.value.get("processes")
    if isinstance(processes, int) and processes < needed:
        yield ("processes",), f"must be at least {needed}: gunicorn's master and each of its workers is one"
    if (memory := sizes.get("memory", most.memory)) is not None and sizes.get("soft", 0) > memory:
        yield ("soft",), f"is more than 'memory', which is {size(memory)}"
    numbers = (cpu, processes, node.value.get("files"))
    if all(each is None or (isinstance(each, int | float) and not isinstance(each, bool)) for each in numbers):
        for limit, allowed in limits_of(node).beyond(most):
            yield (limit,), f"is more than the settings of this host allow, which is {allowed}"
