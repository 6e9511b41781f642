"""Recognise what an earlier daemon left running, from its records and from the marks in the process table.

A record is only a claim; the process table has the last word. A master on no record, because the database was lost or
could not take it, is put on record from its own marks.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.linux.processes import adopt, await_end, kill_group, start_ticks
from reconciler.planning.address import Address
from reconciler.serving.instance import LiveInstance
from reconciler.serving.marks import Marked
from reconciler.state.records import InstanceRecord

_STRAYS_END_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adoption:
    """An instance as it was found when the daemon started."""

    app: str
    pid: int
    alive: bool


def unrecorded(known: Iterable[Marked], recorded: Collection[str]) -> Iterator[InstanceRecord]:
    """Make records of the masters that have none, from their marks."""
    for process in known:
        with contextlib.suppress(ValueError, TypeError, KeyError):
            if process.leads and process.instance not in recorded:
                stored = json.loads(process.record)
                record = InstanceRecord(**{**stored, "address": Address(**stored["address"])})
                yield replace(record, pid=process.pid, ticks=start_ticks(process.pid))


def with_process(record: InstanceRecord, known: Iterable[Marked]) -> InstanceRecord:
    """Complete the record of an instance whose daemon was killed between starting it and writing down its pid."""
    if record.pid is not None:
        return record
    for process in known:
        if process.instance == record.id and process.leads:
            return replace(record, pid=process.pid, ticks=start_ticks(process.pid))
    return record


def restored(record: InstanceRecord, readiness: Path, on_end: Callable[[LiveInstance], None]) -> LiveInstance:
    """Adopt the process of a record, if it is still there; `on_end` is called with the instance when it ends."""
    live = LiveInstance(record=record, readiness=readiness)
    if record.pid is not None and record.ticks is not None:
        live.process = adopt(record.pid, record.ticks, ended=lambda: on_end(live))
    workers = live.workers_set()
    if workers is not None and record.workers:  # it may have been scaled, and the daemon killed before it wrote that
        live.record = replace(record, workers=workers)
    if live.process is None:
        live.end = "exited while no daemon was watching"
    elif record.ready_at is None and 0 < live.record.workers <= live.workers_ready():
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
