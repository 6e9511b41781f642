"""The Worlds that one daemon converges, each with a controller of its own; `Daemon` lists them."""

import random
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol

from reconciler.convergence.backoff import Backoff
from reconciler.convergence.controller import Controller
from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.convergence.wake_queue import WakeQueue
from reconciler.convergence.world import Asked, World
from reconciler.daemon.state_directory import StateDirectory, WorldInPlace
from reconciler.host.instance_secrets import Routed
from reconciler.linux.dataclass import dataclass
from reconciler.planning.desired_state import DesiredState
from reconciler.settings.settings import Settings

if TYPE_CHECKING:  # most hosts have no proxy and no cluster
    from collections.abc import Callable, Sequence

    from reconciler.cluster.world import ClusterWorld
    from reconciler.convergence.world import Report
    from reconciler.daemon.manifest_loop import ManifestLoop
    from reconciler.host.stores import Stores
    from reconciler.host.world import AppWorld
    from reconciler.planning.apps.app import App
    from reconciler.planning.subject import Subject
    from reconciler.routing.world import RoutingWorld
    from reconciler.serving.instances import Instances
    from reconciler.staging.stager import Stager
    from reconciler.state.journal import Journal


class FollowingWorld(World, Protocol):
    """A World that takes its part of the desired state, and says what it knows by name."""

    def follow(self, desired: DesiredState) -> Mapping[str, Asked]:
        """Learn what is desired, and return this World's part of it by name."""
        ...

    def names(self) -> frozenset[str]:
        """Return every name of which anything is desired or left."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Converging:
    """One World, and the controller that makes it as desired."""

    world: FollowingWorld
    controller: Controller

    def follow(self, desired: DesiredState) -> None:
        """Converge to this desired state; what has left traces and is not desired goes away."""
        self.controller.replace(self.world.follow(desired), also=self.world.names())


def converging(
    world: FollowingWorld, acting: World, wakeups: WakeQueue, settings: Settings, tasks: StandingTasks
) -> Converging:
    """Return a World with its controller, which acts on `acting`: the same World, as others wrap it."""
    controller = Controller(
        acting,
        wakeups,
        tasks,
        backoff=Backoff(first_s=settings.retry_first_s, cap_s=settings.retry_cap_s),
        resync_s=settings.resync_s,
        noise=random.Random(),
    )
    return Converging(world=world, controller=controller)


def all_converging(
    *worlds: tuple[FollowingWorld, World, WakeQueue], within: tuple[StateDirectory, Settings, StandingTasks]
) -> list[Converging]:
    """Return every World with its controller; each acts only while the state directory is in place."""
    state, settings, tasks = within
    return [
        converging(world, WorldInPlace(acting, state), wakeups, settings, tasks) for world, acting, wakeups in worlds
    ]


def clusters_of(  # noqa: PLR0913, PLR0917  the parts of the daemon that they are told by
    settings: Settings,
    stores: "Stores",
    apps: "AppWorld",
    instances: "Instances",
    wakeups: WakeQueue,
    stager: "Stager",
    manifests: "Callable[[], ManifestLoop]",
) -> "list[ClusterWorld]":
    """Return the World of each cluster; what is in one keeps its build here. `wakeups` are those of apps."""
    if not settings.clusters:
        return []
    from reconciler.cluster.moves import Standings
    from reconciler.daemon.clusters import Neighbours, Objects, cluster_worlds

    neighbours = Neighbours(
        standings=Standings({each.name: each.overlap_s for each in settings.clusters.values()}),
        places=apps.places,
        instances=instances,
        wakeups=wakeups,
        unreadable=lambda: manifests().unreadable_apps,
        listens=apps.proxy.listens,
        is_armed=apps.proxy.is_armed,
        is_waited_for=apps.proxy.is_waited_for,
    )
    objects = Objects(settings=settings, stager=stager, manifests=manifests)
    worlds = cluster_worlds(settings, stores, neighbours, objects)
    for world in worlds:
        instances.users.add(world.uses)
    return worlds


def routing_world(
    settings: Settings, journal: "Journal", publish: "Callable[[Subject, Report | None], None]"
) -> "RoutingWorld | None":
    """Return the World of the proxy, None on a host without one."""
    if settings.proxy is None:
        return None
    from reconciler.routing.world import RoutingWorld

    return RoutingWorld(settings.proxy, settings.paths, journal, wakeups=WakeQueue(), publish=publish)


def introduce(
    proxy: "RoutingWorld | None",
    apps: "AppWorld",
    clusters: "Sequence[ClusterWorld]",
    wakeups: WakeQueue,
) -> "tuple[Callable[[Subject, Report | None], None], ...]":
    """Let the Worlds of apps, of clusters and of the proxy know of each other; return what listens to reports on apps.

    The proxy serves the static files of the builds that serve, and knows where each app is reached; apps know where it
    still dials, and clusters where it leads clients. `wakeups` are those of apps.
    """
    if proxy is None:
        return ()

    def told() -> None:
        for name in apps.proxy.waiting():
            wakeups.wake(name)
        for cluster in clusters:
            cluster.on_led()

    def moved() -> None:
        proxy.wakeups.wake(proxy.key)

    for cluster in clusters:
        cluster.leads.led, cluster.leads.on_move = partial(proxy.led, cluster=cluster.name), moved
        apps.proxy.leads[cluster.name] = cluster.leads.of
        if cluster.has_entry:
            proxy.entered.add(cluster.name)
    apps.places.taking_over = proxy.static.ahead_of
    proxy.static.instances, proxy.static.served = apps.places.instances, apps.places.revision
    proxy.static.trial, apps.canaries.on_end = apps.canaries.of, proxy.static.keep
    proxy.reached, proxy.on_change = apps.proxy.reached, told
    apps.proxy.dials, apps.proxy.withdraws = proxy.dials, proxy.withdraws
    apps.proxy.on_move = moved
    return (proxy.on_report,)


def among_worlds(
    world: "RoutingWorld | None",
) -> tuple[tuple[FollowingWorld, World, WakeQueue], ...]:
    """Return the World of the proxy as one of several: itself, what acts, and its wake-ups; none without a proxy."""
    return () if world is None else ((world, world, world.wakeups),)


def routed(app: "App | None", world: "RoutingWorld | None") -> Routed | None:
    """Return what the instances of an app learn of the proxy, None if it has no domain."""
    if app is None or app.routing is None:
        return None
    if world is None:
        return Routed(domains=app.routing.domains)
    return Routed(domains=app.routing.domains, key=world.key_of(app.name), names_client=world.names_client)
