"""Check an app inside its ASGI workers, by standing between the server and the app's lifespan. Loaded by gate.py.

The server sees the startup complete only after the app's own has, and the health path has answered 2xx. An app without
a lifespan is checked as well. To the server every failure is a failed startup, which ends the master.
"""

import asyncio
import os
import signal
import time
from bisect import bisect_left

Refused = Exception  # gate.py's own takes its place
_ACCEPTED_BY_THEN_S = 0.1
_GIVE_UP_AFTER_S = 20.0  # gunicorn takes an app for one without a lifespan after 30 s, and would serve it


def guard(gate, worker, refused):
    """Put the gate between the worker and its app; `refused` is the exception that says why it was not passed."""
    global Refused
    Refused = refused
    attribute = "asgi" if hasattr(worker, "asgi") else "wsgi"
    if attribute == "asgi":
        _drain_politely(worker)
    _unhook(worker.cfg)
    app = getattr(worker, attribute)
    if getattr(worker.cfg, "asgi_lifespan", "auto") == "off":
        gate.until_passed(worker, lambda: worker.loop.run_until_complete(_ask(gate, app, {})))
        gate.let_in()
        setattr(worker, attribute, _counted(gate, app))
        return
    setattr(worker, attribute, _Gated(gate, worker, app))


def _unhook(cfg):
    """Turn off gunicorn's hooks, which would hold a connection until the app returns; the app is wrapped instead."""
    for name in ("pre_request", "post_request"):
        cfg.settings[name].value = cfg.settings[name].default


