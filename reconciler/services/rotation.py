"""Replace credentials: of one service by new ones, of a file that changed, and the key that encrypts them all."""

from reconciler.convergence.wake_queue import WakeQueue
from reconciler.services.observer import ServiceObserver
from reconciler.services.records import BOXES, ServiceRecords
from reconciler.vault.env_files import EnvFiles


class Rotation:
    """Marks what the plan of a service then replaces, and wakes the service."""

    def __init__(
        self,
        service_records: ServiceRecords,
        observer: ServiceObserver,
        env_files: EnvFiles,
        wakeups: WakeQueue,
    ) -> None:
        self._service_records = service_records
        self._observer = observer
        self._env_files = env_files
        self._wakeups = wakeups

    def rotate(self, name: str, app: str | None) -> tuple[str, ...]:
        """Retire the credentials for a service that are in use, of one app or of all; return the apps they are of."""
        from reconciler.planning.services.plan import current

        service = self._observer.services.get(name)
        state = None if service is None else current(service, self._observer.observed(name))
        wanted = self._observer.wanted_by.get(name, {})
        grants = () if state is None else self._service_records.service(state.id).grants
        chosen = [g for g in grants if g.app in wanted and app in {None, g.app} and not g.retiring]
        for grant in chosen:
            self._service_records.retire(grant.id, "a rotation was requested")
        self._wakeups.wake(name)
        return tuple(sorted({grant.app for grant in chosen}))

    def rebind(self, name: str, why: str) -> None:
        """Have every grant of a user-provided service bound again: a file it is made from may have changed."""
        for record in self._service_records.of(name):
            for grant in record.grants:
                if grant.credentials is not None:
                    self._service_records.due(grant.id, why)
        self._wakeups.wake(name)

    def rekey(self) -> int:
        """Encrypt every secret with a new key; return how many there are. Raises VaultLocked."""
        return self._service_records.vault.rekey(BOXES)

    def forget_secrets(self, besides: frozenset[str]) -> None:
        """Delete every secret that is not in force and whose id is not in `besides`."""
        grants = (g.credentials for s in self._service_records.services() for g in s.grants)
        in_force = {stored for stored in grants if stored is not None} | set(self._env_files.versions())
        self._service_records.vault.keep_only(in_force | besides)
