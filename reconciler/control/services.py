"""Grant the requests of operators about services and their secrets; what is granted is done at once and journaled."""

from collections.abc import Mapping
from typing import Any

from reconciler.control.grants import Grant, Manifests
from reconciler.control.requests import NotFound, Refused
from reconciler.planning.subject import HOST, Subject
from reconciler.planning.wording import counted
from reconciler.services.provisioner import ServiceError
from reconciler.services.requested_backups import NotProvisioned
from reconciler.services.world import ServiceWorld
from reconciler.state.journal import Journal
from reconciler.vault.vault import VaultLocked


class ServiceRequests:
    """Grants requests such as {"do": "backup", "service": "db"}."""

    def __init__(self, manifests: Manifests, services: ServiceWorld, journal: Journal) -> None:
        self._manifests = manifests
        self._services = services
        self._journal = journal

    @property
    def grants(self) -> Mapping[str, Grant]:
        """What grants each of them, by its name."""
        return {"rotate": self._rotate, "backup": self._back_up, "rekey": self._rekey}

    def _rotate(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        name, app = request.get("service"), request.get("app")
        if not isinstance(name, str) or name not in self._manifests.catalog.services:
            raise NotFound(
                f"no valid manifest describes a service named '{name}'; 'reconciler services' lists the services"
            )
        apps = self._services.rotation.rotate(name, app)
        if not apps:
            whose = f"app '{app}' has no" if app else "no app has"
            raise Refused(f"{name}: {whose} credentials for it, so there is nothing to rotate")
        text = f"new credentials for {', '.join(apps)}"
        self._journal.write(Subject("service", name), "request", text, f"requested by {who}")
        return {"done": f"{name}: creating {text}; the old ones are revoked once no instance uses them"}

    def _back_up(self, request: dict[str, Any], who: str) -> dict[str, Any]:
        name = str(request.get("service"))
        try:
            self._services.requested_backups.request(name, who)
        except NotProvisioned as error:
            raise NotFound(str(error)) from error
        except ServiceError as error:
            raise Refused(str(error)) from error
        self._journal.write(Subject("service", name), "request", "a backup", f"requested by {who}")
        return {"done": f"{name}: backing up; 'reconciler backups {name}' lists the backup once it is complete"}

    def _rekey(self, _: dict[str, Any], who: str) -> dict[str, Any]:
        try:
            count = self._services.rotation.rekey()
        except VaultLocked as error:
            raise Refused(str(error)) from error
        text = f"re-encrypted {counted(count, 'secret')} with a new key"
        self._journal.write(HOST, "secrets", text, f"requested by {who}")
        return {"done": f"{text}; back up the new key file"}
