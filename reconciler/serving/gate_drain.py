"""Let kept connections go politely when a worker is told to stop. Loaded by gate.py, on Python 2.7 as well.

Most workers close each connection after the answer they are at, also where that answer had promised to keep it: a
client that asks again at once is cut off. Here, on SIGTERM, the worker stops accepting, answers with
"Connection: close" for as long as an idle connection may be kept, and only then ends as it would have by itself.
"""

import signal
import sys
import time

_ACCEPTED_BY_THEN_S = 0.1
_CLOSE_AT_ONCE = ("gunicorn.workers.sync", "gunicorn.workers.ggevent", "gunicorn.workers.geventlet")
_CLOSES = (b"connection", b"close")


class Closing(object):
    """The end of a worker's connections, as its application learns of it."""

    def __init__(self):
        self.announced = False
        self.websockets = {}
        self._tasks = []

    def announce(self):
        self.announced = True

    def close_websockets(self):
        """Close every websocket that is still open, as for a restart of the service (RFC 6455's registry: 1012)."""
        import asyncio

        close = {"type": "websocket.close", "code": 1012}
        self._tasks = [asyncio.ensure_future(send(close)) for send in self.websockets.values()]


def guard(worker, closing):
    """Prepare a worker; return whether its kept connections are let go. `closing` is told when they are to be."""
    modules = [kind.__module__ for kind in type(worker).__mro__]
    if not worker.cfg.keepalive or any(name in modules for name in _CLOSE_AT_ONCE):
        return True
    for name, prepare in _PREPARE:
        if name in modules:
            return prepare(worker, closing)
    return False


def _linger_s(worker):
    """Return how long a worker announces its end: at least as long as an idle connection is kept."""
    return min(worker.cfg.keepalive + 0.5, worker.cfg.graceful_timeout / 2.0)


def _lifespan_s(worker):
    """Return what is set aside of the stop timeout for an app's lifespan to end."""
    return min(5.0, worker.cfg.graceful_timeout / 4.0)


def _gthread(worker, _):
    """Have gunicorn's threads close connections, and its loop look at the time whenever it beats its heart."""
    from gunicorn.workers import gthread

    if hasattr(gthread, "STOP_KEEPALIVE_LINGER"):
        return True  # it does so itself
    clock = getattr(time, "monotonic", time.time)
    linger_s, notify, ends_at = _linger_s(worker), worker.notify, []
    has_done_its_requests = _own_max_requests(worker)

    def drain(*_):
        if not ends_at:
            ends_at.append(clock() + linger_s)
            if hasattr(worker, "max_keepalived"):
                worker.max_keepalived = 0  # no keepalive of 0: it would cut what an answer has just promised to keep
            else:  # gunicorn 19.0 and 19.1
                worker.cfg.set("keepalive", 0)

    def told_to_stop(*_):
        stopping.append(True)
        drain()

    def beat():
        notify()
        if has_done_its_requests():
            drain()
        if stopping == [True]:
            stopping.append(True)
            _stop_accepting(worker)
        if ends_at and clock() >= ends_at[0]:
            worker.handle_exit(signal.SIGTERM, None)

    stopping = []
    worker.notify = beat
    signal.signal(signal.SIGTERM, told_to_stop)
    return True


def _own_max_requests(worker):
    """Take the count of requests after which a worker ends from it; return whether they are done.

    It would cut its connections then. Until it has ended it goes on accepting, as no other may be there.
    """
    limit, worker.max_requests = worker.max_requests, sys.maxsize
    return lambda: worker.nr >= limit


def _stop_accepting(worker):
    if hasattr(worker, "set_accept_enabled"):
        worker.set_accept_enabled(False)
        return
    for listener in worker.sockets:
        try:
            worker.poller.unregister(listener)
        except (KeyError, ValueError):
            pass


