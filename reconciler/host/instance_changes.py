"""Change the instances of apps that run, and tell of it: scaled, held to other limits, stopped, cleared away."""

from collections.abc import Callable
from dataclasses import replace

from reconciler.host.canaries import Canaries
from reconciler.host.release_recorder import ReleaseRecorder
from reconciler.host.stores import Stores
from reconciler.planning.apps.actions import Reap, Scale, Stop
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.wording import counted
from reconciler.serving.instances import Instances
from reconciler.state.journal import EventKind


class InstanceChanges:
    """Carries out what concerns one instance that runs. `changed` is called with an app of which one has gone."""

    def __init__(
        self,
        stores: Stores,
        instances: Instances,
        releases: ReleaseRecorder,
        canaries: Canaries,
        changed: Callable[[str], None],
    ) -> None:
        self._record = stores.record_event
        self._history = stores.history
        self._instances = instances
        self._releases = releases
        self._canaries = canaries
        self._changed = changed

    async def scale(self, name: str, action: Scale) -> None:
        """Have an instance run another number of workers. Raises CannotScale."""
        await self._instances.scale(name, action.instance, action.workers)
        text = f"instance {action.instance} runs {counted(action.workers, 'worker')}"
        self._record(name, "scaled", text, action.cause, action.reason)

    def apply_limits(self, name: str, action: ApplyLimits) -> None:
        """Hold an instance to other limits; that is told unless they only were not known."""
        if self._instances.apply_limits(name, action.instance, action.limits):
            text = f"instance {action.instance} is limited to {action.limits.told() or 'nothing'}"
            self._record(name, "scaled", text, action.cause, action.reason)

    async def stop(self, name: str, action: Stop) -> None:
        """Let an instance finish, and end it; of two that divide an address, once nothing waits for it any more."""
        await self._canaries.before_stop(name, action.instance)
        stopping = next((i for i in self._instances.of(name) if i.id == action.instance), None)
        how = await self._instances.stop(name, action.instance, at_once=action.at_once)
        if stopping is not None:
            kind: EventKind = "stopped" if stopping.ready else "discarded"
            self._record(name, kind, f"{stopping.called} {how}", action.cause, action.reason)
        self._changed(name)

    def reap(self, name: str, action: Reap, now: float) -> None:
        """Clear away an instance that has ended; `now` is monotonic seconds."""
        ended = next((i for i in self._instances.of(name) if i.id == action.instance), None)
        if ended is None:
            return
        self._instances.reap(name, action.instance)
        if action.failure is not None:
            self._releases.failed(name, replace(action.failure, last_at=now))
        self._changed(name)
        kind: EventKind = "exited" if ended.stopping_since is None else "stopped"
        if kind == "exited" and ended.ready:
            self._history.exited(name, ended.revision)
        self._record(name, kind, ended.failed_start or f"{ended.called} {ended.end}", reason=action.reason)
