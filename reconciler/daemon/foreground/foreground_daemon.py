"""The parts of a daemon, put to one use: prepare one app to run in the foreground, and touch nothing else."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import World
from reconciler.daemon.daemon import Daemon
from reconciler.daemon.foreground.directories import uses
from reconciler.daemon.foreground.preparing import (
    OnlyAsked,
    OnlyChosen,
    PreparingWorld,
    its_services,
    itself,
    observed_as_wanted,
    require_runnable,
)
from reconciler.daemon.foreground.programs import Foreground
from reconciler.daemon.foreground.starting import started
from reconciler.daemon.foreground.wanted import Wanted
from reconciler.daemon.state_directory import WorldInPlace
from reconciler.daemon.worlds import FollowingWorld, converging
from reconciler.planning.apps.app import App
from reconciler.planning.apps.plan_preparation import prepared_revision
from reconciler.planning.apps.revision import Revision
from reconciler.staging.errors import StagingError

if TYPE_CHECKING:  # what becomes a program writes no image
    from reconciler.daemon.foreground.image import Image, ImageRequest


class ForegroundDaemon(Daemon):
    """A daemon that converges the services of one app, and the app until it is ready to run."""

    def prepare_only(self, wanted: Wanted) -> None:
        """Do nothing about whatever else is desired or left."""
        prepares = PreparingWorld(self._apps, wanted)
        self._instances.users.add(lambda app: uses(self.settings.paths.foreground(app)))
        self._apps.request(wanted.app, "forget-failure")
        ask_services = self._asking(self._services, self._services, self._service_wakeups)
        ask_apps = self._asking(self._apps, prepares, self._app_wakeups)
        self.manifests.followers = (
            OnlyChosen(self._services, ask_services, its_services(wanted)),
            OnlyChosen(self._apps, ask_apps, itself(wanted)),
        )

    def require_runnable(self, wanted: Wanted) -> None:
        """Raise NotPrepared unless a manifest that is in force describes what is wanted."""
        require_runnable(wanted, self.manifests.catalog, self.settings.manifests_from, self.manifests.problem)

    def in_foreground(self, wanted: Wanted) -> Foreground:
        """Return what to become to run what was prepared, its directory claimed. Raises CannotStart, OSError."""
        app, revision = self._prepared(wanted)
        return started(wanted, app, revision, self._apps.places, self.settings.paths)

    def image(self, wanted: Wanted, request: "ImageRequest") -> "Image":
        """Write the image of what was prepared. Raises StagingError, OSError; blocks."""
        from reconciler.daemon.foreground.image import write

        app, revision = self._prepared(wanted)
        staged = self._stager.finished(app.name, revision.build.id)
        if staged is None:
            raise StagingError(f"build {revision.build.id} of {app.name} is damaged; try again")
        return write(request, app, revision, staged)

    def _prepared(self, wanted: Wanted) -> tuple[App, Revision]:
        catalog = self.manifests.catalog
        app = wanted.of(catalog.apps[wanted.app], catalog.leases)
        observed = observed_as_wanted(self._apps.observe(app.name), wanted)
        revision = prepared_revision(app, observed, released=wanted.release)
        assert revision is not None
        return app, revision

    def _asking(self, world: FollowingWorld, acting: World, wakeups: WakeQueue) -> Callable[[Mapping[str, Any]], None]:
        """Return what has a World converge to what is asked for, and to nothing else."""
        in_place = WorldInPlace(OnlyAsked(acting), self._state)
        return converging(world, in_place, wakeups, self.settings, self._tasks).controller.replace
