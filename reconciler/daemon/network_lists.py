"""Tell the rules of the kernel which apps have a list of where they may connect to; nothing is loaded without one."""

import asyncio
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from reconciler.convergence.standing_tasks import StandingTasks, survived
from reconciler.daemon.manifest_loop import ManifestLoop
from reconciler.isolation.app_users import users_of_processes
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.isolation.destinations import Place, place_of
from reconciler.planning.subject import HOST
from reconciler.serving.instances import Instances
from reconciler.settings.server_places import place_for_apps
from reconciler.settings.settings import Settings
from reconciler.state.journal import Journal
from reconciler.state.schema import state_id

if TYPE_CHECKING:  # most apps have no list
    from reconciler.host.network_memory import Held
    from reconciler.host.network_rules import NetworkRules


class NetworkLists:
    """The lists of the apps of this host, as rules of the kernel hold them.

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
        self._table = f"reconciler-{state_id(settings.paths.state)}"
        self._places: dict[str, tuple[tuple[Place, ...], tuple[int, ...]]] = {}
        self._listed: Collection[str] = ()
        self._rules: NetworkRules | None = None
        self._task: asyncio.Task[None] | None = None
        manifests.tell(self)
        if instances.confinements is not None:
            instances.confinements.admit, instances.confinements.looked_up = self.admit, self.looked_up

    def follow(self, desired: DesiredState) -> None:
        """Hold apps to the lists of this desired state from now on."""
        held = {name: app for name, app in desired.apps.items() if app.isolation.by_user and app.place == HERE}
        if not held and self._rules is None and not self._settings.paths.network_rules.exists():
            return
        self._kept()
        self._listed = held.keys()
        former = {
            name: ((), ports) if _is_shut(desired.apps.get(name)) else (places, ports)
            for name, (places, ports) in self._places.items()
            if not _is_free(desired.apps.get(name))
        }
        self._places = former | {name: self._held(app, desired) for name, app in held.items()}
        self._want()
        if self._task is None or self._task.done():
            self._task = self._tasks.keep("hold apps to where they may connect", self._run)

    def admit(self, app: str, user: int) -> None:
        """Hold an app to its list that is about to start. Raises OSError if the kernel refuses that."""
        if app in self._places:
            self._kept().admit(app, self._held_by(app, user))

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
        if self._places and self._instances.confinements is not None:
            users = {app: user for user, app in self._instances.confinements.app_users().items()}
        if over := self._places.keys() - self._listed - self._instances.apps() - self._instances.apps_of_processes():
            running = users_of_processes()  # a task, or what nothing of ours knows of
            for name in over:
                if users.get(name) not in running:
                    del self._places[name]
        self._kept().want({name: self._held_by(name, users.get(name)) for name in self._places})

    def _held_by(self, app: str, user: int | None) -> "Held":
        """Return how an app is held, also by the listeners of its instances, be they at ports of a former manifest."""
        from reconciler.host.network_memory import Held

        places, ports = self._places[app]
        addresses = (address.port for live in self._instances.lives(app) for address in live.record.addresses)
        return Held(user=user, places=places, ports=tuple(sorted({*ports, *(port for port in addresses if port)})))

    def _held(self, app: App, desired: DesiredState) -> tuple[tuple[Place, ...], tuple[int, ...]]:
        ports = (address.port for address in app.addresses)
        return tuple(self._places_of(app, desired)), tuple(port for port in ports if port)

    def _places_of(self, app: App, desired: DesiredState) -> Iterator[Place]:
        """Yield where an app may connect to: its list, and the servers of the services that it binds."""
        for text in app.isolation.places:
            yield place_of(text)
        bound = (desired.services.get(binding.service) for binding in app.bindings)
        for name in dict.fromkeys(service.server for service in bound if service is not None and service.server):
            server = self._settings.servers.get(name)
            place = None if server is None else place_for_apps(server)
            if place is not None:
                host, port = place
                yield place_of(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    def _kept(self) -> "NetworkRules":
        if self._rules is None:
            from reconciler.host.network_names import resolve
            from reconciler.host.network_rules import NetworkRules

            def tell(text: str) -> None:
                self._journal.write(HOST, "daemon", text)

            self._rules = NetworkRules(self._table, self._settings.paths.network_rules, tell, resolve=resolve)
            self._places = {name: (each.places, each.ports) for name, each in self._rules.former.items()} | self._places
        return self._rules


def _is_shut(app: App | None) -> bool:
    return app is not None and app.isolation.connects == "none"


def _is_free(app: App | None) -> bool:
    """Whether rules hold nothing of an app: it may connect anywhere, or to a list that they cannot hold it to."""
    if app is None:
        return False
    return app.isolation.connects == "all" or (app.isolation.connects == "listed" and not app.isolation.by_user)
