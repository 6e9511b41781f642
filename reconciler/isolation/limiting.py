"""Hold what is in a cell to its limits by the means of the kernel, and read how much of them is used."""

import resource
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from reconciler.isolation.cells import ENDING, Cell
from reconciler.linux.control_groups import Group
from reconciler.linux.pressure import RESOURCES, Stall, parsed
from reconciler.linux.resource_limits import data_limit, files_limits, lift_files, limit_data, limit_files
from reconciler.planning.isolation.limits import CONTROLLERS, NO_LIMITS, Held, Limit, Limits

_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1000
_WEIGHT, _SHARES = 100, 1024  # of one core: cpu.weight and cpu.shares, cgroups(7)
_MOST_WEIGHT, _MOST_SHARES = 10_000, 262_144


def hold(cell: Cell, limits: Limits, pids: Collection[int], files: tuple[int, int]) -> Mapping[Limit, Held]:
    """Hold a cell to limits, and the processes `pids` of it that run; `files` are what each may open without a limit.

    Returns how each limit is held that the kernel holds.
    """
    held: dict[Limit, Held] = {}
    for limit, controller in CONTROLLERS.items():
        group, value = cell.groups.get(controller), getattr(limits, limit)
        if group is not None and _write(_FILES[limit], group, value) and value is not None:
            held[limit] = "together"
    if pids:
        by_itself = limits.memory if "memory" not in held else None
        limit_data(pids, by_itself)
        most = None if limits.files is None else min(limits.files, files[1])
        if not (lift_files(pids, files) if most is None else limit_files(pids, (most, most))):
            held["files"] = "later"
    if limits.memory is not None and "memory" not in held:
        held["memory"] = "each"
    if limits.files is not None:
        held.setdefault("files", "each")
    return held


def in_force(cell: Cell, pid: int, files: tuple[int, int]) -> Limits | None:
    """Return NO_LIMITS of an instance that an earlier daemon started if the kernel holds it to none, else None."""
    limited = any(_is_limited(limit, cell.groups[name]) for limit, name in CONTROLLERS.items() if name in cell.groups)
    open_files = files_limits(pid)
    if limited or data_limit(pid) is not None or (open_files is not None and open_files[1] < files[1]):
        return None
    return NO_LIMITS


def seen(cell: Cell, pid: int, asked: Limits) -> Limits:
    """Return limits that are asked if a process and its cell are held to them, as far as the kernel holds any of them.

    NO_LIMITS otherwise; which others are in force is not told.
    """
    for limit, controller in CONTROLLERS.items():
        group = cell.groups.get(controller)
        if group is not None and not _is_held_to(limit, group, getattr(asked, limit)):
            return NO_LIMITS
    return asked if asked.files is None or has_files_limit(pid, asked.files) is not False else NO_LIMITS


def is_held(cell: Cell, limit: Limit, value: float) -> bool:
    """Whether the kernel holds all processes of a cell together to a limit."""
    group = cell.groups.get(CONTROLLERS.get(limit, ""))
    return group is not None and _is_held_to(limit, group, value)


def has_files_limit(pid: int, files: int) -> bool | None:
    """Whether a process may open so many files, or as many as the host allows if that is less; None if it is gone."""
    found = files_limits(pid)
    if found is None:
        return None
    return found[1] == files or resource.getrlimit(resource.RLIMIT_NOFILE)[1] <= found[1] < files


def used_memory(cell: Cell) -> int | None:
    """Return the bytes that a cell uses, without cached files that it could do without; None where nothing counts."""
    group = cell.groups.get("memory")
    if group is None:
        return None
    total = group.number("memory.current" if group.version == 2 else "memory.usage_in_bytes")
    cached = group.number("memory.stat", "inactive_file" if group.version == 2 else "total_inactive_file")
    return None if total is None else max(0, total - (cached or 0))


def memory_kills(cell: Cell) -> int:
    """Return how many processes of a cell the kernel has killed as it used all its memory."""
    group = cell.groups.get("memory")
    if group is None:
        return 0
    return group.number("memory.events" if group.version == 2 else "memory.oom_control", "oom_kill") or 0


def memory_limit(cell: Cell) -> int | None:
    """Return the bytes that a cell is held to, None without a limit."""
    group = cell.groups.get("memory")
    if group is None or not _is_limited("memory", group):
        return None
    return group.number("memory.max" if group.version == 2 else "memory.limit_in_bytes")


def memory_pressure(cell: Cell) -> float:
    """Return the share of the last ten seconds in which some process of a cell waited for memory, from 0 to 1."""
    stall = pressure(cell).get("memory")
    return 0.0 if stall is None else stall.share


def pressure(cell: Cell) -> dict[str, Stall]:
    """Return how much of the time some process of a cell waits, by resource; nothing where the kernel does not tell."""
    group = cell.groups.get(ENDING)
    if group is None:
        return {}
    found = ((resource, parsed(group.read(f"{resource}.pressure") or "")) for resource in RESOURCES)
    return {resource: stall for resource, stall in found if stall is not None}


def refused_processes(cell: Cell) -> int:
    """Return how often the kernel refused a process or a thread, as there were as many as there may be."""
    group = cell.groups.get("pids")
    return 0 if group is None else group.number("pids.events", "max") or 0


def _write(files: Callable[[int, float | None], Mapping[str, str]], group: Group, value: float | None) -> bool:
    try:
        for name, text in files(group.version, value).items():
            group.write(name, text)
    except OSError:
        return False
    return True


def _memory(version: int, value: float | None) -> Mapping[str, str]:
    if version == 2:
        return {"memory.max": "max" if value is None else str(int(value))}
    return {"memory.limit_in_bytes": "-1" if value is None else str(int(value))}


def _processes(_: int, value: float | None) -> Mapping[str, str]:
    return {"pids.max": "max" if value is None else str(int(value))}


def _cpu(version: int, value: float | None) -> Mapping[str, str]:
    quota = "max" if value is None else str(max(_LEAST_QUOTA_US, int(value * _PERIOD_US)))
    cores = 1.0 if value is None else value
    if version == 2:
        weight = min(_MOST_WEIGHT, max(1, round(_WEIGHT * cores)))
        return {"cpu.max": f"{quota} {_PERIOD_US}", "cpu.weight": str(weight)}
    shares = min(_MOST_SHARES, max(2, round(_SHARES * cores)))
    return {"cpu.cfs_quota_us": "-1" if value is None else quota, "cpu.shares": str(shares)}


_FILES: Mapping[Limit, Callable[[int, float | None], Mapping[str, str]]] = {
    "memory": _memory,
    "processes": _processes,
    "cpu": _cpu,
}
_UNLIMITED_V1_BYTES = 1 << 60
_PAGE = 1 << 16  # the largest; the kernel rounds down to its own


def _is_held_to(limit: Limit, group: Group, value: float | None) -> bool:
    """Whether a group has the value of a limit, None for none."""
    if value is None:
        return not _is_limited(limit, group)
    name, text = next(iter(_FILES[limit](group.version, value).items()))
    if limit == "memory":
        return abs((group.number(name) or 0) - int(value)) < _PAGE
    return (group.read(name) or "").split() == text.split()


def _is_limited(limit: Limit, group: Group) -> bool:
    """Whether the kernel holds a group to a limit."""
    if limit == "memory" and group.version == 1:
        return (group.number("memory.limit_in_bytes") or _UNLIMITED_V1_BYTES) < _UNLIMITED_V1_BYTES
    name = next(iter(_FILES[limit](group.version, None)))
    with suppress(IndexError):
        return (group.read(name) or "max").split()[0] not in {"max", "-1"}
    return False
