"""Count the requests of workers that never call gunicorn's hooks for them. Loaded by gate.py, on Python 2.7 as well.

A WSGI application is wrapped instead. A worker that runs anything else cannot count, and is taken for a busy one.
"""

import socket
import struct
import sys

_WITH_HOOKS = tuple("gunicorn.workers." + name for name in ("sync", "gthread", "ggevent", "geventlet"))
_OWN_LOOP = "gunicorn.workers.gtornado"
_CLASSES = {"1": 1, "2": 2, "3": 3, "4": 4}
_TCP_INFO, _WAITED = 11, struct.Struct("=52xI")  # tcpi_last_data_recv of <linux/tcp.h>, in milliseconds


def can_count(worker):
    """Whether the requests of a worker can be counted."""
    return _calls_hooks(worker) or _is_wsgi(worker)


def guard(gate, worker):
    """Wrap the application of a worker that calls no hooks."""
    if gate.figures is not None and not _calls_hooks(worker) and _is_wsgi(worker):
        worker.wsgi = _Counted(gate, worker.wsgi)


def count_wait(gate, request):
    """Count how long ago the last bytes of a request came, which only the kernel knows, and only of TCP."""
    if not gate.tells_waits:
        return
    try:
        told = request.unreader.sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _WAITED.size)
        gate.figures.waited(_WAITED.unpack(told)[0] / 1000.0)
    except Exception:  # another kind of socket, or of reader: it stays the same for this worker
        gate.tells_waits = False


def _modules(worker):
    return [kind.__module__ for kind in type(worker).__mro__]


def _calls_hooks(worker):
    # Of gevent's workers, those with a server class leave the requests to gevent's own server.
    return any(name in _WITH_HOOKS for name in _modules(worker)) and getattr(worker, "server_class", None) is None


def _is_wsgi(worker):
    if getattr(worker, "server_class", None) is not None:
        return True
    if _OWN_LOOP in _modules(worker):
        return not isinstance(worker.wsgi, sys.modules["tornado.web"].Application)
    return False


class _Counted(object):
    """A WSGI application whose requests are counted, from the call until its answer is closed."""

    def __init__(self, gate, app):
        self._gate = gate
        self._app = app

    def __call__(self, environ, start_response):
        gate = self._gate
        if environ.get("PATH_INFO") == gate.path and environ.get("HTTP_USER_AGENT") == "reconciler-health":
            return self._app(environ, start_response)
        status = []

        def started(line, headers, *exc_info):
            status[:] = [_CLASSES.get(line[:1], 5)]
            return start_response(line, headers, *exc_info)

        began = gate.figures.begin()
        try:
            chunks = self._app(environ, started)
        except BaseException:
            gate.figures.end(began, 5)
            raise
        return _Answer(chunks, lambda: gate.figures.end(began, status[0] if status else 5))


class _Answer(object):
    """The chunks of an answer; `over` is called once, when the server closes it or has taken the last one."""

    def __init__(self, chunks, over):
        self._chunks = chunks
        self._over = over

    def __iter__(self):
        try:
            for chunk in self._chunks:
                yield chunk
        finally:
            self._end()

    def close(self):
        try:
            getattr(self._chunks, "close", lambda: None)()
        finally:
            self._end()

    def _end(self):
        over, self._over = self._over, None
        if over is not None:
            over()
