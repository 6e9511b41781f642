"""Notify every target of the settings of failures and recoveries; loaded only on hosts that have a target."""

import socket
from collections.abc import Callable, Iterable
from functools import partial

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.daemon.reports import ReportListener
from reconciler.host.stores import Stores
from reconciler.notifications.notifier import Notifier, Pace
from reconciler.planning.subject import HOST, Subject
from reconciler.settings.settings import Settings


def notify(  # noqa: PLR0913  collaborators, each named
    settings: Settings,
    stores: Stores,
    tasks: StandingTasks,
    listeners: Iterable[list[ReportListener]],
    *,
    redact: Callable[[Subject, str], str],
    host_failure: Callable[[], str],
) -> None:
    """Keep a notifier for each target; all of `listeners` get it."""
    pace = Pace(every_s=settings.notify_every_s, delay_s=settings.notify_delay_s)
    for target in settings.notifications:
        notifier = Notifier(
            target,
            stores.records,
            host=socket.gethostname(),
            pace=pace,
            redact=redact,
            host_failure=host_failure,
            failed=partial(stores.journal.write, HOST, "daemon"),
        )
        for each in listeners:
            each.append(notifier.on_report)
        tasks.keep(f"notify {target}", notifier.run)
