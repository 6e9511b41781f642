"""Read a file of a source, whatever its author made of it: a pipe, a device, a link to itself, terabytes.

Only a regular file is read, up to a bound, and every refusal names the file.
"""

import os
from io import BufferedReader, RawIOBase
from pathlib import Path

from reconciler.linux.error_words import in_words
from reconciler.linux.light_hashes import sha256_for
from reconciler.linux.regular_files import opened_file, read_file
from reconciler.staging.errors import SourceError
from reconciler.staging.source import allowance

LARGEST_TEXT = 1 << 20
LARGEST_LOCK = 16 << 20
_BLOCK = 256 << 10


def read_source(path: Path, name: str = "", *, most: int = LARGEST_TEXT, within: Path | None = None) -> bytes:
    """Return the content of a file of a source; `name` is what an error calls it, `within` where links may lead.

    Raises FileNotFoundError if there is none, SourceError if it is no file of at most `most` bytes.
    """
    allowance.check(name or path.name)
    try:
        content = read_file(path, most, within=within)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SourceError(f"cannot read {name or path.name}: {in_words(error)}") from error
    allowance.take(name or path.name, len(content))
    return content


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a regular file of any size. Raises OSError."""
    with opened_file(path) as file:
        return digest_of_open(file, path.name)


def digest_of_open(file: RawIOBase | BufferedReader, name: str) -> str:
    """Return the SHA-256 of an open file. Raises OSError."""
    digest, block = sha256_for(os.fstat(file.fileno()).st_size), bytearray(_BLOCK)
    view = memoryview(block)
    while count := file.readinto(block):
        digest.update(view[:count])
        if count == _BLOCK:
            allowance.check(name)
    return digest.hexdigest()


def source_text(path: Path, name: str = "", *, most: int = LARGEST_TEXT, within: Path | None = None) -> str:
    """Return the same as text, with U+FFFD for what is not UTF-8."""
    return read_source(path, name, most=most, within=within).decode("utf-8", "replace")
