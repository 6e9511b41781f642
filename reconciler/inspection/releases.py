"""Tell the releases of an app: what ran when, why, what differed, what became of it, and where a rollback can go."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain
from typing import Any, Literal, TypeAlias

from reconciler.host.revision_differences import Change
from reconciler.inspection.snapshot import HostSnapshot
from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import Reason
from reconciler.settings.settings import Settings
from reconciler.staging.differences import SourceDifference, Tree, compare, restored, tree_of_build
from reconciler.state.release_log import ReleaseRecord

Outcome: TypeAlias = Literal[
    "deploying", "canary", "serving", "stopped", "failed", "replaced", "rolled back", "superseded", "unknown"
]
_RUNNING = frozenset(("running", "degraded", "sleeping", "starting", "staging", "failing", "pending", "canary"))
_CAUSES: Mapping[str, str] = {
    "manifest": "its manifest changed",
    "source": "its source changed",
    "manifest and source": "its manifest and its source changed",
    "credentials": "its credentials or secrets changed",
    "": "unknown",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of an app; `record` has its times, `number` 0 for one of before they were recorded.

    `changes` and `files` are None where they are not known. `can_roll_back` says that its build is kept, it is known
    good and it is not the revision that is desired.
    """

    record: ReleaseRecord
    cause: str
    outcome: Outcome
    changes: tuple[Change, ...] | None
    files: SourceDifference | None
    can_roll_back: bool

    def facts(self) -> dict[str, Any]:
        """Return the release as JSON data; times are seconds since 1970."""
        record = self.record
        return {
            "number": record.number,
            "revision": record.revision,
            "build": record.build,
            "at": record.at or None,
            "reason": record.reason,
            "cause": self.cause,
            "initiator": record.initiator,
            "requested_by": record.requested_by or None,
            "commit": record.git_commit or None,
            "previous_revision": record.previous or None,
            "changes": None if self.changes is None else [asdict(change) for change in self.changes],
            "files": None if self.files is None else asdict(self.files),
            "outcome": self.outcome,
            "served_at": record.served_at,
            "served_until": record.served_until,
            "failures": record.failures,
            "failure": record.failure or None,
            "can_roll_back": self.can_roll_back,
        }


def releases(snapshot: HostSnapshot, app: str) -> tuple[Release, ...]:
    """Return the releases of an app, the newest first; none of an app that was never deployed. Blocks."""
    recorded = snapshot.records.release_log.of(app)
    good = snapshot.known_good(app)
    status = snapshot.app_statuses.get(app)
    current = recorded[0].revision if recorded else next((each.id for each in good), "")
    targets = {each.id for each in good if snapshot.staged(app, each.build.id) is not None and each.id != current}
    named = {each.revision for each in recorded}
    before = [
        ReleaseRecord(number=0, revision=each.id, build=each.build.id, at=0.0, reason="", initiator="")
        for each in good
        if each.id not in named
    ]
    found: list[Release] = []
    for number, record in enumerate((*recorded, *before)):
        newer = recorded[number - 1] if 0 < number <= len(recorded) else None
        state = "running" if status is None else status.state
        tried = status is not None and state == "canary" and status.wanted == record.revision
        shown = record.revision in targets and all(each.record.revision != record.revision for each in found)
        found.append(
            Release(
                record=record,
                cause=f"{_cause(record)}{_commit(record)}",
                outcome=_outcome(record, newer, state, tried=tried)
                if record.number
                else _outcome_before(number, state),
                changes=_changes(record.changes),
                files=restored(record.files) or _found_now(snapshot, app, record),
                can_roll_back=shown,
            )
        )
    return tuple(found)


def _cause(record: ReleaseRecord) -> str:
    if record.initiator == "operator":
        who = f"operator {record.requested_by}" if record.requested_by else "an operator"
        did = "rolled back to it" if record.reason == Reason.ROLLED_BACK_BY_OPERATOR else "cancelled a rollback"
        return f"{who} {did}"
    if record.initiator == "daemon":
        return "the daemon went back to it, as a newer revision could not serve"
    if record.initiator == "manifest" and not record.previous:
        return "first release"
    return _CAUSES[record.initiator]


def _commit(record: ReleaseRecord) -> str:
    """Return the commit that a release came with, "" if it came with none."""
    subject = f" “{record.git_subject}”" if record.git_subject else ""
    return f" (commit {record.git_commit[:7]}{subject})" if record.git_commit else ""


def _outcome(record: ReleaseRecord, newer: ReleaseRecord | None, state: str, *, tried: bool) -> Outcome:
    """Return what became of a release, of which `newer` is the one after it; a canary is `tried` now."""
    if record.serves:
        return "serving" if state in _RUNNING else "stopped"
    failed_last = record.failed_at is not None and record.served_until in {None, record.failed_at}
    if failed_last:
        return "failed"
    if record.served_at is not None:
        rolled_back = newer is not None and newer.reason == Reason.ROLLED_BACK_BY_OPERATOR
        return "rolled back" if rolled_back else "replaced"
    return "superseded" if newer is not None else "canary" if tried else "deploying"


def _outcome_before(number: int, state: str) -> Outcome:
    """Return what became of a release that was not recorded: the newest one serves where no other does."""
    return "unknown" if number else "serving" if state in _RUNNING else "stopped"


def _changes(text: str) -> tuple[Change, ...] | None:
    try:
        return tuple(Change(field=field, before=before, after=after) for field, before, after in json.loads(text))
    except (ValueError, TypeError):
        return None


def _found_now(snapshot: HostSnapshot, app: str, record: ReleaseRecord) -> SourceDifference | None:
    """Compare the builds as they are: the daemon has not come to it, or was killed before."""
    trees = _trees(snapshot, app, record)
    return None if trees is None else compare(*trees)


def _trees(snapshot: HostSnapshot, app: str, record: ReleaseRecord) -> tuple[Tree, Tree] | None:
    if not record.previous_build:
        return None
    builds = snapshot.paths.builds(app)
    before, after = tree_of_build(builds / record.previous_build), tree_of_build(builds / record.build)
    return None if before is None or after is None else (before, after)


def source_lines(snapshot: HostSnapshot, settings: Settings, app: str, release: Release) -> Iterator[str] | None:
    """Return the lines of a unified difference of a release's source, without secrets.

    None if a build that it needs is not kept.
    """
    from reconciler.inspection.log_redaction import given_texts
    from reconciler.inspection.source_comparison import compared

    trees = _trees(snapshot, app, release.record)
    if trees is None:
        return None
    comparison = compared(*trees, source=snapshot.source_path(app), files=snapshot.env_files.known_paths(app))
    return chain.from_iterable(each.flat() for each in comparison.shown(given_texts(settings, app)))


def rollback_targets(found: Sequence[Release]) -> tuple[str, ...]:
    """Return the revisions to which a rollback can go, the newest first."""
    return tuple(each.record.revision for each in found if each.can_roll_back)
