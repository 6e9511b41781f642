"""The part of a running daemon that its World of apps uses."""

from collections.abc import Callable

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.linux.dataclass import dataclass
from reconciler.linux.removals import Removals
from reconciler.planning.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a running daemon offers the World; `publish` gets each report, None once an app is removed."""

    wakeups: WakeQueue
    publish: Callable[[Subject, Report | None], None]
    tasks: StandingTasks
    removals: Removals
