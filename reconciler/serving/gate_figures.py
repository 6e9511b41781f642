"""Count a worker's requests in a file of its own, without a system call. Loaded by gate.py, on Python 2.7 as well.

The file holds native 64-bit numbers: the layout's version, how many requests are in flight, when one last ended
(a double, seconds of the monotonic clock), the seconds those answered took in all (a double), and how many were
answered with each class of status (1xx to 5xx) in each span of time: up to the first bound, up to the second and more
than the first, and so on, longer than the last. Behind them stands how long requests had waited for the worker, as far
as it can tell: the seconds in all (a double), and how many waited in each of the same spans. It never goes back: the
next worker of the instance continues the file of one that has exited, so that there are never more files than there
were workers at once.
"""

import mmap
import os
import struct
import sys
import threading
from bisect import bisect_left

VERSION = 1
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SPANS = len(BOUNDS_S) + 1
_IN_FLIGHT, _ENDED, _TOOK, _CELLS = 1, 2, 3, 4
_BEFORE = _CELLS - SPANS  # so that the class 1 begins at _CELLS
_WAITED = _CELLS + 5 * SPANS
_WAITS = _WAITED + 1
_NUMBERS = _WAITS + SPANS
_SIZE = 8 * _NUMBERS
_OLDEST = struct.pack("%dQ" % _NUMBERS, VERSION, *[0] * (_NUMBERS - 1))


class Figures(object):
    """The figures of this worker, in `directory`; `clock` is monotonic seconds. Raises IOError or OSError.

    A worker with one thread may write to `whole` and `real` itself, where `layout` says.
    """

    layout = (BOUNDS_S, [_BEFORE + SPANS * status for status in range(6)], _IN_FLIGHT, _ENDED, _TOOK)

    def __init__(self, directory, clock):
        path = os.path.join(directory, str(os.getpid()))
        _claim(directory, path)
        with open(path, "r+b") as file:
            if os.fstat(file.fileno()).st_size < _SIZE:
                file.write(_OLDEST)  # written, not only mapped: a full disk refuses here instead of killing us later
                file.flush()
            self.whole, self.real = _views(mmap.mmap(file.fileno(), _SIZE))
        self._clock = clock
        self._lock = threading.Lock()  # without a system call unless two threads meet; with none, counts would be lost
        self.whole[_IN_FLIGHT] = 0
        self.real[_ENDED] = clock()

    def begin(self):
        """Count a request that has come; return the moment, to be handed to `end`."""
        with self._lock:
            self.whole[_IN_FLIGHT] += 1
        return self._clock()

    def waited(self, seconds):
        """Count a request by how long it had waited when this worker took it."""
        whole, cell = self.whole, _WAITS + bisect_left(BOUNDS_S, seconds)
        with self._lock:
            whole[cell] += 1
            self.real[_WAITED] += seconds

    def end(self, began, status):
        """Count its answer, whose last byte was sent just now, by its class of status."""
        now = self._clock()
        whole, took = self.whole, now - began
        with self._lock:
            whole[_IN_FLIGHT] -= 1
            whole[_BEFORE + SPANS * status + bisect_left(BOUNDS_S, took)] += 1
            self.real[_TOOK] += took
            self.real[_ENDED] = now


def _claim(directory, path):
    """Continue the figures of a worker that has exited; renaming gives them to exactly one."""
    for name in os.listdir(directory):
        if name.startswith("left-"):
            try:
                os.rename(os.path.join(directory, name), path)
            except OSError:
                continue
            return


def _views(mapped):
    """Return the map as two mutable sequences over the same bytes: of whole numbers, and of real ones."""
    if sys.version_info[0] > 2:
        view = memoryview(mapped)
        return view.cast("Q"), view.cast("d")
    import ctypes

    return (ctypes.c_uint64 * _NUMBERS).from_buffer(mapped), (ctypes.c_double * _NUMBERS).from_buffer(mapped)
