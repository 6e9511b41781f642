"""The directories of programs in the foreground, below their app's, and what they say of the builds in use.

A program holds the lock of its directory for as long as it, or a child of it, lives; without, it may go.
"""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from secrets import token_hex

from reconciler.linux.file_lock import try_lock
from reconciler.linux.files import remove, replace_file
from reconciler.linux.listing import names_in
from reconciler.linux.regular_files import read_record
from reconciler.serving.build_users import Use
from reconciler.serving.marks import is_id

_LOCK, _USE = "lock", "use.json"
_MOST = 1000
_MOST_BYTES = 4096


def claim(directories: Path, use: Use) -> tuple[Path, int]:
    """Make a directory for a program that uses a build; return it, and the descriptor that holds its lock.

    Its name is the id of an instance. What has ended before is removed. Raises OSError.
    """
    _sweep(directories)
    directory = directories / token_hex(6)
    directory.mkdir(mode=0o700, parents=True)
    while (lock := try_lock(directory / _LOCK)) is None:  # another one is looking whether it is held
        continue
    try:
        replace_file(directory / _USE, json.dumps(asdict(use)), durable=False)
    except BaseException:
        os.close(lock)
        raise
    return directory, lock


def uses(directories: Path) -> Iterator[Use]:
    """Yield what the programs that run use."""
    for directory in _directories(directories):
        if _is_held(directory):
            with suppress(OSError, ValueError, TypeError):
                yield Use(**read_record(directory / _USE, _MOST_BYTES))


def _sweep(directories: Path) -> None:
    for directory in _directories(directories):
        if not _is_held(directory):
            with suppress(OSError):
                remove(directory)


def _directories(directories: Path) -> list[Path]:
    with suppress(OSError):
        return [directories / name for name in names_in(directories, _MOST) if is_id(name)]
    return []


def _is_held(directory: Path) -> bool:
    try:
        lock = try_lock(directory / _LOCK)
    except OSError:
        return False
    if lock is None:
        return True
    os.close(lock)
    return False
