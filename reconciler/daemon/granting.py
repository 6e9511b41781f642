"""Build the one table by which the requests of operators are granted."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from reconciler.control.apps import AppRequests
from reconciler.control.grants import Grants, Manifests
from reconciler.control.host import HostRequests, Origins, Outcomes
from reconciler.control.processes import ProcessRequests
from reconciler.control.scaling import ScaleRequests
from reconciler.control.services import ServiceRequests
from reconciler.control.tasks import TaskRequests
from reconciler.host.stores import Stores
from reconciler.host.world import AppWorld
from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.processes.world import ProcessWorld
from reconciler.services.world import ServiceWorld
from reconciler.tasks.world import TaskWorld

if TYPE_CHECKING:  # most hosts have no cluster
    from reconciler.cluster.world import ClusterWorld


@dataclass(frozen=True, slots=True)
class Worlds:
    """The Worlds that operators make requests of."""

    apps: AppWorld
    services: ServiceWorld
    tasks: TaskWorld
    processes: ProcessWorld
    clusters: "Sequence[ClusterWorld]"


def grants_of(  # noqa: PLR0913  collaborators, each named
    manifests: Manifests,
    stores: Stores,
    worlds: Worlds,
    outcomes: Outcomes,
    *,
    counted: Callable[[], dict[str, Any]],
    origins: Origins | None,
) -> Grants:
    """Return what grants each request; `counted` returns the daemon's own figures."""
    journal = stores.journal
    figures = (
        counted,
        *(each.figures for each in (worlds.apps.limits, worlds.apps.scaling, worlds.tasks, worlds.processes)),
    )

    def elsewhere(app: App, process: str, kind: str) -> None:
        for each in worlds.clusters:
            each.request(app, process, kind)

    processes = ProcessRequests(manifests, worlds.processes, journal, elsewhere=elsewhere)

    def restarted(app: App) -> None:
        processes.restart_with(app)
        for each in worlds.clusters:
            each.restart(app)

    return Grants(
        AppRequests(manifests, worlds.apps, journal, restarted=restarted).grants,
        processes.grants,
        ScaleRequests(manifests, worlds.apps, journal).grants,
        TaskRequests(manifests, worlds.tasks, stores.records.task_log, journal).grants,
        ServiceRequests(manifests, worlds.services, journal).grants,
        HostRequests(manifests, outcomes, journal, figures=figures, origins=origins).grants,
    )
