"""Health probes of apps: which instance is probed, and what follows from a probe's result."""

import math
from collections import Counter

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.host.stores import Stores
from reconciler.planning.apps.app import App, Liveness
from reconciler.planning.apps.observed import Instance
from reconciler.planning.apps.revision import Revision
from reconciler.planning.canary.weights import WHOLE
from reconciler.serving.instances import Instances
from reconciler.serving.probes import Probe, Probes
from reconciler.serving.programs.gunicorn import health_host

_TIMEOUT_S = 30.0  # gunicorn's own, for a worker that answers one request at a time


class AppProbes:
    """Probes the newest serving instance of each app that has a health path, and of a canary both."""

    def __init__(self, stores: Stores, instances: Instances, wakeups: WakeQueue, tasks: StandingTasks) -> None:
        self._stores = stores
        self._instances = instances
        self._wakeups = wakeups
        self._probes = Probes(tasks, self._on_probe, instances.work)

    @property
    def results(self) -> Counter[tuple[str, bool]]:
        """How many probes there were, by app and success."""
        return self._probes.asked

    def update(self, name: str, app: App | None) -> None:
        """Probe what is to be probed of an app now, by the health of the revision that it runs.

        A desired revision that differs says nothing about an instance of another one. How often is up to the manifest.
        """
        serving = [
            i
            for i in self._instances.of(name)
            if app is not None and i.serves and i.address in {app.address, app.leased}
        ]
        canary, probes = self._stores.history.of(name).canary, dict[str, Probe]()
        arms: list[tuple[list[Instance], range | None]] = [(serving, None)]
        if canary is not None and any(canary.is_tried(i.revision) for i in serving):
            from reconciler.linux.shared_ports import TO_FIRST, TO_SECOND  # most hosts have no canary

            mine = [i for i in serving if canary.is_tried(i.revision)]
            arms = [(mine, TO_SECOND), ([i for i in serving if i not in mine], TO_FIRST)]
            if not canary.weight:  # which of the two a probe reaches cannot be told
                arms = []
        for instances, ports in arms:
            if app is not None and instances:
                revision = self._stores.history.of(name).started_as(instances[-1].revision)
                probe = _probe(revision, app.liveness, ports)
                probes |= {} if probe is None else {instances[-1].id: probe}
        self._probes.ask(name, probes)

    def _on_probe(self, name: str, instance: str, failure: str | None) -> None:
        known = next((i for i in self._instances.of(name) if i.id == instance), None)
        if known is None or known.unhealthy == failure or (known.unhealthy is not None and failure is not None):
            return
        canary = self._stores.history.of(name).canary
        is_alone = all(i is known or i.end is not None for i in self._instances.of(name))
        if failure is None and not is_alone and not (canary is not None and 0 < canary.weight < WHOLE):
            return  # they share the listener: it may be its successor that answers
        self._instances.mark_unhealthy(name, instance, failure)
        self._stores.record_event(
            name, "unhealthy" if failure else "healthy", failure or "its health path answers again"
        )
        self._wakeups.wake(name)


def _probe(revision: Revision | None, liveness: Liveness, ports: range | None) -> Probe | None:
    """Return the probe of an instance of a revision; None if it has no health path, or if it is not known."""
    if revision is None or revision.address is None or revision.server.health is None:
        return None
    settings = revision.server.settings
    timeout_s = settings.get("timeout", _TIMEOUT_S)
    return Probe(
        address=revision.address,
        health=revision.server.health,
        host=health_host(revision),
        liveness=liveness,
        tls="certfile" in settings,
        ports=ports,
        busy_s=float(timeout_s or math.inf) if isinstance(timeout_s, int | float) else _TIMEOUT_S,
    )
