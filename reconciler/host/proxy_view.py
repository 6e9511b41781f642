"""What apps and the proxy of the host know of each other: where each app is reached, and where the proxy still dials.

A listener is closed once the proxy dials it no more: what has just been configured may be a while behind. An app that
goes serves until then.
"""

from collections.abc import Callable

from reconciler.host.app_listeners import AppListeners
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.serving.instances import Instances

_NOWHERE: frozenset[Address] = frozenset()


class ProxyView:
    """Between the World of apps and that of the proxy, if there is one.

    `dials` says whether the proxy dials an address, or may; `withdraws` whether it does so only until it has been told
    of what the manifests say now, None without a proxy. `on_move` is called when an app is reached elsewhere.
    """

    def __init__(self, listeners: AppListeners, instances: Instances) -> None:
        self.dials: Callable[[Address], bool] = lambda _: False
        self.withdraws: Callable[[Address], bool] | None = None
        self.on_move: Callable[[], None] = lambda: None
        self._listeners = listeners
        self._instances = instances
        self._reached: dict[str, Address] = {}
        self._waits: set[str] = set()

    def reached(self, app: App) -> Address:
        """Return where the proxy is to reach an app that has an address."""
        assert app.address is not None
        found = self._listeners.reached(app.name, self._instances.of(app.name), app.address)
        self._reached[app.name] = found
        return found

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
        if app is None or app.routing is None or app.address is None:
            return
        before = self._reached.get(app.name)
        if before is not None and self.reached(app) != before:
            self.on_move()

    def waiting(self) -> frozenset[str]:
        """Return the apps with a listener that stays for the proxy, and forget them: each says so again."""
        found, self._waits = frozenset(self._waits), set()
        return found
