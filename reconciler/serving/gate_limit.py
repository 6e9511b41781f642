"""Bound a probe of a WSGI application in time. Loaded by gate.py, on Python 2.7 as well.

A probe that is late is told at once, and given up much later: the first request may fill an application's caches.
"""

import signal
import time

_AGAIN_S = 0.5  # as long as the application swallows what ends it


def limit(gate, worker, refused):
    """Return a context that tells the gate when a probe is late, and raises `refused` in it in the end."""
    modules = [kind.__module__ for kind in type(worker).__mro__]
    if "gunicorn.workers.ggevent" in modules:
        from gevent import Timeout
    elif "gunicorn.workers.geventlet" in modules:
        from eventlet import Timeout
    else:
        return _Alarm(gate, refused)
    return Timeout(gate.patience_s(), refused(gate.late()))


class _Alarm(object):
    def __init__(self, gate, refused):
        self._gate = gate
        self._refused = refused
        self._over = False
        self._clock = getattr(time, "monotonic", time.time)

    def __enter__(self):
        self._ends_at = self._clock() + self._gate.patience_s() - 0.01
        self._before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, self._gate.timeout_s, _AGAIN_S)

    def __exit__(self, *_):
        self._over = True
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)

    def _ring(self, *_):
        if self._over:
            return
        if self._clock() >= self._ends_at:
            raise self._refused(self._gate.late())
        self._gate.tell(self._gate.late())
