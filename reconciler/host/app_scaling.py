"""The number of workers of the apps that have a range; nothing of it is loaded on a host without any."""

import asyncio
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from reconciler.convergence.wake_queue import Wakes
from reconciler.host.app_listeners import AppListeners
from reconciler.host.builds import AppBuilds
from reconciler.host.stores import Stores
from reconciler.planning.apps.app import App
from reconciler.serving.instances import Instances
from reconciler.settings.settings import Settings

if TYPE_CHECKING:
    from reconciler.host.scale_watch import ScaleWatch
    from reconciler.planning.scaling.observed import ScalingState


class AppScaling:
    """Has the apps with a range watched, once there is one."""

    def __init__(  # noqa: PLR0913, PLR0917  collaborators, each named
        self,
        settings: Settings,
        stores: Stores,
        wakeups: Wakes,
        instances: Instances,
        listeners: AppListeners,
        builds: AppBuilds,
    ) -> None:
        self._parts = (settings, stores, wakeups, instances, listeners, builds)
        self._watch: ScaleWatch | None = None
        self._has_begun = asyncio.Event()

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn which apps have a range, and which."""
        if self._watch is None and any(app.worker_range is not None for app in apps.values()):
            from reconciler.host.load_readings import scale_watch

            self._watch = scale_watch(*self._parts)
            self._has_begun.set()
        if self._watch is not None:
            self._watch.follow(apps)

    def state(self, name: str) -> "ScalingState | None":
        """Return what is known of the number of an app's workers beside its manifest, None for nothing."""
        return None if self._watch is None else self._watch.state(name)

    def awake(self, name: str) -> None:
        """Look at an app soon: an instance of it has begun to serve."""
        if self._watch is not None:
            self._watch.awake(name)

    def figures(self) -> dict[str, Any]:
        """Return how many workers each app with a range is to have, as JSON data for the metrics."""
        return {} if self._watch is None else self._watch.figures()

    async def run(self) -> None:
        """Look at the apps until cancelled."""
        await self._has_begun.wait()
        assert self._watch is not None
        await self._watch.run(time.monotonic)
