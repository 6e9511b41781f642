"""Group events by what they led to: the steps of a deploy are folded under its outcome, a repeated failure counts.

No event is lost: each is in exactly one group, and within a group they are in order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import IN_MAINTENANCE, Reason
from reconciler.planning.subject import Subject
from reconciler.state.journal import Event

Importance: TypeAlias = Literal["problem", "change", "routine"]

_PROBLEMS = frozenset(("failed", "exited", "unhealthy", "holding"))
# What an operator waits for comes after them.
_STEPS = frozenset(
    ("source", "staging", "staged", "releasing", "released", "started", "listening", "discarded", "sleeping")
)
_OF_A_HANDOVER = frozenset((Reason.HANDING_OVER, Reason.SURPLUS, Reason.OBSOLETE))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventGroup:
    """An event that matters, the `steps` that led to it or followed from it, and how often it happened in a row."""

    event: Event
    steps: tuple[Event, ...] = ()
    times: int = 1

    @property
    def importance(self) -> Importance:
        """How much an operator wants to know of the group."""
        event = self.event
        if _is_problem(event):
            return "problem"
        return "routine" if _is_step(event) else "change"


def grouped(events: Sequence[Event]) -> list[EventGroup]:
    """Return the groups of events that are in order, the group with the newest event first.

    Steps that have led to nothing yet are a group of their own, named by the newest of them.
    """
    groups: list[EventGroup] = []
    newest: dict[Subject, int] = {}
    waiting: dict[Subject, list[Event]] = {}
    for event in events:
        at = newest.get(event.subject)
        if at is not None and _follows(groups[at], event):
            groups[at] = replace(groups[at], steps=(*groups[at].steps, event))
        elif _is_step(event):
            waiting.setdefault(event.subject, []).append(event)
        else:
            steps = tuple(waiting.pop(event.subject, ()))
            if at is not None and _is_again(groups[at].event, event):
                before = groups[at]
                steps = (*before.steps, before.event, *steps)
                groups[at] = EventGroup(event=event, steps=steps, times=before.times + 1)
            else:
                newest[event.subject] = len(groups)
                groups.append(EventGroup(event=event, steps=steps))
    groups.extend(_unfinished(waiting))
    return sorted(groups, key=lambda group: (group.event.at, group.event.id), reverse=True)


def _is_problem(event: Event) -> bool:
    if is_maintenance(event):
        return False
    return event.kind in _PROBLEMS or event.reason == Reason.MANIFEST_REFUSED


def is_maintenance(event: Event) -> bool:
    """Return whether clients get the holding page from then on because they are meant to."""
    return event.kind == "holding" and event.reason in IN_MAINTENANCE


def _is_step(event: Event) -> bool:
    return event.kind in _STEPS or (event.kind in {"stopping", "stopped"} and event.reason in _OF_A_HANDOVER)


def _follows(group: EventGroup, event: Event) -> bool:
    """Return whether an event only says what the newest group of its subject already implies."""
    if event.kind == "holding" and not is_maintenance(event):
        return group.importance == "problem"
    return event.kind == "stopped" and _is_step(event) and group.event.kind == "ready"


def _is_again(before: Event, now: Event) -> bool:
    """Return whether the same thing went wrong again, with nothing but its retry in between."""
    return _is_problem(now) and now.kind in _PROBLEMS and (before.kind, before.reason) == (now.kind, now.reason)


def _unfinished(waiting: Mapping[Subject, Sequence[Event]]) -> Iterator[EventGroup]:
    for steps in waiting.values():
        yield EventGroup(event=steps[-1], steps=tuple(steps[:-1]))
