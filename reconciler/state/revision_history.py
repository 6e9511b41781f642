"""What was learnt about each app's revisions and must outlive the daemon: troubles, proof, wishes, rest."""

import contextlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from reconciler.planning.apps.observed import Failure, Override, SleepState
from reconciler.planning.desired import Revision, revision_from
from reconciler.state.records import Records

_TROUBLES_KEPT = 4
_PROVEN_KEPT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class AppHistory:
    """All that is remembered about one app."""

    failures: tuple[Failure, ...] = ()
    known_good: tuple[Revision, ...] = field(default=(), repr=False)
    override: Override | None = field(default=None, repr=False)
    sleep_state: SleepState = field(default_factory=SleepState)


class RevisionHistory:
    """What is remembered, by app. A disk that cannot take it costs its lasting, never the knowledge itself."""

    def __init__(self, records: Records, boot: str) -> None:
        self._records = records
        self._boot = boot
        self._apps: dict[str, AppHistory] = {}
        for (app, what), text in records.histories().items():
            with contextlib.suppress(KeyError, TypeError, ValueError):  # another version's words are none of ours
                self._apps[app] = replace(self.of(app), **{what: _READ[what](json.loads(text), boot)})

    def names(self) -> frozenset[str]:
        """The apps about which anything is remembered."""
        return frozenset(self._apps)

    def of(self, app: str) -> AppHistory:
        """What is remembered about an app."""
        return self._apps.get(app, AppHistory())

    def failed(self, app: str, trouble: Failure) -> None:
        """A revision failed."""
        others = [t for t in self.of(app).failures if t.revision != trouble.revision]
        self._keep(app, troubles=(trouble, *others)[:_TROUBLES_KEPT])

    def forget_failures(self, app: str) -> None:
        """Forget every failure, so that what failed is tried at once."""
        self._keep(app, troubles=())

    def mark_good(self, app: str, revision: Revision) -> None:
        """A revision got through its probation."""
        others = [p for p in self.of(app).known_good if p.id != revision.id]
        troubles = tuple(t for t in self.of(app).failures if t.revision != revision.id or t.kind == "crashed")
        self._keep(app, proven=(revision, *others)[:_PROVEN_KEPT], troubles=troubles)

    def set_override(self, app: str, pin: Override | None) -> None:
        """An operator wants something else than the manifest for a while, or no longer."""
        self._keep(app, pin=pin)

    def set_sleep_state(self, app: str, rest: SleepState) -> None:
        """An app went to sleep, or somebody knocked."""
        self._keep(app, rest=rest)

    def forget(self, app: str) -> None:
        """Nothing is asked of the app any more; its rows are erased with the rest of its records."""
        self._apps.pop(app, None)

    def _keep(self, app: str, **learnt: Any) -> None:
        before = self.of(app)
        after = self._apps[app] = replace(before, **learnt)
        for what in learnt:
            value = getattr(after, what)
            if value != getattr(before, what):
                with contextlib.suppress(sqlite3.Error):
                    self._records.set_history(app, what, json.dumps(_WRITE[what](value, self._boot)))


def _write_troubles(troubles: tuple[Failure, ...], boot: str) -> Any:
    return {"boot": boot, "troubles": [asdict(t) for t in troubles]}


def _read_troubles(data: Any, boot: str) -> tuple[Failure, ...]:
    """Those of another boot: what was bad is still bad, since the clock began; a crash is over."""
    troubles = tuple(Failure(**t) for t in data["troubles"])
    if data["boot"] == boot:
        return troubles
    return tuple(replace(t, last_at=0.0) for t in troubles if t.kind == "bad")


def _write_pin(pin: Override | None, _: str) -> Any:
    return None if pin is None else asdict(pin)


def _read_pin(data: Any, _: str) -> Override | None:
    if data is None:
        return None
    revision = data["revision"]
    return Override(kind=data["kind"], holds_for=data["about"], revision=revision and revision_from(revision))


_WRITE: dict[str, Callable[[Any, str], Any]] = {
    "troubles": _write_troubles,
    "proven": lambda proven, _: [asdict(p) for p in proven],
    "pin": _write_pin,
    "rest": lambda rest, _: rest.gated,
}

_READ: dict[str, Callable[[Any, str], Any]] = {
    "troubles": _read_troubles,
    "proven": lambda data, _: tuple(revision_from(p) for p in data),
    "pin": _read_pin,
    "rest": lambda gated, _: SleepState(gate_passed=gated),
}
