"""The history of each app's revisions, which outlives the daemon: failures, good ones, overrides, sleep, restarts."""

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.observed import Failure, HeldWorkers, Override, SleepState
from reconciler.planning.apps.revision import Revision, revision_from
from reconciler.state.records import Records

if TYPE_CHECKING:  # most hosts have no canary
    from reconciler.planning.canary.canary import Split

_MAX_FAILURES = 4
_MAX_KNOWN_GOOD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarts:
    """How often an instance that served exited without being told to, since `revision` served first."""

    revision: str = ""
    restarts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppHistory:
    """The history of one app. `started` are the revisions of its instances, by what each of them is probed."""

    failures: tuple[Failure, ...] = ()
    known_good: tuple[Revision, ...] = field(default=(), repr=False)
    override: Override | None = field(default=None, repr=False)
    sleep_state: SleepState = field(default_factory=SleepState)
    started: tuple[Revision, ...] = field(default=(), repr=False)
    restarts: Restarts = Restarts()
    canary: "Split | None" = None
    held_workers: HeldWorkers | None = None

    def started_as(self, revision: str) -> Revision | None:
        """Return the revision of an instance by its id; None if an earlier version started it and kept no record."""
        return next((known for known in (*self.started, *self.known_good) if known.id == revision), None)

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Return the revisions to which the app may go back."""
        return (*self.known_good, *self._pinned)

    @property
    def rollback_grants(self) -> frozenset[str]:
        """The grants of the revisions to go back to: the last one known to be good, and one pinned by an operator."""
        revisions = (*self.known_good[:1], *self._pinned)
        return frozenset(bound.grant for revision in revisions for bound in revision.bindings)

    @property
    def secrets(self) -> frozenset[str]:
        """The ids of the secrets that revisions name to which the app may go back."""
        return frozenset(
            secret
            for revision in self.revisions
            for secret in (*revision.env_secrets.values(), *(bound.credentials for bound in revision.bindings))
        )

    @property
    def _pinned(self) -> tuple[Revision, ...]:
        return () if self.override is None or self.override.revision is None else (self.override.revision,)


_NONE = AppHistory()


class RevisionHistory:
    """The history of every app. If the disk is full, changes are kept in memory only."""

    def __init__(self, records: Records, boot: str) -> None:
        self._records = records
        self._boot = boot
        self._apps: dict[str, AppHistory] = {}
        for (app, stored), text in records.histories().items():
            with contextlib.suppress(KeyError, TypeError, ValueError):  # written by another version
                what, _, read = _STORED[stored]
                self._apps[app] = replace(self.of(app), **{what: read(json.loads(text), boot)})

    def names(self) -> frozenset[str]:
        """Return the apps that have a history."""
        return frozenset(self._apps)

    def secrets(self) -> frozenset[str]:
        """Return the ids of all secrets that revisions name to which an app may go back."""
        return frozenset(secret for history in self._apps.values() for secret in history.secrets)

    def of(self, app: str) -> AppHistory:
        """Return the history of an app."""
        return self._apps.get(app, _NONE)

    def failed(self, app: str, failure: Failure) -> None:
        """Record the failure of a revision."""
        others = [f for f in self.of(app).failures if f.revision != failure.revision]
        self._keep(app, failures=(failure, *others)[:_MAX_FAILURES])

    def forget_failures(self, app: str) -> None:
        """Forget every failure, so that failed revisions are retried at once."""
        self._keep(app, failures=())

    def staged(self, app: str) -> None:
        """Forget that builds could not be made: one was, or a new daemon tries again."""
        self._keep(app, failures=tuple(f for f in self.of(app).failures if f.phase != "staging"))

    def mark_good(self, app: str, revision: Revision) -> None:
        """Record that a revision passed its probation."""
        others = [p for p in self.of(app).known_good if p.id != revision.id]
        failures = tuple(f for f in self.of(app).failures if f.revision != revision.id or f.kind == "crashed")
        self._keep(app, known_good=(revision, *others)[:_MAX_KNOWN_GOOD], failures=failures)

    def start(self, app: str, revision: Revision, running: Collection[str]) -> None:
        """Record a revision of which an instance is about to start, beside those that are running, by their ids."""
        others = tuple(known for known in self.of(app).started if known.id != revision.id and known.id in running)
        self._keep(app, started=(revision, *others))

    def served(self, app: str, revision: str) -> bool:
        """Record that an instance of a revision serves; return whether it is another, which has no restarts yet."""
        if self.of(app).restarts.revision == revision:
            return False
        self._keep(app, restarts=Restarts(revision=revision))
        return True

    def exited(self, app: str, revision: str) -> None:
        """Count that an instance which served exited on its own; one of an earlier revision is not counted."""
        before = self.of(app).restarts
        if before.revision in {"", revision}:
            self._keep(app, restarts=Restarts(revision=revision, restarts=before.restarts + 1))

    def set_override(self, app: str, override: Override | None) -> None:
        """Set or clear an operator's override of the manifest."""
        self._keep(app, override=override)

    def hold_workers(self, app: str, held: HeldWorkers | None) -> None:
        """Set or clear the number of workers that an operator asked for."""
        self._keep(app, held_workers=held)

    def set_sleep_state(self, app: str, rest: SleepState) -> None:
        """Record that an app sleeps, or that a connection activated it."""
        self._keep(app, sleep_state=rest)

    def keep_awake(self, apps: Iterable[str]) -> None:
        """Forget what these apps slept with: it must not put them to sleep when they may sleep again."""
        for app in apps:
            if self.of(app).sleep_state != SleepState():
                self._keep(app, sleep_state=SleepState())

    def set_canary(self, app: str, canary: "Split | None", *, stored: bool = True) -> None:
        """Record a canary, None once it is over; one that is not `stored` is known to this daemon only."""
        if stored:
            self._keep(app, canary=canary)
        else:
            self._apps[app] = replace(self.of(app), canary=canary)

    def rename_revisions(
        self, app: str, *, failures: tuple[Failure, ...], override: Override | None, sleep_state: SleepState
    ) -> None:
        """Store what is remembered of an app under other revision ids."""
        self._keep(app, failures=failures, override=override, sleep_state=sleep_state)

    def forget(self, app: str) -> None:
        """Forget an app in memory; `Records.erase` deletes its rows."""
        self._apps.pop(app, None)

    def _keep(self, app: str, **learnt: Any) -> None:
        before = self.of(app)
        self._apps[app] = replace(before, **learnt)
        for stored, (what, write, _) in _STORED.items():
            if what in learnt and learnt[what] != getattr(before, what):
                value = write(learnt[what], self._boot)
                if value != write(getattr(before, what), self._boot):  # not all of it is stored
                    with contextlib.suppress(sqlite3.Error):
                        self._records.set_history(app, stored, json.dumps(value))


