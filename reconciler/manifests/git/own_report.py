"""Count how this host is with the commit in force, for the report that it makes of itself. Pure.

Only time in which every app was seen to be up to date counts, by this host's own clock.
"""

from collections.abc import Sequence
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.manifests.git.fleet_record import FleetRecord
from reconciler.planning.fleet.fleet import Fleet
from reconciler.planning.fleet.gate import position_of
from reconciler.planning.fleet.reports import MOST_BAD, Held, Run
from reconciler.planning.origins.proof import OriginApp, Wanted, failing

# Between two looks at the apps that are further apart, nothing is known of them.
LONGEST_GAP_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is true of the origin now. `apps` is None while they are not known, `is_good` whether all came up."""

    head: str | None
    in_force: str | None
    is_good: bool
    apps: Sequence[OriginApp] | None
    with_good: Wanted | None = None
    bad: Sequence[str] = ()
    held: Held = ""


def counted(record: FleetRecord, seen: Seen, passed_s: float, fleet: Fleet, before: Fleet | None) -> FleetRecord:
    """Return the record once `passed_s` seconds have passed, and this was seen.

    `fleet` is that of the commit in force, and `before` that by whose rules it was taken, None if that is not known.
    """
    own = replace(record.own, head=seen.head, in_force=seen.in_force, bad=tuple(seen.bad)[-MOST_BAD:], held=seen.held)
    if seen.in_force is None:
        return replace(record, own=own)
    run = own.run(seen.in_force) or Run(commit=seen.in_force)
    if record.counted != seen.in_force:
        owed_s = 0.0 if before is None else _well_for_s(before, own.host, seen.in_force)
        record = replace(record, counted=seen.in_force, unsettled_s=0.0, owed_s=owed_s)
    record = replace(record, own=own)
    if not seen.is_good:
        return _starting(record, run, seen, passed_s, fleet)
    return _good(record, run, seen, passed_s)


def _starting(record: FleetRecord, run: Run, seen: Seen, passed_s: float, fleet: Fleet) -> FleetRecord:
    unsettled_s = record.unsettled_s + passed_s
    is_failing = bool(failing(seen.apps or (), seen.with_good)) or unsettled_s > fleet.silent_after_s
    run = replace(run, state="failing" if is_failing else "starting", well_s=0.0)
    return replace(record, own=record.own.with_run(run), unsettled_s=unsettled_s, excused_with="")


def _good(record: FleetRecord, run: Run, seen: Seen, passed_s: float) -> FleetRecord:
    if seen.apps is None:
        return replace(record, own=record.own.with_run(run))
    names = failing(seen.apps, None)
    if record.excused_with != run.commit:
        record = replace(record, excused=names, excused_with=run.commit)
    if not frozenset(names) <= frozenset(record.excused):
        run = replace(run, state="failing", well_s=0.0)
    else:
        counts = run.state == "well" and passed_s <= LONGEST_GAP_S
        run = replace(run, state="well", well_s=run.well_s + (passed_s if counts else 0.0))
        record = replace(record, excused=names)
    return replace(record, own=record.own.with_run(run))


def signature_of(record: FleetRecord, fleet: Fleet) -> tuple[object, ...]:
    """Return what has to differ for a report to be pushed before its time: a duration counts once it is reached."""
    own = record.own
    runs = tuple((run.commit, run.state) for run in own.runs)
    return own.in_force, own.held, own.bad, runs, left_s(record, fleet) == 0


def left_s(record: FleetRecord, fleet: Fleet) -> float | None:
    """Return for how long this host has yet to be well with its commit for later waves, None if it is not well.

    Those that wait for it still go by the rules by which it was taken.
    """
    run = record.own.run(record.own.in_force)
    if run is None or run.state != "well":
        return None
    return max(0.0, max(record.owed_s, _well_for_s(fleet, record.own.host, run.commit)) - run.well_s)


def _well_for_s(fleet: Fleet, host: str, commit: str) -> float:
    number, _ = position_of(fleet, host, commit)
    return fleet.waves[number].well_for_s if number < len(fleet.waves) else 0.0
