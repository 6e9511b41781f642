"""Tell the rules of the kernel which apps they hold to where those may connect; nothing is loaded without any.

These are the apps with a list, and every other one that is isolated: it reaches no other app, nor a proxy's admin port
or the metadata of a cloud. What runs of one since before there were such rules goes on as it was until its next start.
What builds them is held, too, also of an app without a network.
"""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from reconciler.convergence.standing_tasks import StandingTasks, survived
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.linux.process_identity import has_processes
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.isolation.destinations import Destination, Place, place_of
from reconciler.planning.isolation.refused import place_at
from reconciler.planning.subject import HOST
from reconciler.serving.instances import Instances
from reconciler.settings.server_places import place_for_apps
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal

if TYPE_CHECKING:  # most apps have no list
    from reconciler.host.network_memory import Held
    from reconciler.host.network_rules import NetworkRules


class NetworkLists:
    """Where the apps of this host may connect, as rules of the kernel hold them to it.

    An app that is no longer desired, or that is to have no network, is held until the last of it has ended: to its
    list, or to nothing. The next daemon knows of it.
    """

    def __init__(
        self, settings: Settings, instances: Instances, journal: Journal, tasks: StandingTasks, manifests: ManifestLoop
    ) -> None:
        """Follow the manifests, and have apps be held before they start."""
        self._settings = settings
        self._instances = instances
        self._journal = journal
        self._tasks = tasks
        self._held: dict[str, Held] = {}
        self._apps: frozenset[Destination] = frozenset()
        self._before: set[str] | None = None
        self._listed: Collection[str] = ()
        self._packages: tuple[Place, ...] = ()
        self._rules: NetworkRules | None = None
        self._task: asyncio.Task[None] | None = None
        manifests.tell(self)
        if instances.confinements is not None:
            instances.confinements.admit, instances.confinements.looked_up = self.admit, self.looked_up
            instances.confinements.builds.admit = self.admit_builds
            self._packages = instances.confinements.builds.packages

    def follow(self, desired: DesiredState) -> None:
        """Hold apps to the lists of this desired state from now on."""
        here = {name: app for name, app in desired.apps.items() if app.place == HERE}
        held = {name: app for name, app in here.items() if _is_held(app) and self._filters()}
        if not held and self._rules is None and not self._settings.paths.network_rules.exists():
            return
        self._kept()
        self._listed = held.keys()
        former = {
            name: replace(known, places=()) if _is_shut(desired.apps.get(name)) else known
            for name, known in self._held.items()
            if not _is_free(desired.apps.get(name))
        }
        self._held = former | {name: self._held_as(app, desired) for name, app in held.items()}
        self._apps = frozenset(place_at(each.ip, each.port) for app in here.values() for each in app.addresses)
        self._want()
        if self._task is None or self._task.done():
            self._task = self._tasks.keep("hold apps to where they may connect", self._run)

    def admit(self, app: str, user: int, is_instance: bool) -> bool:
        """Hold an app that is about to start, and tell whether it is held. Raises OSError if the kernel refuses that.

        What ran before as it liked is held from its next instance on.
        """
        before = self._ran_before()
        if app not in self._held or (app in before and not is_instance):
            return False
        before.discard(app)
        self._kept().admit(app, self._held_by(app, user))
        return True

    def admit_builds(self, app: str, group: int) -> tuple[bool, str]:
        """Hold what builds an app, at once; tell whether it is held, and why not if the warden cannot do so.

        Raises OSError if the kernel refuses that.
        """
        from reconciler.host.network_kernel import EARLIER_WARDEN, filters_builds

        if app not in self._held:
            return False, ""
        if not filters_builds(self._settings.paths, self._settings.uids):
            return False, EARLIER_WARDEN
        self._kept().admit(app, self._held_by(app, group))
        return True, ""

    async def looked_up(self) -> None:
        """Wait until the names in lists have been looked up, a few seconds at most."""
        if self._rules is not None:
            await self._rules.looked_up()

    def clear(self) -> None:
        """Remove the rules, as nothing runs here any more; those of a user stay of whom something does."""
        if self._rules is not None:
            with survived("remove the rules of where apps connect to"):
                self._listed = ()
                self._want()
                self._rules.apply()

    async def _run(self) -> None:
        await self._kept().run(self._want)

    def _want(self) -> None:
        users: Mapping[str, int] = {}
        if self._held and self._instances.confinements is not None:
            users = {app: user for user, app in self._instances.confinements.app_users().items()}
        for name in self._held.keys() - self._listed - self._instances.apps() - self._instances.apps_of_processes():
            user = users.get(name)
            if user is None or not has_processes(user):  # by a task, or by what nothing of ours knows of
                del self._held[name]
        self._ran_before().intersection_update(self._instances.apps() | self._instances.apps_of_processes())
        lives = (live for live in self._instances.all() if live.end is None)
        places = frozenset(place_at(each.ip, each.port) for live in lives for each in live.record.addresses)
        held = {name: self._held_by(name, users.get(name)) for name in self._held}
        self._kept().want(held, frozenset(place for place in self._apps | places if place[1]))

    def _held_by(self, app: str, user: int | None) -> "Held":
        """Return how an app is held, also by the listeners of its instances, be they at ports of a former manifest."""
        known = self._held[app]
        live = (place_at(each.ip, each.port) for live in self._instances.lives(app) for each in live.record.addresses)
        listens = tuple(sorted({*known.listens, *(place for place in live if place[1])}))
        return replace(known, user=None if app in self._ran_before() else user, group=user, listens=listens)

    def _ran_before(self) -> set[str]:
        """Return the apps without a list of which something runs that was started when nothing was refused to it."""
        if self._before is None:
            lives = [live for live in self._instances.all() if live.end is None and live.proof is not None]
            free = {live.record.app for live in lives if live.proof is not None and "network" not in live.proof.held}
            self._before = {app for app in free if (known := self._held.get(app)) is not None and known.places is None}
        return self._before

    def _held_as(self, app: App, desired: DesiredState) -> "Held":
        from reconciler.host.network_memory import Held

        servers = tuple(self._servers_of(app, desired))
        listed: tuple[Place, ...] | None = None
        if app.isolation.connects == "listed":
            listed = (*map(place_of, app.isolation.places), *servers)
        elif app.isolation.connects == "none":
            listed = ()  # it is in no network, but what builds it is
        listens = tuple(place_at(each.ip, each.port) for each in app.addresses if each.port)
        ports = tuple(each.port for each in servers)
        return Held(user=None, places=listed, listens=listens, servers=ports, of_builds=self._packages)

    def _filters(self) -> bool:
        from reconciler.host.network_kernel import filters

        return filters(self._settings.paths, self._settings.uids)

    def _servers_of(self, app: App, desired: DesiredState) -> Iterator[Place]:
        """Yield where the servers are of the services that an app binds."""
        bound = (desired.services.get(binding.service) for binding in app.bindings)
        for name in dict.fromkeys(service.server for service in bound if service is not None and service.server):
            server = self._settings.servers.get(name)
            place = None if server is None else place_for_apps(server)
            if place is not None:
                host, port = place
                yield place_of(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def _kept(self) -> "NetworkRules":
        if self._rules is None:
            from reconciler.host.network_kernel import kernel_of
            from reconciler.host.network_names import resolve
            from reconciler.host.network_rules import NetworkRules

            def tell(text: str) -> None:
                self._journal.write(HOST, "daemon", text)

            paths = self._settings.paths
            kernel, name = kernel_of(paths)
            self._rules = NetworkRules(name, paths.network_rules, tell, resolve=resolve, kernel=kernel)
            if self._instances.confinements is not None:
                builds = self._instances.confinements.builds
                self._rules.building = lambda: frozenset(builds.users())
            self._held = self._rules.former | self._held
        return self._rules


def _is_held(app: App) -> bool:
    """Whether rules of the kernel hold an app if there are any."""
    return app.isolation.kind == "strict" and (app.isolation.connects != "listed" or app.isolation.by_user)


def _is_shut(app: App | None) -> bool:
    return app is not None and app.isolation.connects == "none"


def _is_free(app: App | None) -> bool:
    """Whether rules hold nothing of an app: it may connect anywhere, or to a list that they cannot hold it to."""
    if app is None:
        return False
    return app.isolation.connects == "all" or (app.isolation.connects == "listed" and not app.isolation.by_user)
