"""Grant the requests of operators, or refuse them with a reason; what is granted is done at once and journaled."""

from typing import Any, Protocol

from reconciler.control.requests import REQUESTS, NotFound, Refused, desired_app
from reconciler.control.tasks import TaskRequests
from reconciler.host.world import AppWorld
from reconciler.planning.apps.app import App
from reconciler.planning.desired_state import DesiredState
from reconciler.planning.reason import Reason
from reconciler.planning.subject import HOST, Subject
from reconciler.planning.wording import counted
from reconciler.services.provisioner import ServiceError
from reconciler.services.requested_backups import NotProvisioned
from reconciler.services.world import ServiceWorld
from reconciler.state.journal import Journal
from reconciler.vault.vault import VaultLocked


class Manifests(Protocol):
    """What is desired now."""

    @property
    def catalog(self) -> DesiredState:
        """The desired state in force."""
        ...

    def confirm(self) -> bool:
        """Take the manifests as they are; return whether anything waits for that."""
        ...


class Metrics(Protocol):
    """The daemon's figures."""

    def as_json(self) -> dict[str, Any]:
        """Return what was done since this daemon began, in numbers."""
        ...


class Outcomes(Protocol):
    """Whether everything is as the manifests ask."""

    def look(self) -> dict[str, Any]:
        """Have the manifests, the sources and the files of secrets looked at now; return which daemon this is."""
        ...

    def as_json(self, *, only_open: bool) -> dict[str, Any]:
        """Return the outcome of each app and service, or of those alone that are not up to date."""
        ...


class Origins(Protocol):
    """The origins in git."""

    def figures(self) -> dict[str, Any]:
        """Return what was done for each since this daemon began, in numbers, by name."""
        ...

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, or facts. Raises Refused."""
        ...


class OperatorRequests:
    """Grants requests such as {"do": "rollback", "app": "blog", "revision": "1a2b"}."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        manifests: Manifests,
        apps: AppWorld,
        services: ServiceWorld,
        journal: Journal,
        *,
        metrics: Metrics,
        outcomes: Outcomes,
        tasks: TaskRequests,
        origins: Origins | None = None,
    ) -> None:
        self._manifests = manifests
        self._apps = apps
        self._services = services
        self._journal = journal
        self._metrics = metrics
        self._outcomes = outcomes
        self._tasks = tasks
        self._origins = origins

    def grant(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        """Return what was done, as {"done": sentence}, or facts. Raises Refused."""
        match request.get("do"):
            case "metrics":
                origins = {} if self._origins is None else self._origins.figures()
                limits = [[*each, count] for each, count in sorted(self._apps.limits.counts.items())]
                return {**self._metrics.as_json(), **self._tasks.figures(), "origins": origins, "limits": limits}
            case "look":
                return self._outcomes.look()
            case "outcomes":
                return self._outcomes.as_json(only_open=bool(request.get("open")))
            case "origin":
                if self._origins is None:
                    raise Refused("no origins in git; 'origins' in the host's settings names them")
                return self._origins.grant(request, who)
            case "task":
                return self._tasks.run(self._app(request.get("app")), request, who)
            case "trigger":
                return self._tasks.trigger(self._app(request.get("app")), request, who)
            case "cancel":
                return self._tasks.cancel(request, who)
            case name:
                return self._rest(name, request, who)

    def _rest(self, name: Any, request: dict[str, Any], who: str) -> dict[str, Any]:
        match name:
            case "shell":
                return self._tasks.begin_shell(self._app(request.get("app")), request, who)
            case "shell-ended":
                return self._tasks.end_shell(request)
        return {"done": self._done(name, request, who)}

    def _done(self, name: Any, request: dict[str, Any], who: str) -> str:
        match name:
            case "rotate":
                return self._rotate(request.get("service"), request.get("app"), who)
            case "backup":
                return self._back_up(request.get("service"), who)
            case "rekey":
                return self._rekey(who)
            case "prune":
                return self._prune(who)
        return self._of_app(name, request, who)

    def _app(self, name: Any) -> App:
        return desired_app(self._manifests.catalog, name)

    def _of_app(self, kind: Any, request: dict[str, Any], who: str) -> str:
        app = self._app(request.get("app"))
        known = REQUESTS.get(kind) if isinstance(kind, str) else None
        if known is None:
            raise Refused(f"there is no request '{kind}'; there are {', '.join(REQUESTS)}")
        text, granted = known.grant(app, self._apps.observe(app.name), request.get("revision"))
        self._apps.request(app.name, granted, who)
        self._journal.write(Subject("app", app.name), "request", text, f"requested by {who}", known.reason)
        return f"{app.name}: {text}"

    def _rotate(self, name: Any, app: Any, who: str) -> str:
        if not isinstance(name, str) or name not in self._manifests.catalog.services:
            raise NotFound(
                f"no valid manifest describes a service named '{name}'; 'reconciler services' lists the services"
            )
        apps = self._services.rotation.rotate(name, app)
        if not apps:
            who = f"app '{app}'" if app else "no app"
            raise Refused(
                f"{name}: {who} {'has no' if app else 'has'} credentials for it, so there is nothing to rotate"
            )
        text = f"new credentials for {', '.join(apps)}"
        self._journal.write(Subject("service", name), "request", text, f"requested by {who}")
        return f"{name}: creating {text}; the old ones are revoked once no instance uses them"

    def _back_up(self, name: Any, who: str) -> str:
        try:
            self._services.requested_backups.request(str(name), who)
        except NotProvisioned as error:
            raise NotFound(str(error)) from error
        except ServiceError as error:
            raise Refused(str(error)) from error
        self._journal.write(Subject("service", str(name)), "request", "a backup", f"requested by {who}")
        return f"{name}: backing up; 'reconciler backups {name}' lists the backup once it is complete"

    def _prune(self, who: str) -> str:
        if not self._manifests.confirm():
            raise Refused("the manifests can be read and none is missing, so there is nothing to confirm")
        text = "the manifests are taken as they are; apps whose manifest is gone are removed after 'prune_after'"
        self._journal.write(HOST, "request", text, f"requested by {who}", Reason.PRUNE_CONFIRMED)
        return text

    def _rekey(self, who: str) -> str:
        try:
            count = self._services.rotation.rekey()
        except VaultLocked as error:
            raise Refused(str(error)) from error
        text = f"re-encrypted {counted(count, 'secret')} with a new key"
        self._journal.write(HOST, "secrets", text, f"requested by {who}")
        return f"{text}; back up the new key file"
