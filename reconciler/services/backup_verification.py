"""Verify a backup by a restore into a scratch place that is removed afterwards, also if this process is killed.

The scratch directory of a verification names the service. One that no process holds any more says that the server may
still have a scratch database, and is removed together with it.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path

from reconciler.linux.error_words import in_words
from reconciler.linux.files import draft
from reconciler.linux.remove_tree import remove_tree
from reconciler.services.backup import BACKUP_TIMEOUT_S, require_room
from reconciler.services.backup_files import Verification, record_verification
from reconciler.services.provisioner import Misconfigured, ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of
from reconciler.services.scratch import abandoned, scratch

_OF_A_SERVICE = re.compile(r"\.draft-verify-([0-9a-f]{12})-[0-9a-f]+")


async def verify_backup(spec: ServiceSpec, file: Path, directory: Path) -> Verification:
    """Restore a backup apart from the data, count what is there, and write the outcome down beside it.

    `directory` is that of the backups; of a file elsewhere nothing is written down. A backup that cannot be restored is
    an outcome. Raises ServiceError if that cannot be found out, as when the server is down, and Misconfigured if the
    type has no backups.
    """
    provisioner, at = provisioner_of(spec.type), time.time()  # noqa: TID251  shown to people, never subtracted
    try:
        await asyncio.to_thread(directory.mkdir, mode=0o700, parents=True, exist_ok=True)
        require_room(directory, file.stat().st_size)
        async with scratch(directory, f"verify-{spec.id}") as place:
            try:
                async with asyncio.timeout(BACKUP_TIMEOUT_S):
                    outcome = Verification(at=at, counted=await provisioner.verify_backup(spec, file, place))
            except Misconfigured:
                raise
            except ServiceError as error:
                await _require_server(spec, directory, error)
                outcome = Verification(at=at, counted={}, failure=str(error))
        if file.parent == directory:
            await asyncio.to_thread(record_verification, file, outcome)
    except OSError as error:
        raise ServiceError(f"cannot verify {file}: {in_words(error)}") from error
    return outcome


async def remove_abandoned(directory: Path, spec_of: Callable[[str], ServiceSpec | None]) -> tuple[str, ...]:
    """Remove what killed backups and verifications have left; return the names of the directories.

    `spec_of` returns what a provisioner needs of the service with an id, None if there is none any more, and may raise
    ServiceError. What cannot be removed from a server now stays, to be found again. Raises OSError.
    """
    removed: list[str] = []
    with abandoned(directory) as paths:
        for path in paths:
            with contextlib.suppress(ServiceError):
                if named := _OF_A_SERVICE.fullmatch(path.name):
                    spec = spec_of(named[1])
                    if spec is not None:
                        await provisioner_of(spec.type).remove_scratch(spec)
                await asyncio.to_thread(remove_tree, path)
                removed.append(path.name)
    return tuple(removed)


async def _require_server(spec: ServiceSpec, directory: Path, error: ServiceError) -> None:
    """Raise the error again, and leave a trace of the scratch place, if the server cannot even remove that."""
    try:
        await provisioner_of(spec.type).remove_scratch(spec)
    except ServiceError:
        draft(directory, f"verify-{spec.id}").mkdir(mode=0o700)
        raise error from None
