"""Read the text files of an app's code, in whatever encoding an editor saved them, up to a size no such file has."""

from pathlib import Path

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.linux.files import opened
from reconciler.staging.errors import StagingError

_LARGEST_BYTES = 32 << 20


def content_of(path: Path, name: str, included_by: str = "") -> bytes:
    """Return the bytes of a file that errors call `name`; raises FileNotFoundError or StagingError."""
    try:
        with opened(path) as file:
            content = file.read(_LARGEST_BYTES + 1)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise StagingError(f"cannot read {name}{included_by}: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _LARGEST_BYTES:
        raise StagingError(f"cannot read {name}{included_by}: it is larger than {_LARGEST_BYTES >> 20} MiB")
    return content


def text_of(path: Path, name: str, included_by: str = "") -> str:
    """Return the text of a file without its byte order mark, its lines ended as on Linux.

    Raises FileNotFoundError or StagingError.
    """
    try:
        return decoded(content_of(path, name, included_by)).replace("\r\n", "\n").replace("\r", "\n")
    except Undecodable as error:
        raise StagingError(f"cannot read {name}{included_by}: it is {error}") from error
