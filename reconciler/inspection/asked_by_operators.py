"""Read from the records what an operator asked for of an app, and whether it is still in effect."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from reconciler.state.records import AppStatus


class OverrideInEffect(NamedTuple):
    """A request of an operator that holds instead of the manifest; `revision` is the one rolled back to."""

    kind: Literal["stopped", "maintenance", "rolled back"]
    revision: str | None = None


class HeldNumber(NamedTuple):
    """A number of workers that an operator asked for, until wall-clock seconds; None for no end by time."""

    workers: int
    until: float | None = None


def held_number(stored: str | None, desired: Mapping[str, Any]) -> HeldNumber | None:
    """Return the number that an operator asked for while it holds."""
    if stored is None or stored == "null":
        return None
    from reconciler.planning.apps.worker_number import workers_in_words  # few apps have one

    try:
        data = json.loads(stored)
        held, asked = HeldNumber(int(data["workers"]), data["until"]), data["about"]
    except (KeyError, TypeError, ValueError):  # written by another version
        return None
    is_over = held.until is not None and held.until <= datetime.now(UTC).timestamp()
    is_asked = asked == workers_in_words(desired.get("workers", 0), desired.get("worker_range"))
    return held if is_asked and not is_over else None


def override_in_effect(pin: str | None, last: AppStatus) -> OverrideInEffect | None:
    """Return the recorded override while it is in effect; a change of the manifest or the source supersedes it."""
    try:
        data = None if pin is None else json.loads(pin)
        if data is None:
            return None
        if data["kind"] == "stopped":
            return OverrideInEffect(kind="stopped") if _is_stopped_by_operator(last) else None
        if data["kind"] == "maintenance":
            return OverrideInEffect(kind="maintenance") if _is_maintained_by_operator(last) else None
        from reconciler.planning.apps.revision import revision_from  # few apps have an override

        revision = revision_from(data["revision"]).id
    except (KeyError, TypeError, ValueError):  # written by another version
        return None
    from reconciler.planning.reason import Reason

    in_effect = last.reason == Reason.ROLLED_BACK_BY_OPERATOR or last.wanted == revision
    return OverrideInEffect(kind="rolled back", revision=revision) if in_effect else None


def _is_stopped_by_operator(last: AppStatus) -> bool:
    from reconciler.planning.reason import Reason

    # A status recorded by an earlier version has no reason.
    return last.reason == Reason.STOPPED_BY_OPERATOR or (not last.reason and last.state in {"stopping", "stopped"})


def _is_maintained_by_operator(last: AppStatus) -> bool:
    from reconciler.planning.reason import Reason

    return last.reason == Reason.MAINTENANCE_BY_OPERATOR
