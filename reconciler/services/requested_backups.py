"""Back up services when operators request it, beside everything else that is done about them.

A request is not kept: one that the daemon's end interrupts leaves no file, and is made again by the operator.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from reconciler.planning.reason import Reason
from reconciler.services.backup import BACKUP_TIMEOUT_S, back_up
from reconciler.services.backup_files import new_backup
from reconciler.services.provisioner import Misconfigured, ServiceError, ServiceSpec
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.services.registry import WITHOUT_BACKUP
from reconciler.services.scheduled_backups import RecordEvent
from reconciler.settings.settings import Settings


class NotProvisioned(ServiceError):
    """No service of that name is provisioned on this host."""


class RequestedBackups:
    """Makes the backups that operators request, one of a service at a time.

    `now` is wall-clock seconds, `spec_of` returns what a provisioner needs of a service on record, and `record` writes
    an event.
    """

    def __init__(
        self,
        settings: Settings,
        service_records: ServiceRecords,
        *,
        now: Callable[[], float],
        spec_of: Callable[[ServiceRecord], ServiceSpec],
        record: RecordEvent,
    ) -> None:
        self._directory = settings.paths.backups
        self._slots = asyncio.Semaphore(settings.backup_slots)
        self._service_records = service_records
        self._now = now
        self._spec_of = spec_of
        self._record = record
        self._requested: asyncio.Queue[tuple[ServiceRecord, str]] = asyncio.Queue()
        self._unfinished: set[str] = set()

    def request(self, name: str, who: str) -> None:
        """Have a service backed up as soon as a few others are. Raises NotProvisioned or another ServiceError."""
        record = self._service_records.made(name)
        if record is None:
            raise NotProvisioned(f"no service named '{name}' is provisioned here: see 'reconciler services'")
        if record.type in WITHOUT_BACKUP:
            raise Misconfigured(f"type {record.type} cannot be backed up: {WITHOUT_BACKUP[record.type]}")
        if record.id in self._unfinished:
            raise ServiceError(f"a backup of {name} is being made already")
        self._unfinished.add(record.id)
        self._requested.put_nowait((record, who))

    async def run(self) -> None:
        """Make what is requested, for as long as the daemon runs."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                record, who = await self._requested.get()
                tasks.create_task(self._back_up(record, who), name=f"back up {record.name}")

    async def _back_up(self, record: ServiceRecord, who: str) -> None:
        try:
            async with self._slots:
                file = await self._made(record)
        except Exception as error:  # noqa: BLE001  whatever it is, it is told, and ends no other backup
            why = f"cannot back it up: {str(error) or type(error).__name__}"
            self._record(record.name, "failed", why, f"requested by {who}", Reason.BACKUP_FAILED)
        else:
            self._record(record.name, "backup", f"backed up to {file}", f"requested by {who}")
        finally:
            self._unfinished.discard(record.id)

    async def _made(self, record: ServiceRecord) -> Path:
        file = new_backup(self._directory, record, self._now(), "operator")
        try:
            async with asyncio.timeout(BACKUP_TIMEOUT_S):
                await back_up(record.type, self._spec_of(record), file)
        except TimeoutError:
            raise ServiceError(f"it was not complete within {BACKUP_TIMEOUT_S / 3600:g} h") from None
        return file
