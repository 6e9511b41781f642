"""Recognise what an earlier daemon left running, from its records and from the marks in the process table.

A record is only a claim; the process table has the last word. A master on no record, because the database was lost or
could not take it, is put on record from its own marks.
"""

import contextlib
import json
import math
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.documents.names import is_name, is_process_name
from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.processes import adopt, await_end, kill_group
from reconciler.planning.address import Address
from reconciler.planning.processes.stop import parsed
from reconciler.serving import logs
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.marks import NO_APPS, Marked, is_id
from reconciler.serving.programs.gunicorn import InstancePaths
from reconciler.state.records import InstanceRecord, Records

_STRAYS_END_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """An instance as it was found when the daemon started; `key` is its app, or `APP/PROCESS`."""

    key: str
    pid: int
    alive: bool


def on_record_or_marked(records: Records, known: Sequence[Marked]) -> list[InstanceRecord]:
    """Return the record of every instance, oldest first; a full disk may hold the records that marks replace."""
    recorded = {}
    for record in records.instances():
        if is_sound(record):
            recorded[record.id] = record
        else:
            records.drop_instance(record.id)
    marked_only = {record.id: record for record in _unrecorded(known, recorded)}
    for record in marked_only.values():
        records.put_instance(record)
    return sorted((recorded | marked_only).values(), key=lambda record: (record.started_at, record.id))


def _unrecorded(known: Iterable[Marked], recorded: Collection[str]) -> Iterator[InstanceRecord]:
    """Make records of the masters that have none, from their marks.

    A mark is what a process says of itself: a record counts only if it is of that very instance, and well-formed.
    """
    for process in known:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            if process.leads and process.instance not in recorded:
                stored = json.loads(process.record)
                record = InstanceRecord(**{**stored, "address": Address(**stored["address"])})
                if (record.id, record.app) == (process.instance, process.app) and is_sound(record):
                    yield replace(record, pid=process.pid, ticks=start_ticks(process.pid))


def is_sound(record: InstanceRecord) -> bool:
    """Return whether every value of a record is one that may be, so that it may become part of a path or be added."""
    # Any: what a database or a mark holds need not be what it should
    texts: tuple[Any, ...] = (record.app, record.boot, record.address.host, record.isolation, record.beside)
    ids: tuple[Any, ...] = (record.id, record.revision, record.build, record.directory_name)
    times: tuple[Any, ...] = (record.started_at, record.stop_timeout_s, record.ready_at, record.stopping_since)
    numbers: tuple[Any, ...] = (
        record.workers, record.address.port, record.pid, record.ticks, record.slot, record.steps,
    )  # fmt: skip
    return (
        all(isinstance(each, str) and is_id(each) for each in ids)
        and all(isinstance(each, str) for each in texts)
        and is_name(record.app)
        and all(each is None or (isinstance(each, int | float) and 0 <= each < math.inf) for each in times)
        and all(each is None or (isinstance(each, int) and 0 <= each < 2**63) for each in numbers)
        and record.address.port < 2**16
        and _is_sound_port(record.beside)
        and _is_sound_process(record)
    )


def _is_sound_port(beside: str) -> bool:
    """Return whether a text is that of an address with a port, or of none."""
    with contextlib.suppress(ValueError):
        return not beside or 0 < Address.of_port(beside).port < 2**16
    return False


def _is_sound_process(record: InstanceRecord) -> bool:
    """Return whether what a record says of a process may be; nothing, if it is of a web server."""
    said: tuple[Any, ...] = (record.process, record.version, record.stop)  # Any: as above
    if said == ("", "", ""):
        return True
    process, version, stop = said
    if not all(isinstance(each, str) for each in said):
        return False
    return is_process_name(process) and is_id(version) and parsed(stop) is not None


def holders(
    known: Iterable[Marked], records: Sequence[InstanceRecord]
) -> Iterator[tuple[Marked, InstanceRecord, Address]]:
    """Yield every listener with a process that holds it and its record, those of the oldest instance first."""
    order = {(each.app, each.id): number for number, each in enumerate(records) if each.addresses}
    found = [each for each in known if (each.app, each.instance) in order]
    for process in sorted(found, key=lambda each: order[each.app, each.instance]):
        record = records[order[process.app, process.instance]]
        yield from ((process, record, address) for address in record.addresses)


def with_process(record: InstanceRecord, known: Iterable[Marked]) -> InstanceRecord:
    """Complete the record of an instance whose daemon was killed between starting it and writing down its pid."""
    if record.pid is not None:
        return record
    for process in known:
        if (process.instance, process.app) == (record.id, record.app) and process.leads:
            return replace(record, pid=process.pid, ticks=start_ticks(process.pid))
    return record


def restored(
    record: InstanceRecord,
    readiness: Path,
    places: InstancePaths,
    on_end: Callable[[LiveInstance], None],
    users: Mapping[int, str] = NO_APPS,
) -> LiveInstance:
    """Adopt the process of a record, if it is still there; `on_end` is called with the instance when it ends.

    `users` are those that apps have of their own.
    """
    log = places.log_of(record.process, record.slot)
    live = LiveInstance(
        record=record,
        readiness=readiness,
        log=log,
        link=places.code(record.directory_name),
        log_start=logs.size(log),
    )
    if not record.has_program:
        return live
    if record.pid is not None and record.ticks is not None:
        user = next((user for user, app in users.items() if app == record.app), None)
        live.process = adopt(record.pid, record.ticks, ended=lambda: on_end(live), user=user)
    workers = live.workers_set()
    if workers is not None and record.workers not in {0, workers}:
        live.record = replace(record, workers=workers)  # it was scaled, and the daemon killed before it wrote that
    names = live.names()
    if "program" in names:
        live.program = live.own_program() or live.program
    live.update_from_workers(names)
    if live.process is None:
        live.end = "exited while no daemon was watching"
    elif record.ready_at is None and 0 < live.record.workers <= live.workers_passed:
        live.mark_ready()
    live.counts_requests = live.is_counting()
    return live


def end_strays(known: Iterable[Marked], alive: Collection[str]) -> None:
    """Kill marked processes of no instance that is alive: half-started orphans, workers without a master. Blocks."""
    strays = [process for process in known if process.instance not in alive]
    for process in strays:
        if process.leads:
            kill_group(process.pid)
        else:
            with contextlib.suppress(OSError):
                os.kill(process.pid, signal.SIGKILL)
    # Until they are gone they hold the port that is about to be opened again.
    await_end([process.pid for process in strays], _STRAYS_END_S)
