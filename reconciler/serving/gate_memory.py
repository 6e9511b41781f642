"""End a worker that leaks before its instance needs more memory than it may have. Loaded by gate.py, on Python 2.7 too.

The daemon has a new instance take over in time, where it can: this is for what is faster, or comes soon after a start.
gunicorn starts another worker at once, as after `max_requests`, and connections wait for it. Only of a worker with one
request at a time is known what each request left behind.
"""

import os

_PAGE = os.sysconf("SC_PAGE_SIZE")
_AHEAD = 4  # more requests than the next one: the pace may grow, and what is at its limit may stay there
_ALIKE = 4  # requests that leave something behind, one after the other
_MB = float(1 << 20)
_TOLD = "worker %d ends after %d requests: the instance has %d of %d MB, and each of the last %d left %.1f MB or more"
_APART = 64  # a part of the limit is left to the kernel's own memory of these processes


def guard(gate, worker, limit):
    """Return what is to look after each request, None for workers of other kinds; `limit` returns bytes, or None."""
    if "gunicorn.workers.sync" not in [kind.__module__ for kind in type(worker).__mro__]:
        return None
    try:
        return _Memory(gate, worker, limit)
    except (IOError, OSError):  # no /proc
        return None


class _Memory(object):
    def __init__(self, gate, worker, limit):
        self._gate = gate
        self._worker = worker
        self._limit = limit
        self._most = limit() or 0
        self._file = os.open("/proc/self/statm", os.O_RDONLY)
        self._shared = _of_other(os.getppid())
        self._own = self._looked_at = _of(self._file)
        self._growths = []
        self.answered = 0

    def look(self):
        """Run after each request: end the worker if a few more like the last ones would exceed the limit."""
        try:
            self._look()
        except (IOError, OSError, IndexError, ValueError):  # the app has closed the descriptor, or has it for itself
            self._gate.memory = None

    def _look(self):
        own = _of(self._file)
        self._growths = self._growths[1 - _ALIKE :] + [own - self._own]
        self._own = own
        self.answered += 1
        pace = min(self._growths)  # what fills caches at first has none
        if pace <= 0 or len(self._growths) < _ALIKE or own - self._looked_at < self._most // _APART:
            return
        self._looked_at = own
        self._most = self._limit() or 0
        used = self._together(own)
        if self._most and used + _AHEAD * pace >= self._most - self._most // _APART:
            self._worker.alive = False
            self._gate.log(_TOLD % (os.getpid(), self.answered, used >> 20, self._most >> 20, _ALIKE, pace / _MB))

    def _together(self, own):
        """Return the bytes of the master and its workers; what they share counts once."""
        master = os.getppid()
        others = [_of_other(pid) - self._shared for pid in _children(master) if pid != os.getpid()]
        return _of_other(master) + own - self._shared + sum(other for other in others if other > 0)


def _of(opened):
    """Return the bytes that a process has of its own, and shares with none but those it was forked from."""
    os.lseek(opened, 0, os.SEEK_SET)
    fields = os.read(opened, 256).split()
    return (int(fields[1]) - int(fields[2])) * _PAGE


def _of_other(pid):
    """Return that of another process, 0 once it is gone."""
    try:
        opened = os.open("/proc/%d/statm" % pid, os.O_RDONLY)
    except (IOError, OSError):
        return 0
    try:
        return _of(opened)
    except (IOError, OSError, IndexError):
        return 0
    finally:
        os.close(opened)


def _children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(child) for child in file.read().split()]
    except (IOError, OSError):  # not every kernel tells
        return []