def _counted(gate, app):
    """Wrap the app to count requests: in flight until its call returns, answered with the last byte."""
    if gate.figures is None:
        return app
    health_path, clock, find = gate.path, time.monotonic, bisect_left
    whole, real = gate.figures.whole, gate.figures.real
    bounds, cells, in_flight, ended, took = gate.figures.layout
    # Nothing else writes there, and a list is quicker to read than the map.
    counts, seconds, flying = whole.tolist(), real[took], 0

    async def counted(scope, receive, send):
        nonlocal seconds, flying
        kind = scope["type"]
        if kind == "lifespan" or (health_path is not None and _is_ours(scope, health_path)):
            await app(scope, receive, send)
            return
        status, answered = 0, 0.0

        def sent(message):
            nonlocal status, answered
            if status:
                if not message.get("more_body"):
                    answered = clock()
            else:
                status = message.get("status", 0)
            return send(message)

        # No function calls here but of what is in C, and no lock: a loop has one thread.
        flying += 1
        whole[in_flight] = flying
        began = clock()
        try:
            await app(scope, receive, sent)
        except asyncio.CancelledError:  # the client is gone: a request without an answer is no error of the app
            status = status if answered else 0
            raise
        except Exception:
            status = status if answered else 500
            raise
        else:
            status = status or 500
        finally:
            flying -= 1
            whole[in_flight] = flying
            real[ended] = now = clock()
            if 100 <= status < 600 and kind == "http":
                span = (answered or now) - began
                cell = cells[status // 100] + find(bounds, span)
                counts[cell] = whole[cell] = counts[cell] + 1
                real[took] = seconds = seconds + span

    return counted


def _is_ours(scope, health_path):
    """Whether a request is a health probe, which does not keep an app awake and is not counted."""
    return health_path.startswith(scope["path"]) and (b"user-agent", b"reconciler-health") in scope["headers"]


def _drain_politely(worker):
    """On SIGTERM announce the end of every kept connection before closing it.

    gunicorn's own handler makes the worker close each connection after the answer it is at, also where that answer had
    promised to keep it: a client that asks again at once is cut off. Here the worker stops accepting, answers with
    "Connection: close" for as long as an idle connection may be kept, and only then ends as gunicorn would have it.
    The listener stays open until what was accepted has its connection: asyncio drops it if its server is closed before.
    """
    try:
        from gunicorn.asgi.protocol import ASGIProtocol
    except ImportError:
        return
    if not hasattr(ASGIProtocol, "_will_close"):
        return

    def drain():
        ASGIProtocol._will_close = lambda *_: True  # noqa: SLF001  there is no public way
        for server in worker.servers:
            for listener in server.sockets:
                worker.loop.remove_reader(listener.fileno())
            worker.loop.call_later(_ACCEPTED_BY_THEN_S, server.close)
        linger_s = min(worker.cfg.keepalive + 0.5, worker.cfg.graceful_timeout / 2)
        worker.loop.call_later(linger_s, worker.handle_exit_signal)

    worker.loop.add_signal_handler(signal.SIGTERM, drain)


class _Gated:
    """An ASGI app that forwards everything but the start of its lifespan."""

    def __init__(self, gate, worker, app):
        self._gate = gate
        self._worker = worker
        self._app = app
        self._requests = app

    def __getattr__(self, name):
        return getattr(self._app, name)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await _Lifespan(self._gate, self._worker, self._app, scope, self._let_through).run(receive, send)
            return
        await self._requests(scope, receive, send)

    def _let_through(self):
        """Count requests from here on, without this object in between where the worker looks its app up for each."""
        self._requests = _counted(self._gate, self._app)
        if hasattr(self._worker, "asgi"):
            self._worker.asgi = self._requests


class _Lifespan:
    """One lifespan: the app's answer to its start is held back until the gate is passed."""

    def __init__(self, gate, worker, app, scope, let_through):
        self._gate = gate
        self._worker = worker
        self._app = app
        self._scope = scope
        self._let_through = let_through
        self._asked = False
        self._started = False

    async def run(self, receive, send):
        async def received():
            message = await receive()
            self._asked = True
            return message

        async def sent(message):
            if message["type"] == "lifespan.startup.failed":
                self._gate.refuse("its lifespan failed: " + (message.get("message") or "no reason given"))
                os._exit(1)  # in an instance that serves: gunicorn starts another worker
            if message["type"] == "lifespan.startup.complete":
                await self._pass()
            await send(message)

        try:
            await self._app(self._scope, received, sent)
        except asyncio.CancelledError:
            if not self._started:
                self._gate.refuse("its lifespan did not start in time")
                os._exit(1)
            raise
        except Exception as error:
            if self._started:
                raise
            if self._asked:
                self._gate.refuse("its lifespan raised %s: %s" % (type(error).__name__, error))
                os._exit(1)
        if not self._started:
            await self._stand_in(receive, send)

    async def _stand_in(self, receive, send):
        """Answer for an app without a lifespan."""
        if not self._asked:
            await receive()
        await self._pass()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _pass(self):
        gate, loop = self._gate, asyncio.get_running_loop()
        began, nap = loop.time(), 0.5
        while gate.path is not None:
            try:
                await _ask(gate, self._app, self._scope.get("state", {}))
                break
            except Refused as refused:
                gate.refuse(str(refused))
            nap = min(nap * 2, 5.0)
            if loop.time() - began + nap > _GIVE_UP_AFTER_S:
                os._exit(1)
            self._worker.notify()
            await asyncio.sleep(nap)
        self._started = True
        gate.let_in()
        self._let_through()


async def _ask(gate, app, state):
    """Send one GET of the health path to the app. Raises Refused."""
    path, _, query = gate.path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", gate.host.encode()), (b"user-agent", b"reconciler-health")],
        "client": ("127.0.0.1", 0),
        "server": ("127.0.0.1", 80),
        "state": dict(state),
    }
    answer = {"status": "nothing", "body": b""}
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        if requests:
            return requests.pop()
        await asyncio.sleep(3600)
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            answer["status"] = message["status"]
        elif message["type"] == "http.response.body":
            answer["body"] += message.get("body", b"")[:1024]

    try:
        await asyncio.wait_for(app(scope, receive, send), gate.timeout_s)
    except asyncio.TimeoutError:
        raise Refused("GET %s did not answer within %g s" % (gate.path, gate.timeout_s)) from None
    except Refused:
        raise
    except Exception as error:
        raise Refused("GET %s raised %s: %s" % (gate.path, type(error).__name__, error)) from error
    gate.judge(answer["status"], answer["body"])
