"""Check an app inside its ASGI workers, by standing between the server and the app's lifespan. Loaded by gate.py.

The server sees the startup complete only after the app's own has, and the health path has answered 2xx. An app without
a lifespan is checked as well. A startup that failed ends the worker.
"""

import asyncio
import contextvars
import os
import time
import traceback
from bisect import bisect_left

Refused = Exception  # gate.py's own takes its place
_IS_PROBED = contextvars.ContextVar("reconciler_is_probed", default=False)
_FAILS_BY_THEN_S = 1.0  # after it said that it cannot start
_DRAIN_S = 1.0
_MOST_DRAINED = 64 * 1024 * 1024
_CLIENT = b"x-reconciler-client"
_IN_REAL_IP = b"-"  # what Traefik says, which can put no address into a header but X-Real-Ip
_FORWARDED = frozenset((
    b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"x-forwarded-prefix", b"x-forwarded-port",
    b"x-forwarded-protocol", b"x-forwarded-scheme", b"x-forwarded-ssl", b"x-real-ip", b"forwarded", b"x-scheme",
    b"x-script-name",
))  # fmt: skip


def guard(gate, worker, refused):
    """Put the gate between the worker and its app; `refused` is the exception that says why it was not passed."""
    global Refused
    Refused = refused
    gate.is_probed = _IS_PROBED.get
    attribute = "asgi" if hasattr(worker, "asgi") else "wsgi"
    _unhook(worker.cfg)
    app = getattr(worker, attribute)
    if _has_no_lifespan(worker):
        loop = worker.loop if attribute == "asgi" else asyncio.new_event_loop()
        loop.run_until_complete(_until_passed(gate, worker, app, {}))
        setattr(worker, attribute, _counted(gate, app))
        return
    if attribute == "wsgi":
        worker.wsgi = _Gated(gate, worker, app)
        return
    lifespan = _Lifespan(gate, worker, app)
    worker.loop.run_until_complete(lifespan.start())
    worker.asgi = _With(lifespan, _counted(gate, app))


def _has_no_lifespan(worker):
    """Whether the server is told to run none: by gunicorn's setting, or by uvicorn's."""
    uvicorns = getattr(getattr(worker, "config", None), "lifespan", "auto")
    return "off" in (getattr(worker.cfg, "asgi_lifespan", "auto"), uvicorns)


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
    closing = gate.closing

    async def counted(scope, receive, send):
        nonlocal seconds, flying
        kind = scope["type"]
        if kind == "lifespan":
            await app(scope, receive, send)
            return
        if health_path is not None and _is_ours(scope, health_path):
            before = _IS_PROBED.set(True)
            try:
                await app(scope, receive, send)
            finally:
                _IS_PROBED.reset(before)
            return
        status, answered = 0, 0.0

        def sent(message):
            nonlocal status, answered
            if status:
                if not message.get("more_body"):
                    answered = clock()
            else:
                status = message.get("status", 0)
                if closing.announced and status and scope["http_version"] < "2":
                    message = dict(message, headers=[*message.get("headers", ()), (b"connection", b"close")])
            return send(message)

        # No function calls here but of what is in C, and no lock: a loop has one thread.
        flying += 1
        whole[in_flight] = flying
        began = clock()
        if kind == "websocket":
            closing.websockets[id(sent)] = send
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
            if kind == "websocket":
                closing.websockets.pop(id(sent), None)
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


class _Gated:
    """An ASGI app whose lifespan starts when the server asks for that, which waits for it as long as it takes."""

    def __init__(self, gate, worker, app):
        self._gate = gate
        self._worker = worker
        self._app = app
        self._requests = app

    def __getattr__(self, name):
        return getattr(self._app, name)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            lifespan = _Lifespan(self._gate, self._worker, self._app)
            await lifespan.start()
            self._requests = _counted(self._gate, self._app)
            await lifespan.serve(scope, receive, send)
            return
        await self._requests(scope, receive, send)


class _With:
    """An ASGI app whose lifespan has started: the server's own lifespan is answered at once."""

    def __init__(self, lifespan, app):
        self._lifespan = lifespan
        self._app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self._lifespan.serve(scope, receive, send)
            return
        await self._app(scope, receive, send)


