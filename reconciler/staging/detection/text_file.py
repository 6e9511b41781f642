"""Read the text files of an app's code, in whatever encoding an editor saved them, up to a size no such file has."""

from pathlib import Path

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.staging.errors import StagingError
from reconciler.staging.source.reading import LARGEST_TEXT, read_source


def content_of(path: Path, name: str, included_by: str = "", *, most: int = LARGEST_TEXT) -> bytes:
    """Return the at most `most` bytes of a file that errors call `name`; raises FileNotFoundError or StagingError."""
    try:
        return read_source(path, f"{name}{included_by}", most=most)
    except ValueError as error:  # a name that no file can have
        raise StagingError(f"cannot read {name}{included_by}: {error}") from error


def text_of(path: Path, name: str, included_by: str = "", *, most: int = LARGEST_TEXT) -> str:
    """Return the text of a file without its byte order mark, its lines ended as on Linux.

    Raises FileNotFoundError or StagingError.
    """
    try:
        text = decoded(content_of(path, name, included_by, most=most)).replace("\r\n", "\n").replace("\r", "\n")
    except Undecodable as error:
        raise StagingError(f"cannot read {name}{included_by}: it is {error}") from error
    if "\0" in text:  # no path, no argument and no variable can have one
        line = text.count("\n", 0, text.index("\0")) + 1
        raise StagingError(f"cannot read {name}{included_by}: it has a NUL byte at line {line}; save it as UTF-8")
    return text
