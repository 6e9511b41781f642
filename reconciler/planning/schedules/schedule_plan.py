"""What is planned for the schedules of one app; most apps have none, for which nothing that plans them is loaded."""

from collections.abc import Mapping
from dataclasses import field
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass
from reconciler.planning.schedules.actions import Action, Note

if TYPE_CHECKING:
    from reconciler.planning.schedules.due import Next


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulePlan:
    """The actions in order, what is worth telling, and the monotonic second at which to look again, if ever.

    `next` holds the next occurrence of each schedule by its name, to be handed to the next plan; `suspended` says why
    a schedule does not count its times now.
    """

    actions: tuple[Action, ...] = ()
    notes: tuple[Note, ...] = ()
    next: "Mapping[str, Next]" = field(default_factory=dict)
    suspended: Mapping[str, str] = field(default_factory=dict)
    look_again_at: float | None = None
