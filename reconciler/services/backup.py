"""Back up a service to a file that only its owner can read, complete or not at all."""

from pathlib import Path

from reconciler.linux.files import replacing
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of


async def back_up(of_type: str, spec: ServiceSpec, file: Path) -> None:
    """Write the data of a service to a file, complete or not at all. Raises ServiceError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file) as draft:
            await provisioner_of(of_type).back_up(spec, draft)
            draft.chmod(0o600)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error
