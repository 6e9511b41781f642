"""Back up a service to a file that only its owner can read, complete or not at all."""

import asyncio
import os
from pathlib import Path

from reconciler.linux.error_words import in_words
from reconciler.linux.files import publish
from reconciler.linux.regular_files import shown_size
from reconciler.services.backup_files import backups_in
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of
from reconciler.services.scratch import scratch

BACKUP_TIMEOUT_S = 6 * 3600.0
_MARGIN = 1.1  # of what is expected, as the data has grown since
_KEPT_FREE_BYTES = 16 * 1024 * 1024


async def back_up(of_type: str, spec: ServiceSpec, file: Path) -> None:
    """Write the data of a service to a file, complete or not at all. Raises ServiceError."""
    try:
        await asyncio.to_thread(file.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        await _require_room(of_type, spec, file.parent)
        async with scratch(file.parent, "backup") as directory:
            draft = directory / file.name
            await provisioner_of(of_type).back_up(spec, draft)
            draft.chmod(0o600)
            await asyncio.to_thread(publish, draft, file)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {in_words(error)}") from error


async def _require_room(of_type: str, spec: ServiceSpec, directory: Path) -> None:
    """Raise ServiceError if a backup as large as the one before would fill the disk.

    For the first one, the size of the data is all that is known.
    """
    earlier = await asyncio.to_thread(backups_in, directory, spec.id)
    expected = earlier[0].size if earlier else await provisioner_of(of_type).size_bytes(spec) or 0
    require_room(directory, expected)


def require_room(directory: Path, size: int) -> None:
    """Raise ServiceError if so many bytes, and a little more, would fill the disk of a directory."""
    disk = os.statvfs(directory)
    free, needed = disk.f_bavail * disk.f_frsize, int(size * _MARGIN) + _KEPT_FREE_BYTES
    if free < needed:
        raise ServiceError(
            f"the disk that holds {directory} has {shown_size(free)} free, and this needs {shown_size(needed)}"
        )
