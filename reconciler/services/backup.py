"""A service in; all it holds in a file of its owner's alone out, whole or not at all."""

from pathlib import Path

from reconciler.linux.files import replacing
from reconciler.services.provisioner import ServiceError, ServiceSpec
from reconciler.services.registry import provisioner_of


async def back_up(of_type: str, where: ServiceSpec, file: Path) -> None:
    """Write all a service holds to a file, whole or not at all. Raises ServiceError."""
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(file) as draft:
            await provisioner_of(of_type).back_up(where, draft)
            draft.chmod(0o600)
    except OSError as error:
        raise ServiceError(f"cannot write {file}: {error.strerror}") from error
