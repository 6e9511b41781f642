"""A service in; all it holds in a file of its owner's alone out, whole or not at all."""

import contextlib
import os
from pathlib import Path

from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of


async def back_up(of_type: str, where: ServiceSpec, file: Path) -> None:
    """Write all a service holds to a file, whole or not at all. Raises ServiceError."""
    draft = file.with_name(f".{file.name}.draft")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await provisioner_of(of_type).back_up(where, draft)
        draft.chmod(0o600)
        _to_disk(draft)
        draft.replace(file)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _to_disk(file: Path) -> None:
    """What is removed next must not be all there is after a power cut."""
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
