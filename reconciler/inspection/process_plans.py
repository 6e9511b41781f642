"""Compute what the daemon would do about the processes of an app beside its web, without doing it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.isolation.cells import cell_seen
from reconciler.isolation.limiting import seen
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.revision import Revision
from reconciler.planning.command_line import Command, NoCommand, command_of
from reconciler.planning.processes.actions import StartProcess, StopProcess
from reconciler.planning.processes.observed import ObservedProcess, ProcessInstance
from reconciler.planning.processes.plan import plan
from reconciler.planning.processes.process import AppProcess, Process, Target, key_of
from reconciler.planning.reason import Cause, Reason
from reconciler.processes.desired import processes_of
from reconciler.processes.memory import ProcessMemory
from reconciler.processes.targets import inputs_of
from reconciler.state.process_records import on_record
from reconciler.state.records import InstanceRecord

if TYPE_CHECKING:
    from reconciler.inspection.snapshot import HostSnapshot
    from reconciler.planning.apps.actions import Action as AppAction
    from reconciler.planning.plan import Plan

_STOPPED = Cause(Reason.STOPPED_BY_OPERATOR, "stopped by an operator, until its manifest changes")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessAction:
    """What is to be done about one process, as a sentence without its name: `start 2`; and why."""

    process: str
    action: str
    what: str
    cause: str
    reason: str


def in_cluster(place: str, planned: "Plan[AppAction]") -> ProcessAction:
    """Return what follows in the cluster that an app runs in, which is not asked."""
    cause = f"revision {planned.wanted} is to run there" if planned.wanted else "what is staged is to run there"
    what = "push its image, and apply what differs"
    return ProcessAction(
        process=place, action="Apply", what=what, cause=cause, reason=str(Reason.CONFIGURATION_CHANGED)
    )


def process_actions(  # noqa: PLR0913, PLR0917  what it is computed from
    name: str,
    app: App | None,
    seen: Observed,
    planned: "Plan[AppAction]",
    snapshot: "HostSnapshot | None",
    now: float,
) -> Iterator[ProcessAction]:
    """Yield what is to be done about the processes of an app of which this is planned: they follow its web.

    As long as no revision is known, what runs is left as it is.
    """
    serving = next((i.revision for i in reversed(seen.instances) if i.serves), None)
    before = None if snapshot is None or serving is None else snapshot.started_as(name, serving)
    before = before or next(iter(seen.known_good), None)
    wanted = (_wanted(app, seen, planned.wanted) if planned.actions else None) or before
    follows = wanted is not None and (before is None or wanted.id != before.id)
    held = _held(app, seen)
    records: dict[str, list[InstanceRecord]] = {}
    for record in () if snapshot is None else snapshot.processes.get(name, ()):
        records.setdefault(record.process, []).append(record)
    desired = {} if app is None else {each.process.name: each for each in processes_of({name: app}).values()}
    if not desired and not records:
        return
    memory = None if snapshot is None else ProcessMemory(snapshot.records, snapshot.boot)
    for process in sorted({*desired, *records}):
        asked = desired.get(process)
        instances = tuple(_observed(record, asked) for record in records.get(process, ()))
        key, stopped = key_of(name, process), False
        if asked is not None and memory is not None:
            stopped = memory.stopped(key) == asked.fingerprint
        observed = ObservedProcess(
            target=None if asked is None or wanted is None else _target(asked.process, wanted, snapshot),
            held=_STOPPED if stopped else held,
            instances=instances,
            crashes={} if memory is None else memory.crashes(key),
            restart_before=float("-inf") if memory is None else memory.restart_before(key),
        )
        yield from _told(process, asked, observed, now, follows=follows)


def _held(app: App | None, seen: Observed) -> Cause | None:
    stopped = seen.override is not None and seen.override.kind == "stopped"
    if app is None or seen.override is None or not stopped or seen.override.holds_for != app.fingerprint:
        return None
    return Cause(Reason.STOPPED_BY_OPERATOR, "its app was stopped by an operator")


def _wanted(app: App | None, seen: Observed, wanted: str | None) -> Revision | None:
    known = [*seen.known_good]
    if seen.override is not None and seen.override.revision is not None:
        known.append(seen.override.revision)
    if app is not None and seen.source is not None and seen.source.content is not None:
        known.append(seen.inputs.revision(app, seen.source.content))
    return next((each for each in known if each.id == wanted), None)


def _told(
    process: str, asked: AppProcess | None, observed: ObservedProcess, now: float, *, follows: bool
) -> Iterator[ProcessAction]:
    planned = plan(asked, observed, now).actions
    starts = [action for action in planned if isinstance(action, StartProcess)]
    stops = [action for action in planned if isinstance(action, StopProcess)]
    once = " once its web serves" if follows else ""
    if starts or (asked is not None and _waits_for_its_predecessor(asked, observed)):
        cause, reason = (starts[0].cause, starts[0].reason) if starts else _AFTER_ANOTHER
        number = len(starts) or 1
        yield ProcessAction(
            process=process, action="StartProcess", what=f"start {number}{once}", cause=cause, reason=str(reason)
        )
        older = sum(1 for instance in observed.instances if instance.runs and instance.ready_at is not None)
        if starts and older and not stops:
            what, why = f"then stop {older}", "replaced by new instances"
            yield ProcessAction(
                process=process, action="StopProcess", what=what, cause=why, reason=str(Reason.HANDING_OVER)
            )
    for (cause, reason), number in Counter((action.cause, action.reason) for action in stops).items():
        what = f"stop {number}{once if asked is not None and reason == Reason.HANDING_OVER else ''}"
        yield ProcessAction(process=process, action="StopProcess", what=what, cause=cause, reason=str(reason))


_AFTER_ANOTHER = ("its code or its configuration changed", Reason.CONFIGURATION_CHANGED)


def _waits_for_its_predecessor(asked: AppProcess, observed: ObservedProcess) -> bool:
    """Whether it is single, and what runs of it has to end before what is wanted starts."""
    target, process = observed.target, asked.process
    if target is None or observed.held is not None or asked.stops or not process.is_single(target.command):
        return False
    return bool(observed.alive) and all(i.version != target.version(process) or not i.runs for i in observed.alive)


def _observed(record: InstanceRecord, asked: AppProcess | None) -> ProcessInstance:
    """Return an instance on record, with the limits it is held to."""
    if asked is None or not asked.process.limits or not record.pid:
        return on_record(record)
    limits = seen(cell_seen(record.app, record.id, record.pid), record.pid, asked.process.limits)
    return replace(on_record(record), limits=limits)


def _target(process: Process, wanted: Revision, snapshot: "HostSnapshot | None") -> Target | None:
    command = process.command or _line(process.name, wanted, snapshot)
    if command is None:
        return None
    secrets: dict[str, str] = {}
    if process.env_files and snapshot is not None:
        secrets, lacking, _ = snapshot.env_files.of_part(wanted.app, process)
        if lacking:
            return None
    return Target(
        revision=wanted.id, build=wanted.build.id, inputs=inputs_of(wanted), command=command, secrets=secrets
    )  # fmt: skip


def _line(name: str, wanted: Revision, snapshot: "HostSnapshot | None") -> Command | None:
    """Return the command of the line of the Procfile, of the build or, where there is none yet, of the source."""
    from pathlib import Path

    from reconciler.staging.detection.procfile import read_procfile
    from reconciler.staging.errors import StagingError

    places = [Path(wanted.build.source.path)]
    if snapshot is not None:
        places = [
            snapshot.paths.builds(wanted.app) / wanted.build.id / "code",
            Path(snapshot.place(wanted.build.source.path)),
        ]
    for place in places:
        try:
            procfile = read_procfile(place)
            line = None if procfile is None else procfile.other_lines().get(name)
            if line is not None:
                return command_of(line)
        except (StagingError, NoCommand, OSError):
            continue
    return None
