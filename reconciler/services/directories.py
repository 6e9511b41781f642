"""The directory of each service, which identifies the service should the database be lost.

A directory is named by the service's id and says what the service is before anything is created on a server.
"""

import contextlib
import json
from collections.abc import Iterator

from reconciler.linux.regular_files import read_record
from reconciler.services.records import ServiceRecord, ServiceRecords
from reconciler.state.paths import StatePaths

_ABOUT = "about.json"
_MOST_OF_A_RECORD = 64 * 1024


class ServiceDirectories:
    """Creates the directories below the state directory, and finds those that no record knows."""

    def __init__(self, paths: StatePaths, service_records: ServiceRecords) -> None:
        self._paths = paths
        self._service_records = service_records

    def create(self, record: ServiceRecord) -> None:
        """Create a service's directory unless it exists. Raises OSError."""
        about = self._paths.service(record.name, record.id) / _ABOUT
        if about.exists():
            return
        about.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = about.with_suffix(".draft")
        draft.write_text(json.dumps({"type": record.type, "server": record.server}), encoding="utf-8")
        draft.replace(about)

    def unrecorded(self, name: str, of_type: str, server: str | None) -> Iterator[str]:
        """Yield the ids of services that have a directory and no record: their database was lost."""
        known = {record.id for record in self._service_records.services()}
        for file in sorted(self._paths.service(name, "").glob(f"*/{_ABOUT}")):
            with contextlib.suppress(OSError, ValueError):
                about = read_record(file, _MOST_OF_A_RECORD)
                if about == {"type": of_type, "server": server} and file.parent.name not in known:
                    yield file.parent.name
