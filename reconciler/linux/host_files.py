"""Read how many files the host has open, and each process. Opens none for it: there may be no room for one more."""

import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple

from reconciler.linux.process_identity import status_number, user_and_group

_ROOT = 0
_LONGEST = 256


class Opener(NamedTuple):
    """A process, its user and group, and how many files it has open."""

    pid: int
    user: int
    group: int
    files: int


class HostFiles:
    """The open files of the host; blocks, for milliseconds."""

    def __init__(self) -> None:
        self._figures = os.open("/proc/sys/fs/file-nr", os.O_RDONLY | os.O_CLOEXEC)
        self._processes = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        # As of Linux 6.2; before, the size of the table tells, which is up to twice as much.
        self._are_counted = os.stat("/proc/self/fd").st_size > 0  # noqa: PTH116  as below

    def figures(self) -> tuple[int, int]:
        """Return how many files are open, and how many may be: fs.file-max."""
        used, _, most = os.pread(self._figures, _LONGEST, 0).split()
        return int(used), int(most)

    def openers(self) -> Iterator[Opener]:
        """Return every process on the host; one that ends meanwhile is left out."""
        for name in os.listdir(self._processes):  # noqa: PTH208  a descriptor has no path
            if name.isdecimal():
                with suppress(OSError):
                    yield self._opener(int(name))

    def end(self, pids: Iterable[int]) -> None:
        """Send SIGKILL to processes that were just found: by their numbers, as a descriptor may not be had."""
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _opener(self, pid: int) -> Opener:
        facts = os.stat(str(pid), dir_fd=self._processes)
        user, group = facts.st_uid, facts.st_gid
        if user == _ROOT:  # as of any process that forbids to be traced
            user, group = user_and_group(pid) or (_ROOT, _ROOT)
        if not self._are_counted:
            return Opener(pid, user, group, status_number(pid, b"FDSize"))
        return Opener(pid, user, group, os.stat(f"{pid}/fd", dir_fd=self._processes).st_size)
