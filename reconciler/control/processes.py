"""Grant the requests of operators about one process of an app, and pass on all others."""

from collections.abc import Callable
from typing import Any, Final, Protocol

from reconciler.control.requests import NotFound, Refused, desired_app
from reconciler.planning.desired_state import DesiredState
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


class Manifests(Protocol):
    """What is desired now."""

    @property
    def catalog(self) -> DesiredState:
        """The desired state in force."""
        ...


class ProcessRequests:
    """Grants requests such as {"do": "restart", "app": "shop", "process": "worker"}; `others` grants any other."""

    def __init__(
        self,
        others: Callable[[dict[str, Any], str], dict[str, Any]],
        manifests: Manifests,
        world: ProcessWorld,
        journal: Journal,
    ) -> None:
        self._others = others
        self._manifests = manifests
        self._world = world
        self._journal = journal

    def _restart_with(self, name: str) -> None:
        """Restart the processes of an app that has no web server: they are all there is of it."""
        app = self._manifests.catalog.apps.get(name)
        for process in app.processes if app is not None and app.address is None else ():
            self._world.request(key_of(name, process.name), "restart")

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, as {"done": sentence}, or facts. Raises Refused."""
        if "process" not in request:
            answer = self._others(request, who)
            if request.get("do") == "restart":
                self._restart_with(str(request.get("app")))
            return {**answer, **self._world.figures()} if request.get("do") == "metrics" else answer
        app, process, kind = (str(request.get(each)) for each in ("app", "process", "do"))
        names = [each.name for each in desired_app(self._manifests.catalog, app).processes]
        if process not in names:
            has = f"it has {', '.join(names)}" if names else "its manifest names none"
            raise NotFound(f"{app} has no process '{process}': {has}")
        if kind not in _DONE:
            raise Refused(f"there is no request '{kind}' about a process; there are {', '.join(_DONE)}")
        text, reason = _DONE[kind]
        self._world.request(key_of(app, process), kind)
        self._journal.write(
            Subject("app", app), "request", f"{process}: {text}", f"requested by {who}", reason, process=process
        )
        return {"done": f"{app}/{process}: {text}"}
