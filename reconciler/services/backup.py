"""Back up a service to a file that only its owner can read, complete or not at all."""

import contextlib
import os
from pathlib import Path

from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of


async def back_up(of_type: str, spec: ServiceSpec, file: Path) -> None:
    """Write the data of a service to a file, complete or not at all. Raises ServiceError."""
    draft = file.with_name(f".{file.name}.draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await provisioner_of(of_type).back_up(spec, draft)
        draft.chmod(0o600)
        _sync(draft)
        draft.replace(file)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _sync(file: Path) -> None:
    """Flush the file to the disk: the service is removed next, and a power cut must not take both."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
