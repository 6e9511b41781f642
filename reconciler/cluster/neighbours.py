"""What the World of a cluster is told and made by the rest of the daemon."""

from collections.abc import Awaitable
from typing import Protocol

from reconciler.cluster.moves import Standings
from reconciler.cluster.observed import Rendered
from reconciler.host.app_places import AppPlaces
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.settings.clusters import Cluster


class Renderer(Protocol):
    """What makes the objects of an app: it pushes the image, and reads the manifest and the secrets."""

    def __call__(self, cluster: Cluster, app: App, revision: Revision) -> Awaitable[Rendered]:
        """Return the objects. Raises what the registry and the files of secrets do."""
        ...


class PlaceNeighbours(Protocol):
    """What the rest of the daemon tells of an app that a cluster may have."""

    @property
    def standings(self) -> Standings:
        """In which clusters apps serve."""
        ...

    @property
    def places(self) -> AppPlaces:
        """Where apps are on this host: the revision in force, and the verdicts on it."""
        ...

    def held(self, app: str) -> bool:
        """Return whether the manifest of an app cannot be read."""
        ...

    def is_met_here(self, app: str) -> bool:
        """Return whether a client of an app gets to this host, where an instance serves or is about to."""
        ...

    def answers_here(self, app: str) -> bool:
        """Return whether a client of an app is answered on this host, be it after the app has been woken."""
        ...

    def is_waited_for(self, app: str) -> bool:
        """Return whether connections wait on this host until an instance of an app takes them."""
        ...

    def in_force_since(self, app: str, revision: str) -> float | None:
        """Return since when a revision is in force, None if it is not; monotonic seconds."""
        ...

    def wake(self, app: str) -> None:
        """Have the World of this host look at an app."""
        ...