def _gasgi(worker, closing):
    """Have gunicorn's ASGI worker close connections; asyncio drops what was accepted if its server is closed at once.

    What is still open when only the time for the app's lifespan is left is given up.
    """
    from gunicorn.asgi.protocol import ASGIProtocol

    stop_s, linger_s, lifespan_s = worker.cfg.graceful_timeout, _linger_s(worker), _lifespan_s(worker)
    has_done_its_requests, notify, draining = _own_max_requests(worker), worker.notify, []

    def beat():
        notify()
        if has_done_its_requests() and not draining:
            announce()
            worker.loop.call_later(linger_s, worker.handle_exit_signal)

    def announce():
        draining.append(True)
        if hasattr(ASGIProtocol, "_will_close"):
            ASGIProtocol._will_close = lambda *_: True  # noqa: SLF001  there is no public way
        else:
            closing.announce()

    def drain():
        announce()
        worker.cfg.set("graceful_timeout", max(0, int(stop_s - linger_s - lifespan_s)))
        for server in worker.servers:
            _stop_reading(worker.loop, server)
            worker.loop.call_later(_ACCEPTED_BY_THEN_S, server.close)
        worker.loop.call_later(linger_s, worker.handle_exit_signal)
        worker.loop.call_later(max(linger_s, stop_s - lifespan_s - 1.0), closing.close_websockets)

    worker.notify = beat
    worker.loop.add_signal_handler(signal.SIGTERM, drain)
    return True


def _stop_reading(loop, server):
    """Accept nothing more, without closing the listener."""
    for listener in server.sockets:
        try:
            loop.remove_reader(listener.fileno())
        except (RuntimeError, NotImplementedError):  # uvloop's listeners are not its readers
            pass


def _uvicorn(worker, _):
    """Have uvicorn add the header to every answer, which then closes the connection."""
    import asyncio

    from uvicorn.server import Server

    config, handle_exit, draining = worker.config, Server.handle_exit, []
    linger_s, on_tick = _linger_s(worker), Server.on_tick
    most, config.limit_max_requests = config.limit_max_requests, None
    if getattr(config, "timeout_graceful_shutdown", 0) is None:  # for ever, so that no lifespan would end in time
        config.timeout_graceful_shutdown = max(1, int(worker.cfg.graceful_timeout - linger_s - _lifespan_s(worker)))

    def drain(server, sig, frame):
        if sig != signal.SIGTERM or draining or not server.started:
            handle_exit(server, sig, frame)
            return
        draining.append(True)
        asyncio.get_running_loop().call_soon_threadsafe(end_later, server, sig, frame)

    def announce(server):
        config.encoded_headers.append(_CLOSES)
        server.server_state.default_headers.append(_CLOSES)

    def tick(server, counter):
        if most is not None and server.server_state.total_requests >= most and not draining:
            draining.append(True)
            announce(server)
            asyncio.get_running_loop().call_later(linger_s, handle_exit, server, signal.SIGTERM, None)
        return on_tick(server, counter)

    def end_later(server, sig, frame):
        loop = asyncio.get_running_loop()
        announce(server)
        for each in server.servers:
            _stop_reading(loop, each)
            loop.call_later(_ACCEPTED_BY_THEN_S, each.close)
        loop.call_later(linger_s, handle_exit, server, sig, frame)

    Server.handle_exit = drain
    Server.on_tick = tick
    return True


def _tornado(worker, _):
    """Have tornado's server take every request for a connection's last one."""
    handle_exit, linger_s = worker.handle_exit, _linger_s(worker)

    def drain(sig, frame):
        worker.server.conn_params.no_keep_alive = True
        worker.ioloop.add_callback_from_signal(worker.ioloop.call_later, linger_s, handle_exit, sig, frame)

    signal.signal(signal.SIGTERM, drain)
    return True


def _aiohttp(worker, closing):
    """Have aiohttp close each connection with its answer."""
    from aiohttp.web import Application

    app, linger_s = worker.wsgi, _linger_s(worker)
    if not isinstance(app, Application):
        return False  # a function that makes one later

    def prepare(_, response):
        if closing.announced:
            response.headers["Connection"] = "close"
            response.force_close()
        done = worker.loop.create_future()
        done.set_result(None)
        return done

    def drain():
        closing.announce()
        worker.loop.call_later(linger_s, worker.handle_exit, signal.SIGTERM, None)

    app.on_response_prepare.append(prepare)
    worker.loop.add_signal_handler(signal.SIGTERM, drain)
    return True


_PREPARE = (
    ("gunicorn.workers.gthread", _gthread),
    ("gunicorn.workers.gasgi", _gasgi),
    ("uvicorn.workers", _uvicorn),
    ("uvicorn_worker._workers", _uvicorn),
    ("gunicorn.workers.gtornado", _tornado),
    ("aiohttp.worker", _aiohttp),
)
