"""Tell what each running instance asked for, what it uses and what holds it, as the kernel has it.

Nothing here asks the daemon: the groups of a process, and its limits, are read where the kernel keeps them.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any

from reconciler.isolation.cells import Cell, cell_seen
from reconciler.isolation.limiting import has_files_limit, is_held, used_memory
from reconciler.linux import process_table
from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_identity import owner_of
from reconciler.linux.resource_limits import data_limit
from reconciler.planning.isolation.confinement import NO_PROOF, proof_of
from reconciler.planning.isolation.limits import Limit, Limits, shown

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.state.records import InstanceRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLimit:
    """One limit of an instance: what is asked, and how it is held; `used` is told of memory and processes."""

    limit: str
    asked: str
    held: str
    used: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confined:
    """A running instance: `process` is the name and the number of one that is not web, `cell` says whether it has one.

    `limits` are those that its manifest or the host asks for. `isolation` is the kind that it was started with, and
    `held` and `missing` are the parts of that as it proved them from inside, by `tried` tries. `user` is the number of
    the user that it runs as. `connects` are the places of its app's list, without any where it has none.
    """

    app: str
    id: str
    pid: int
    process: str
    cell: bool
    limits: tuple[HeldLimit, ...]
    isolation: str = "none"
    held: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    tried: int = 0
    letters: str = ""
    lacks: str = ""
    user: int | None = None
    connects: tuple[str, ...] = ()


def confined(snapshot: "HostSnapshot", apps: Collection[str]) -> list[Confined]:
    """Return the running instances of these apps, by app, oldest first. Blocks."""
    return [
        _confined(record, _asked(snapshot.desired, record), _connects(snapshot.desired, record))
        for name in sorted(apps)
        for record in (*snapshot.instances.get(name, []), *snapshot.processes.get(name, []))
        if record.pid
    ]


def _confined(record: "InstanceRecord", asked: Limits, connects: tuple[str, ...]) -> Confined:
    pid = record.pid or 0
    cell = cell_seen(record.app, record.id, pid)
    proof = proof_of(record.isolation) or NO_PROOF
    return Confined(
        app=record.app,
        id=record.id,
        pid=pid,
        process=f"{record.process}.{record.slot}" if record.process else "",
        cell=bool(cell),
        limits=tuple(_limits(cell, pid, asked)),
        isolation=record.isolation.splitlines()[0].removeprefix("isolation ") if record.isolation else "none",
        held=proof.held,
        missing={str(part): why for part, why in proof.missing.items()},
        tried=proof.tried,
        letters=proof.letters,
        lacks=proof.told,
        user=owner_of(pid),
        connects=connects,
    )


_LIMITS: tuple[Limit, ...] = ("memory", "cpu", "processes", "files", "disk")


def _limits(cell: Cell, pid: int, asked: Limits) -> Iterator[HeldLimit]:
    for limit in _LIMITS:
        value = getattr(asked, limit)
        if value is None:
            continue
        held, used = "watched", ""
        if is_held(cell, limit, value):
            held = "the kernel, for all processes together"
        elif limit == "files" and has_files_limit(pid, value):
            held = "the kernel, for each process"
        elif limit == "memory" and data_limit(pid) == value:
            held = "the kernel, for each process; watched for all together"
        if limit == "memory":
            total = used_memory(cell)
            own = sum(process_table.own(each) for each, _ in process_table.family(pid))
            used = shown("memory", own if total is None else total)
        elif limit == "processes":
            used = str(sum(process_table.threads(each) for each, _ in process_table.family(pid)))
        yield HeldLimit(limit=limit, asked=shown(limit, value), held=held, used=used)


def _connects(desired: Mapping[str, Any], record: "InstanceRecord") -> tuple[str, ...]:
    """Return where the manifest in force lets an app connect, nothing without a list."""
    return tuple(map(str, desired.get("apps", {}).get(record.app, {}).get("connect", ())))


def _asked(desired: Mapping[str, Any], record: "InstanceRecord") -> Limits:
    """Return the limits that the manifests in force ask for, as the daemon wrote them down."""
    facts = desired.get("apps", {}).get(record.app, {})
    found = facts.get("limits", {}).get(record.process, {})
    return Limits(**{name: value for name, value in found.items() if name in Limits.__dataclass_fields__})
