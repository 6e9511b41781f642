"""Read what the number of an app's workers is decided by: its load, and what this host has left for it."""

import os
from contextlib import suppress

from reconciler.convergence.wake_queue import Wakes
from reconciler.host.app_listeners import AppListeners
from reconciler.host.builds import AppBuilds
from reconciler.host.scale_watch import ScaleWatch
from reconciler.host.stores import Stores
from reconciler.isolation.limiting import used_memory
from reconciler.linux import pressure
from reconciler.linux.host_memory import host_memory
from reconciler.linux.process_table import children, family, own, usage
from reconciler.planning.apps.app import App
from reconciler.planning.apps.worker_number import held_workers
from reconciler.planning.scaling.brakes import HostRoom
from reconciler.planning.scaling.load import Look
from reconciler.serving import gate_figures_reader
from reconciler.serving.instances import Instances
from reconciler.serving.live_instance import CannotStart, LiveInstance
from reconciler.settings.settings import Settings

_ONE_REQUEST_A_THREAD = ("sync", "gthread")
_SHORTEST_START_S, _LONGEST_START_S = 0.25, 60.0


def scale_watch(  # noqa: PLR0913, PLR0917  collaborators, each named
    settings: Settings,
    stores: Stores,
    wakeups: Wakes,
    instances: Instances,
    listeners: AppListeners,
    builds: AppBuilds,
) -> ScaleWatch:
    """Return what decides how many workers the apps of this host have."""
    readings = _Readings(settings, stores, instances, listeners, builds)
    return ScaleWatch(stores, wakeups.wake, readings, expect=listeners.expect, budget=settings.scaling_workers)


class _Readings:
    def __init__(
        self, settings: Settings, stores: Stores, instances: Instances, listeners: AppListeners, builds: AppBuilds
    ) -> None:
        self._settings = settings
        self._history = stores.history
        self._instances = instances
        self._listeners = listeners
        self._builds = builds
        self._kinds: dict[str, tuple[str, int, bool]] = {}

    def look_at(self, name: str, now: float) -> Look | None:
        """Return what an app is like now, monotonic seconds; None while no gunicorn of it serves."""
        live = self._serving(name)
        if live is None or live.process is None:
            self._kinds.pop(name, None)
            return None
        record, (threads, is_loop) = live.record, self._kind(name, live)
        figures = gate_figures_reader.of_instance(live.readiness)
        took_s = (record.ready_at or record.started_at) - record.started_at
        return Look(
            at=now,
            instance=record.id,
            workers=record.workers,
            threads=threads,
            in_flight=figures.in_flight,
            answered=figures.requests,
            seconds=figures.seconds,
            waits=sum(figures.waits),
            waited_s=figures.waited_s,
            queue=self._listeners.queue(name),
            cpu_s=usage(live.process.pid).seconds if is_loop else None,
            ready=live.workers_ready(),
            woken_at=self._history.of(name).sleep_state.activated_at,
            start_s=min(_LONGEST_START_S, max(_SHORTEST_START_S, took_s)),
        )

    def held(self, app: App, now: float) -> int | None:
        """Return the number of workers that an operator asked for while that holds, None otherwise."""
        return held_workers(app, self._history.of(app.name).held_workers, now)

    def cpu_s(self, name: str) -> float:
        """Return the processor seconds that the instance which serves has used, 0 without one."""
        live = self._serving(name)
        return 0.0 if live is None or live.process is None else usage(live.process.pid).seconds

    def at_door(self, name: str) -> int:
        """Return how many workers the connections ask for that wait at an app that does not serve, 0 for none."""
        if any(live.runs and live.record.ready_at is not None for live in self._instances.lives(name)):
            return 0
        waiting, history = self._listeners.queue(name), self._history.of(name)
        revision = history.sleep_state.gate_passed or history.restarts.revision
        threads, is_loop = self._kind_of(name, revision) if waiting else (1, False)
        return min(1, waiting) if is_loop else -(-waiting // threads)

    def room(self, name: str) -> HostRoom:
        """Return what this host can give to an app."""
        live, worker_bytes = self._serving(name), 0
        if live is not None and live.process is not None:
            worker_bytes = max(map(own, children(live.process.pid)), default=0)
        _, available = host_memory()
        left = [] if available is None else [available - self._settings.scaling_memory_bytes]
        if live is not None and live.limits is not None and (soft := live.limits.soft_memory) is not None:
            used = used_memory(live.cell)
            left.append(soft - (used if used is not None else _own_of_family(live)))
        return HostRoom(
            pressure=_pressure(),
            most_pressure=self._settings.scaling_pressure,
            room=max(0, min(left)) // worker_bytes if left and worker_bytes else None,
            worker_bytes=worker_bytes,
        )

    def _serving(self, name: str) -> LiveInstance | None:
        """Return the newest gunicorn that serves, and is no canary; another program decides for itself."""
        serving = (live for live in self._instances.lives(name) if live.runs and live.record.ready_at is not None)
        if (canary := self._history.of(name).canary) is not None:  # which has workers for its share
            serving = (live for live in serving if not canary.is_tried(live.record.revision))
        newest = max(serving, key=lambda live: live.record.started_at, default=None)
        return None if newest is None or newest.program != "gunicorn" else newest

    def _kind(self, name: str, live: LiveInstance) -> tuple[int, bool]:
        """Return how many threads a worker has, and whether it runs an event loop instead."""
        known = self._kinds.get(name)
        if known is not None and known[0] == live.record.id:
            return known[1:]
        self._kinds[name] = (live.record.id, *self._kind_of(name, live.record.revision))
        return self._kinds[name][1:]

    def _kind_of(self, name: str, revision_id: str) -> tuple[int, bool]:
        revision = self._history.of(name).started_as(revision_id)
        worker_class, threads = "sync", 1
        if revision is not None:
            threads, worker_class = revision.server.threads, revision.server.worker_class or ""
            with suppress(CannotStart):
                worker_class = worker_class or self._builds.code(name, revision.build).worker_class
        is_loop = worker_class not in _ONE_REQUEST_A_THREAD
        return 1 if is_loop else threads, is_loop


def _own_of_family(live: LiveInstance) -> int:
    return 0 if live.process is None else sum(own(pid) for pid, _ in family(live.process.pid))


def _pressure() -> float:
    """Return the share of the time in which a process waits for a processor; without that, by how many do."""
    with suppress(KeyError):
        return pressure.of_host()["cpu"].share
    with suppress(OSError):
        load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
        return max(0.0, 1.0 - cores / load) if load > 0 else 0.0
    return 0.0