class _Lifespan:
    """One lifespan of an app, between the app and the server; an app without one is checked as well."""

    def __init__(self, gate, worker, app):
        self._gate = gate
        self._worker = worker
        self._app = app
        self._state = {}
        self._messages = asyncio.Queue()
        self._asked = False
        self._said = {}
        self._changed = asyncio.Event()
        self._over = False
        self._task = None

    async def start(self):
        """Return once the app has started and the gate is passed; end the worker if it says that it cannot."""
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}
        self._task = asyncio.ensure_future(self._run(scope))
        self._messages.put_nowait({"type": "lifespan.startup"})
        while not self._over and "startup" not in self._said:
            await _beat(self._worker, self._changed.wait(), 1.0)
            self._changed.clear()
        message = self._said.get("startup", {})
        if message.get("type") == "lifespan.startup.failed":
            await asyncio.wait([self._task], timeout=_FAILS_BY_THEN_S)
        error = await self._task if self._over else None
        if error is not None and (message or self._asked):
            traceback.print_exception(type(error), error, error.__traceback__)
            self._end("its lifespan raised " + self._gate.reason(error))
        if message.get("type") == "lifespan.startup.failed":
            lines = (message.get("message") or "no reason given").strip().splitlines()
            self._end("its lifespan failed: " + lines[-1])
        await _until_passed(self._gate, self._worker, self._app, self._state)

    async def serve(self, scope, receive, send):
        """Stand in for the app's lifespan towards the server."""
        if "state" in scope:
            scope["state"].update(self._state)
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        while not self._over and "shutdown" not in self._said:
            self._changed.clear()
            await self._changed.wait()
        await send(self._said.get("shutdown", {"type": "lifespan.shutdown.complete"}))

    async def _run(self, scope):
        """Run the app's part; return the exception that ended it, which an app without a lifespan raises at once."""
        try:
            await self._app(scope, self._receive, self._send)
        except Exception as error:
            return error
        finally:
            self._over = True
            self._changed.set()
        return None

    async def _receive(self):
        message = await self._messages.get()
        self._asked = True
        return message

    async def _send(self, message):
        self._said[message["type"].split(".")[1]] = message
        self._changed.set()

    def _end(self, reason):
        os._exit(self._gate.reject(reason))


async def _until_passed(gate, worker, app, state):
    """Ask the app for its health path until it answers with 2xx."""
    nap = 0.25
    while gate.path is not None:
        try:
            await _ask(gate, app, state)
            break
        except Refused as refused:
            gate.tell(str(refused))
        nap = gate.longer(nap)
        await _beat(worker, asyncio.sleep(nap), nap + 1.0)
    gate.let_in()


async def _beat(worker, waited_for, at_most_s):
    """Wait with a beating heart; end the worker when its master is gone or stops it."""
    try:
        await asyncio.wait_for(waited_for, at_most_s)
    except asyncio.TimeoutError:
        pass
    worker.notify()
    if os.getppid() != worker.ppid or not worker.alive:
        os._exit(0)


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

    began = time.monotonic()
    request = asyncio.ensure_future(app(scope, receive, send))
    for limit_s in (gate.timeout_s, gate.patience_s() - gate.timeout_s):
        if not request.done():
            await asyncio.wait([request], timeout=limit_s)
            if not request.done():
                gate.tell(gate.late())
    if not request.done():
        request.cancel()
        raise Refused(gate.late())
    try:
        request.result()
    except Exception as error:
        raise Refused("GET %s raised %s: %s" % (gate.path, type(error).__name__, error)) from error
    gate.check_time(time.monotonic() - began)
    gate.judge(answer["status"], answer["body"])


class Told:
    """An ASGI app that is told its client by a proxy that has the key; all else of it is as it was.

    What it leaves unread of a body is read before its answer is complete, as of a WSGI app: else the server would close
    a connection on which the proxy still sends, and the proxy make 502 of the answer, or cut it off.
    """

    def __init__(self, app, key):
        self._app = app
        self._start = key + b" "

    def __getattr__(self, name):
        return getattr(self._app, name)

    async def __call__(self, scope, receive, send):
        if scope["type"] in ("http", "websocket"):
            scope, is_last = self._with_client(scope)
            if is_last and scope["type"] == "http":
                await self._app(scope, *_drained(receive, send))
                return
        await self._app(scope, receive, send)

    def _with_client(self, scope):
        """Return the scope with the client, and whether a body comes with the last request of its connection."""
        said, scheme, real_ip, headers, forwarded, asks = None, b"", b"127.0.0.1", [], [], {}
        for pair in scope["headers"]:
            name, value = pair
            if name == _CLIENT:
                said = value
                continue
            if name in _FORWARDED:
                forwarded.append(pair)
                scheme = value if name == b"x-forwarded-proto" else scheme
                real_ip = value if name == b"x-real-ip" else real_ip
                continue
            headers.append(pair)
            if name in (b"connection", b"content-length", b"transfer-encoding", b"expect"):
                asks[name] = value
        plain, secure = ("ws", "wss") if scope["type"] == "websocket" else ("http", "https")
        if said is None or not said.startswith(self._start):
            return dict(scope, headers=headers, scheme=plain if forwarded else scope.get("scheme", plain)), False
        said = said[len(self._start) :]
        client = ((real_ip if said == _IN_REAL_IP else said).decode("ascii", "replace"), 0)
        scope["client"] = client  # the server logs its own
        scheme = secure if scheme == b"https" else plain
        has_body = asks.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in asks
        is_last = has_body and asks.get(b"connection", b"").lower() == b"close" and b"expect" not in asks
        return dict(scope, headers=headers + forwarded, client=client, scheme=scheme), is_last


def _drained(receive, send):
    """Return `receive` and `send` of a request whose body is read to its end before its answer is complete."""
    more = True

    async def received():
        nonlocal more
        message = await receive()
        more = more and message["type"] == "http.request" and bool(message.get("more_body"))
        return message

    async def rest():
        left = _MOST_DRAINED
        while more and left > 0:
            left -= len((await received()).get("body", b""))

    async def sent(message):
        if more and message["type"] == "http.response.body" and not message.get("more_body"):
            await send(dict(message, more_body=True))
            reading = asyncio.ensure_future(rest())
            await asyncio.wait([reading], timeout=_DRAIN_S)
            reading.cancel()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return received, sent
