"""Directories for unfinished backups and for restores that are only tried, removed whatever ends their process.

The process that works in one holds a lock on it, which the kernel releases with the process: a scratch directory that
nothing holds is abandoned.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from reconciler.linux import file_lock, files
from reconciler.linux.remove_tree import remove_tree


@contextlib.asynccontextmanager
async def scratch(directory: Path, name: str) -> AsyncIterator[Path]:
    """Make an empty directory, 0700, in another one that exists, and remove it with all it holds. Raises OSError."""
    path, lock = _made(directory, name)
    try:
        yield path
    finally:
        try:
            await asyncio.to_thread(remove_tree, path)
        finally:
            os.close(lock)


@contextlib.contextmanager
def abandoned(directory: Path) -> Iterator[tuple[Path, ...]]:
    """Lock the scratch directories of processes that are gone; the caller removes them. Raises OSError."""
    with contextlib.ExitStack() as stack:
        found: list[Path] = []
        for path in files.leftovers(directory) if directory.is_dir() else ():
            if (lock := _locked(path)) is not None:
                stack.callback(os.close, lock)
                found.append(path)
        yield tuple(found)


def _made(directory: Path, name: str) -> tuple[Path, int]:
    while True:
        path = files.draft(directory, name)
        path.mkdir(mode=0o700)
        if (lock := _locked(path)) is not None:
            return path, lock


def _locked(path: Path) -> int | None:
    """Lock a directory; None if another process holds it, has removed it just now, or it is no directory."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return file_lock.held(lock, path)
    except OSError:
        return None
