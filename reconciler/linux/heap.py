"""Keep the C library's heap small: one for all threads, and what was freed given back to the kernel.

Keep the interpreter's collections of garbage short as well, however many objects there are.
"""

import contextlib
import ctypes
import gc
import os
import time
from collections.abc import Callable, Mapping

from reconciler.linux.proc_files import read_proc

_M_ARENA_MAX = -8  # malloc.h
_WORTH_A_TRIM = 1 << 20
_LONG_S = 0.005
_OLDEST = 2
_MIDDLE_COLLECTIONS = 5  # to a collection of all, half as many as by default, so that it has half as much to look at
_PAGE = os.sysconf("SC_PAGE_SIZE")


def share_one_heap() -> None:
    """Give all threads one heap: they mostly wait, and glibc's heap for each of them only costs memory."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


class ShortCollections:
    """Takes what outlived a long collection of garbage out of all later ones: a callback of `gc`, with its `freeze`.

    A collection looks at every object that it may have to free, and the process stands still meanwhile. What survives
    is in use, such as the manifests of ten thousand apps, and is freed by its count of references all the same.
    """

    def __init__(self, freeze: Callable[[], None], now: Callable[[], float]) -> None:
        self._freeze = freeze
        self._now = now
        self._began = 0.0

    def __call__(self, phase: str, told: Mapping[str, int]) -> None:
        """Take note of a collection that begins, and of one that has ended."""
        if told["generation"] != _OLDEST:
            return
        if phase == "start":
            self._began = self._now()
        elif self._now() - self._began >= _LONG_S:
            self._freeze()


def keep_collections_short() -> None:
    """Have what outlives a long collection of garbage left out of all later ones, in this process."""
    if not any(isinstance(each, ShortCollections) for each in gc.callbacks):
        gc.callbacks.append(ShortCollections(gc.freeze, time.perf_counter))
        young, middle, _ = gc.get_threshold()
        gc.set_threshold(young, middle, _MIDDLE_COLLECTIONS)


class Heap:
    """The heap of this process; `resident` returns the bytes that the process holds, and `trim` gives free ones back.

    Without `trim`, free memory between what is in use stays with the process for good, such as what reading many
    manifests took.
    """

    def __init__(self, resident: Callable[[], int], trim: Callable[[], None]) -> None:
        self._resident = resident
        self._trim = trim
        self._least = 0

    def give_back(self) -> None:
        """Trim if the process has grown by a megabyte since it was last trimmed, else do next to nothing."""
        now = self._resident()
        self._least = min(self._least, now)
        if now - self._least >= _WORTH_A_TRIM:
            self._trim()
            self._least = self._resident()


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
