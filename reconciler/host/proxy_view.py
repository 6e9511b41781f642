"""What apps and the proxy of the host know of each other: where each app is reached, and where the proxy still dials.

A listener is closed once the proxy dials it no more: what has just been configured may be a while behind. An app that
goes serves until then.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from reconciler.host.app_listeners import AppListeners
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.serving.instances import Instances

if TYPE_CHECKING:  # most hosts have no proxy
    from reconciler.planning.routing.route import Entry

_NOWHERE: frozenset[Address] = frozenset()


class Lead(Protocol):
    """How clients of an app are led to a cluster."""

    @property
    def entry(self) -> "Entry | None":
        """Where, None if that is not known."""
        ...

    @property
    def away(self) -> bool:
        """Whether they are to be led away from this host already."""
        ...


class ProxyView:
    """Between the World of apps and that of the proxy, if there is one.

    `dials` says whether the proxy dials an address, or may; `withdraws` whether it does so only until it has been told
    of what the manifests say now, None without a proxy. `on_move` is called when an app is reached elsewhere. `leads`
    says of each cluster, by its name, how clients of an app of which something is there are led to it.
    """

    def __init__(self, listeners: AppListeners, instances: Instances) -> None:
        self.dials: Callable[[Address], bool] = lambda _: False
        self.withdraws: Callable[[Address], bool] | None = None
        self.on_move: Callable[[], None] = lambda: None
        self._listeners = listeners
        self._instances = instances
        self.leads: dict[str, Callable[[str], Lead | None]] = {}
        self._reached: dict[str, Address | Entry | None] = {}
        self._waits: set[str] = set()

    def reached(self, app: App) -> "Address | Entry | None":
        """Return where the proxy is to reach an app: here, or in a cluster; None for one that is in none yet."""
        self._reached[app.name] = found = self._where(app)
        return found

    def _where(self, app: App) -> "Address | Entry | None":
        instances = self._instances.of(app.name)
        if app.address is not None:
            serves = any(i.serves and i.addresses for i in instances) or self.is_armed(app.name)
            if not serves and app.state == "running" and (left := self._left(app)) is not None:
                return left  # it serves there until it does here
            return self._listeners.reached(app.name, instances, app.address)
        local = next((i.address for i in reversed(instances) if i.serves and i.address is not None), None)
        local = local or min(self._listeners.of(app.name), key=lambda each: (not each.path, str(each)), default=None)
        there = self.leads[app.place](app.name) if app.place in self.leads else None
        before = local or (None if there is not None and there.away else self._left(app))
        if there is not None and (there.away or before is None):
            return there.entry
        return before

    def _left(self, app: App) -> "Entry | None":
        """Return the entry of a cluster that an app is placed in no more, and where something of it still is."""
        found = (of(app.name) for place, of in self.leads.items() if place != app.place)
        return next((each.entry for each in found if each is not None and each.entry is not None), None)

    def is_armed(self, name: str) -> bool:
        """Return whether the next connection wakes an app."""
        return bool(self._listeners.armed(name))

    def listens(self, name: str) -> bool:
        """Return whether a client of an app gets to this host."""
        return bool(self._listeners.of(name))

    def is_waited_for(self, name: str) -> bool:
        """Return whether connections wait at an app's listeners until an instance takes them."""
        return self._listeners.queue(name) > 0

    def dialled(self, name: str, app: App | None) -> frozenset[Address]:
        """Return the listeners of an app at which the proxy still reaches it, without the one that it is to have."""
        if self.withdraws is None:
            return _NOWHERE
        opened = self._listeners.of(name)
        if app is None or app.routing is None or app.state == "stopped":
            found = frozenset(filter(self.withdraws, opened))
        else:
            found = frozenset(filter(self.dials, opened - {app.address}))
        if found:
            self._waits.add(name)
        return found

    def moved(self, app: App | None) -> None:
        """Have the proxy told if an app is reached elsewhere than it was."""
        if app is None or app.routing is None or app.name not in self._reached:
            return
        if self._reached[app.name] != self.reached(app):
            self.on_move()

    def waiting(self) -> frozenset[str]:
        """Return the apps with a listener that stays for the proxy, and forget them: each says so again."""
        found, self._waits = frozenset(self._waits), set()
        return found
