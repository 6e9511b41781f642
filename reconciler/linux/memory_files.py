"""Hand a child process files that are in memory only: no name on any disk leads to them."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress


@contextmanager
def memory_files(*contents: bytes) -> Iterator[Sequence[int]]:
    """Hold files with these contents open for reading, and return their descriptors. Raises OSError.

    A child that they are passed to opens each by `path_of`, or reads one as its standard input.
    """
    opened: list[int] = []
    try:
        for content in contents:
            opened.append(os.memfd_create("reconciler", os.MFD_CLOEXEC))
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(opened[-1], rest) :]
            os.lseek(opened[-1], 0, os.SEEK_SET)
        yield tuple(opened)
    finally:
        for descriptor in opened:
            with suppress(OSError):
                os.close(descriptor)


def path_of(descriptor: int) -> str:
    """Return the path by which a process opens one of its own descriptors again."""
    return f"/proc/self/fd/{descriptor}"
