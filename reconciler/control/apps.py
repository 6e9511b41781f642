"""Grant the requests of operators about one app; what is granted is done at once and journaled."""

from collections.abc import Callable, Mapping
from typing import Any

from reconciler.control.grants import Grant, Manifests
from reconciler.control.requests import REQUESTS, desired_app
from reconciler.host.world import AppWorld
from reconciler.planning.apps.app import App
from reconciler.planning.subject import Subject
from reconciler.state.journal import Journal


class AppRequests:
    """Grants requests such as {"do": "rollback", "app": "blog", "revision": "1a2b"}.

    `restarted` is called with each app that is restarted.
    """

    def __init__(
        self, manifests: Manifests, apps: AppWorld, journal: Journal, *, restarted: Callable[[App], None]
    ) -> None:
        self._manifests = manifests
        self._apps = apps
        self._journal = journal
        self._restarted = restarted

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants each of them, by its name."""
        return dict.fromkeys(REQUESTS, self._grant)

    def _grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        app, kind = desired_app(self._manifests.catalog, request.get("app")), REQUESTS[request["do"]]
        text, granted = kind.grant(app, self._apps.observe(app.name), request.get("revision"))
        self._apps.request(app.name, granted, who)
        self._journal.write(Subject("app", app.name), "request", text, f"requested by {who}", kind.reason)
        if kind.name == "restart":
            self._restarted(app)
        return {"done": f"{app.name}: {text}"}
