"""List the backups in the state directory, as the commands and the page show them."""

from typing import Any, NamedTuple

from reconciler.inspection.snapshot import HostSnapshot
from reconciler.services.backup_files import BackupFile, MadeBy, Verification, backups_in


class BackupRow(NamedTuple):
    """One backup; `at` is seconds since 1970, `size` is in bytes.

    `current` says that the service it was made of still exists, so that it can be restored.
    """

    service: str
    id: str
    type: str
    at: float
    made_by: MadeBy
    size: int
    path: str
    verification: Verification | None
    current: bool

    @property
    def name(self) -> str:
        """The name by which a command takes it."""
        return self.path.rpartition("/")[2]

    def facts(self) -> dict[str, Any]:
        """Return the row as JSON data."""
        verified = self.verification
        return {
            **{name: getattr(self, name) for name in self._fields},
            "name": self.name,
            "verification": None
            if verified is None
            else {"at": verified.at, "counted": dict(verified.counted), "failure": verified.failure or None},
        }


def backups(snapshot: HostSnapshot, service: str | None = None) -> tuple[BackupRow, ...]:
    """Return the backups of all services or of one, by service and the newest first. Raises OSError."""
    current = {record.id for record in snapshot.service_records.services() if record.made}
    found = (each for each in backups_in(snapshot.paths.backups) if service in {None, each.service})
    return tuple(sorted((_row(each, each.id in current) for each in found), key=lambda row: row.service))


def last_good(snapshot: HostSnapshot, now: float) -> dict[str, float]:
    """Return when the newest backup of each service was made that may be restored, by name. Raises OSError.

    One whose verification failed, and one of a time after `now`, are none. Both are seconds since 1970.
    """
    current = {record.id: record.name for record in snapshot.service_records.services() if record.made}
    found: dict[str, float] = {}
    for each in backups_in(snapshot.paths.backups):  # the newest first
        is_good = each.verification is None or not each.verification.failure
        if each.id in current and is_good and each.at <= now:
            found.setdefault(current[each.id], each.at)
    return found


def _row(backup: BackupFile, current: bool) -> BackupRow:
    return BackupRow(
        service=backup.service,
        id=backup.id,
        type=backup.type,
        at=backup.at,
        made_by=backup.made_by,
        size=backup.size,
        path=str(backup.path),
        verification=backup.verification,
        current=current,
    )
