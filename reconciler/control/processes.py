"""Grant the requests of operators about one process of an app; what is granted is done at once and journaled."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler.control.grants import PROCESS, Grant, Manifests
from reconciler.control.requests import NotFound, desired_app
from reconciler.planning.apps.app import HERE, App
from reconciler.planning.processes.process import key_of
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.processes.world import ProcessWorld
from reconciler.state.journal import Journal

_DONE: Final = {
    "restart": ("restarting; what runs goes on until the new one is ready", Reason.RESTART_REQUESTED),
    "stop": ("told to finish, and stopped until its manifest changes, or until 'start'", Reason.STOPPED_BY_OPERATOR),
    "start": ("runs as its manifest says", Reason.OVERRIDE_ENDED),
}


class ProcessRequests:
    """Grants requests such as {"do": "restart", "app": "shop", "process": "worker"}.

    `elsewhere` is told of those whose app runs in a cluster: the app, the process and what is to be done.
    """

    def __init__(
        self,
        manifests: Manifests,
        world: ProcessWorld,
        journal: Journal,
        *,
        elsewhere: Callable[[App, str, str], None],
    ) -> None:
        self._manifests = manifests
        self._world = world
        self._journal = journal
        self._elsewhere = elsewhere

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants each of them, by its name."""
        return {f"{PROCESS}{kind}": self._grant for kind in _DONE}

    def restart_with(self, app: App) -> None:
        """Restart the processes of an app that has no web server: they are all there is of it."""
        for process in app.processes if app.address is None and app.place == HERE else ():
            self._world.request(key_of(app.name, process.name), "restart")

    def _grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        app, process, kind = (str(request.get(each)) for each in ("app", "process", "do"))
        desired = desired_app(self._manifests.catalog, app)
        names = [each.name for each in desired.processes]
        if process not in names:
            has = f"it has {', '.join(names)}" if names else "its manifest names none"
            raise NotFound(f"{app} has no process '{process}': {has}")
        text, reason = _DONE[kind]
        if desired.place == HERE:
            self._world.request(key_of(app, process), kind)
        else:
            self._elsewhere(desired, process, kind)
        self._journal.write(
            Subject("app", app), "request", f"{process}: {text}", f"requested by {who}", reason, process=process
        )
        return {"done": f"{app}/{process}: {text}"}
