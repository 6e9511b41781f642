"""What an operator may ask of a running daemon: a request in, what it comes to or why it is refused out."""

from typing import Any, Protocol

from reconciler.control.socket import Refused
from reconciler.host.world import OperatorRequest
from reconciler.manifests.catalog import Catalog
from reconciler.planning.apps.observed import Observed, Override
from reconciler.planning.desired import App, Revision
from reconciler.vault.vault import VaultLocked


class Requestable(Protocol):
    """Of the daemon, what granting needs."""

    catalog: Catalog

    def request(self, name: str, wish: OperatorRequest, text: str, who: str) -> None:
        """Do it."""
        ...

    def observed(self, name: str) -> Observed:
        """What is true of an app."""
        ...

    def figures(self) -> dict[str, Any]:
        """What it did, in numbers."""
        ...

    def rotate(self, service: str, app: str | None, who: str) -> tuple[str, ...]:
        """Have new credentials made; returns the apps they are for."""
        ...

    def rekey(self, who: str) -> int:
        """Encrypt what is stored anew; returns how many secrets there are. Raises Sealed."""
        ...


class OperatorRequests:
    """Grants requests such as {"do": "rollback", "app": "blog", "revision": "1a2b"}."""

    def __init__(self, daemon: Requestable) -> None:
        self._daemon = daemon

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """What was done, as {"done": sentence}, or the daemon's figures; raises Refused."""
        if request.get("do") == "metrics":
            return self._daemon.figures()
        if request.get("do") in {"rotate", "rekey"}:
            return {"done": self._of_services(request, who)}
        name = request.get("app")
        app = self._daemon.catalog.apps.get(name) if isinstance(name, str) else None
        if app is None:
            raise Refused(f"no manifest in force asks for an app named '{name}'")
        text, wish = self._granted(request, app, self._daemon.observed(app.name))
        self._daemon.request(app.name, wish, text, who)
        return {"done": f"{app.name}: {text}"}

    def _of_services(self, request: dict[str, Any], who: str) -> str:
        if request["do"] == "rekey":
            try:
                return f"{self._daemon.rekey(who)} secrets are encrypted with a new key; keep its file, not the old one"
            except VaultLocked as error:
                raise Refused(str(error)) from error
        name, app = request.get("service"), request.get("app")
        if not isinstance(name, str) or name not in self._daemon.catalog.services:
            raise Refused(f"no manifest in force asks for a service named '{name}'")
        apps = self._daemon.rotate(name, app, who)
        if not apps:
            whom = f"app '{app}' has no" if app else "no app has"
            raise Refused(f"{name}: {whom} credentials for it that could be rotated")
        done = "are made and handed over, then the old ones taken back"
        return f"{name}: new credentials for {', '.join(apps)} {done}"

    def _granted(self, request: dict[str, Any], app: App, observed: Observed) -> tuple[str, OperatorRequest]:
        match request.get("do"):
            case "restart":
                return "it is started anew, the running instance serving until the new one does", "restart"
            case "stop":
                return "stopped until its manifest changes, or 'start'", Override(
                    kind="stopped", holds_for=app.fingerprint
                )
            case "start":
                return "as its manifest asks again", "start"
            case "forget-failure":
                return "what failed is forgotten and tried at once", "forget-failure"
            case "rollback":
                return self._rolled_back(request.get("revision"), app, observed)
        raise Refused(f"cannot do '{request.get('do')}'")

    def _rolled_back(self, wanted: str | None, app: App, observed: Observed) -> tuple[str, OperatorRequest]:
        if observed.source is None:
            raise Refused("its source was not read yet")
        asked, inputs = app.revision(observed.source.content), observed.inputs
        now = inputs.revision(app, observed.source.content).id
        known = [p for p in observed.known_good if p.build.id in observed.builds and p.id != now]
        known = [p for p in known if (today := inputs.todays(p)) is not None and today.id != now]
        found = [p for p in known if wanted is None or p.id.startswith(wanted)]
        if not found:
            raise Refused(_nothing_to_go_back_to(wanted, known))
        override = Override(kind="rolled back", holds_for=asked.id, revision=found[0])
        return f"rolled back to revision {found[0].id} until its manifest or source changes, or 'start'", override


def _nothing_to_go_back_to(wanted: str | None, known: list[Revision]) -> str:
    if wanted is None or not known:
        return "there is no earlier revision that got through its probation and is still on disk"
    return f"no revision '{wanted}' to go back to; there is {', '.join(p.id for p in known)}"
