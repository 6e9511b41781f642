"""The part of a running daemon that its World of apps uses."""

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Report
from reconciler.planning.subject import Subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What a running daemon offers the World: wake-ups, the readers of reports (None: an app is removed), its tasks."""

    wakeups: WakeQueue
    publish: Callable[[Subject, Report | None], None]
    tasks: StandingTasks