def _write_failures(failures: tuple[Failure, ...], boot: str) -> Any:
    return {"boot": boot, "troubles": [asdict(failure) for failure in failures]}


def _read_failures(data: Any, boot: str) -> tuple[Failure, ...]:
    """Read failures; after a reboot, rejected revisions stay rejected, and crashes no longer count."""
    stored = [{**failure, "kind": _KINDS_BEFORE.get(failure["kind"], failure["kind"])} for failure in data["troubles"]]
    failures = tuple(Failure(**failure) for failure in stored)
    if data["boot"] == boot:
        return failures
    return tuple(replace(failure, last_at=0.0) for failure in failures if failure.kind == "rejected")


def _write_override(override: Override | None, _: str) -> Any:
    if override is None:
        return None
    revision = None if override.revision is None else asdict(override.revision)
    return {"kind": override.kind, "about": override.holds_for, "revision": revision}


def _read_override(data: Any, _: str) -> Override | None:
    if data is None:
        return None
    revision = data["revision"]
    return Override(kind=data["kind"], holds_for=data["about"], revision=revision and revision_from(revision))


def _write_held(held: HeldWorkers | None, _: str) -> Any:
    if held is None:
        return None
    return {"workers": held.workers, "about": held.holds_for, "for": held.for_s, "until": held.ends_at}


def _read_held(data: Any, _: str) -> HeldWorkers | None:
    """Read the number of an operator: while no daemon ran, and over a reboot, the wall clock has gone on."""
    if data is None:
        return None
    ends_at = data["until"]
    until = None if ends_at is None else time.monotonic() + ends_at - datetime.now(UTC).timestamp()
    workers, for_s = int(data["workers"]), data["for"]
    return HeldWorkers(workers=workers, holds_for=data["about"], for_s=for_s, until=until, ends_at=ends_at)


def _distinct(revisions: Iterable[Revision]) -> tuple[Revision, ...]:
    """Leave out revisions that differed only in their number of workers, as commit 75b705b stored them."""
    return tuple({revision.id: revision for revision in revisions}.values())


def _write_canary(canary: "Split | None", boot: str) -> Any:
    return None if canary is None else {"boot": boot, "canary": asdict(canary)}


def _read_canary(data: Any, boot: str) -> "Split | None":
    """Read a canary; after a reboot nothing is left of one."""
    if data is None or data["boot"] != boot:
        return None
    from reconciler.planning.canary.stored import split_from  # most hosts have no canary

    return split_from(data["canary"])


# Words of a database that an earlier commit wrote.
_KINDS_BEFORE = {"bad": "rejected"}

# By the word in the database: the field, and how it is written and read.
_STORED: dict[str, tuple[str, Callable[[Any, str], Any], Callable[[Any, str], Any]]] = {
    "troubles": ("failures", _write_failures, _read_failures),
    "proven": (
        "known_good",
        lambda known_good, _: [asdict(revision) for revision in known_good],
        lambda data, _: _distinct(map(revision_from, data)),
    ),
    "started": (
        "started",
        lambda started, _: [asdict(revision) for revision in started],
        lambda data, _: tuple(map(revision_from, data)),
    ),
    "pin": ("override", _write_override, _read_override),
    "rest": (
        "sleep_state",
        lambda sleep_state, _: sleep_state.gate_passed,
        lambda gate_passed, _: SleepState(gate_passed=gate_passed),
    ),
    "canary": ("canary", _write_canary, _read_canary),
    "held_workers": ("held_workers", _write_held, _read_held),
    "restarts": ("restarts", lambda restarts, _: asdict(restarts), lambda data, _: Restarts(**data)),
}
