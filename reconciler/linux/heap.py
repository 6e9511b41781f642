"""Keep the C library's heap small: one for all threads, and what was freed given back to the kernel."""

import contextlib
import ctypes
import os
from collections.abc import Callable

from reconciler.linux.proc_files import read_proc

_M_ARENA_MAX = -8  # malloc.h
_WORTH_A_TRIM = 1 << 20
_PAGE = os.sysconf("SC_PAGE_SIZE")


def share_one_heap() -> None:
    """Give all threads one heap: they mostly wait, and glibc's heap for each of them only costs memory."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class Heap:
    """The heap of this process; `resident` returns the bytes that the process holds, and `trim` gives free ones back.

    Without `trim`, free memory between what is in use stays with the process for good, such as what reading many
    manifests took.
    """

    def __init__(self, resident: Callable[[], int], trim: Callable[[], None]) -> None:
        self._resident = resident
        self._trim = trim
        self._least = 0
        self._had_grown = False

    def give_back(self) -> None:
        """Trim if the process has grown by a megabyte since it was last trimmed, else do next to nothing.

        The next time it is trimmed once more: what was in use then may be free by now, and the process is no larger.
        """
        now = self._resident()
        self._least = min(self._least, now)
        has_grown = now - self._least >= _WORTH_A_TRIM
        if has_grown or self._had_grown:
            self._trim()
            self._least = self._resident()
        self._had_grown = has_grown


def own_heap() -> Heap:
    """Return the heap of this process."""
    return Heap(resident_bytes, _malloc_trim)


def resident_bytes() -> int:
    """Return how much memory this process holds, shared pages included; 0 if the kernel does not tell."""
    try:
        return int(read_proc("/proc/self/statm").split()[1]) * _PAGE  # proc(5)
    except (OSError, ValueError, IndexError):
        return 0


def _malloc_trim() -> None:
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
