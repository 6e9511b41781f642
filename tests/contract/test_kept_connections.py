"""Connections that a client keeps, when their worker is told to stop: let go by an answer, with each worker class."""

import contextlib
import http.client
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Literal

import pytest

from reconciler.planning.address import Address
from reconciler.planning.apps.revision import Build, Health, Recipe, Revision, Server, Source
from reconciler.planning.fingerprint import Json
from reconciler.serving.programs.gunicorn import Code, InstancePaths, argv, config_text
from reconciler.state.paths import StatePaths
from tests.support.eventually import eventually
from tests.support.websockets import said
from tests.system.test_handover import websocket

_WSGI = """
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """
_ASGI = """
    import pathlib

    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                if message["type"] == "lifespan.shutdown":
                    pathlib.Path("ended").touch()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})
            return
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
    """
_MINE = """
    import warnings
    warnings.simplefilter("ignore")
    from uvicorn.workers import UvicornWorker

    class Worker(UvicornWorker):
        CONFIG_KWARGS = {"loop": "asyncio", "http": "h11", "lifespan": "on"}
    """
_OWN_KIND = """
    class Application:
        def __call__(self):
            return self

    application = Application()
    """
_OWN_WORKER = """
    import time

    from gunicorn.workers import base

    class Worker(base.Worker):
        def run(self):
            while self.alive:
                self.notify()
                time.sleep(0.1)
    """
_KINDS = {
    "gthread": (_WSGI, "gthread"),
    "asgi": (_ASGI, "asgi"),
    "a class derived from uvicorn's": (_ASGI, "mine.Worker"),
}
_LIMIT_S = 8


@contextlib.contextmanager
def gunicorn(
    root: Path,
    text: str,
    worker_class: str,
    *,
    health: bool = False,
    own: str = "",
    access_log: bool | Literal["all"] = True,
    **settings: Json,
) -> Iterator[tuple[int, int]]:
    """An instance of an app as the daemon starts one, by this interpreter: its master, and its port."""
    code, passed = root / "code", root / "state/apps/blog/passed/i1"
    for directory in (code, passed, root / "state/logs/blog"):
        directory.mkdir(parents=True)
    (code / "app.py").write_text(dedent(text))
    (code / "mine.py").write_text(dedent(_MINE))
    (code / "own.py").write_text(dedent(own))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(host="127.0.0.1", port=listener.getsockname()[1])
        probed = Health(path="/") if health else None
        server = Server(
            worker_class=worker_class,
            threads=4,
            stop_timeout_s=_LIMIT_S,
            settings=settings,
            health=probed,
            access_log=access_log,
        )
        build = Build(source=Source(path=str(code)), recipe=Recipe(), content="1")
        revision = Revision(app="blog", build=build, address=address, server=server, env={})
        served = Code(
            directory=str(code), python=sys.executable, target="app:application", worker_class="sync", runtime=""
        )
        paths = InstancePaths.of(StatePaths(state=root / "state"), "blog")
        config = root / "gunicorn.config"
        config.write_text(config_text(revision, served, paths, 1))
        with (root / "out.log").open("wb") as out:
            master = os.posix_spawn(
                sys.executable,
                argv(config, served),
                {**os.environ, "RECONCILER_APP": "blog", "RECONCILER_INSTANCE": "i1"},
                file_actions=[(os.POSIX_SPAWN_DUP2, out.fileno(), n) for n in (1, 2)]
                + [(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
                setsid=True,
            )
        try:
            eventually(lambda: [path for path in passed.iterdir() if path.name.isdecimal()])
            (passed / "serving").touch()
            yield master, address.port
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(master, 0)


def has_ended(master: int) -> bool:
    """Whether it is gone, by itself and in order."""
    pid, status = os.waitpid(master, os.WNOHANG)
    assert status == 0
    return pid == master


def asked(connection: http.client.HTTPConnection) -> bool:
    """Ask once on a connection; return whether the answer closes it."""
    connection.request("GET", "/")
    answer = connection.getresponse()
    assert answer.read() == b"ok"
    return connection.sock is None


@pytest.mark.parametrize("kind", _KINDS)
def test_a_kept_connection_is_let_go_by_an_answer(tmp_path: Path, kind: str) -> None:
    with gunicorn(tmp_path, *_KINDS[kind]) as (master, port), contextlib.ExitStack() as line:
        connection = line.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        assert not asked(connection)
        os.kill(master, signal.SIGTERM)
        eventually(lambda: asked(connection))
        eventually(lambda: has_ended(master))


@pytest.mark.parametrize("kind", _KINDS)
def test_a_kept_connection_is_let_go_by_an_answer_when_its_worker_has_done_its_requests(
    tmp_path: Path, kind: str
) -> None:
    with gunicorn(tmp_path, *_KINDS[kind], max_requests=3) as (_, port), contextlib.ExitStack() as line:
        connection = line.enter_context(contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)))
        eventually(lambda: asked(connection))
        asked(connection)  # on a new connection, by this worker or the next


def test_an_application_of_another_kind_than_wsgi_and_asgi_is_left_to_the_daemons_probes(tmp_path: Path) -> None:
    with gunicorn(tmp_path, _OWN_KIND, "own.Worker", health=True, own=_OWN_WORKER):
        passed = tmp_path / "state/apps/blog/passed/i1"
        assert [(passed / name).read_text() for name in ("unasked", "cuts")] == ["Worker", "Worker"]
        assert (passed / "uncounted").exists()


def test_the_lifespan_ends_though_a_websocket_is_never_closed(tmp_path: Path) -> None:
    with gunicorn(tmp_path, _ASGI, "asgi") as (master, port), websocket(port) as line:
        assert said(line, "a") == "a"
        os.kill(master, signal.SIGTERM)
        line.settimeout(20)
        assert line.recv(4) == b"\x88\x02\x03\xf4", "a close frame that says 1012, service restart"
        eventually(lambda: has_ended(master))
        assert (tmp_path / "code/ended").exists()
