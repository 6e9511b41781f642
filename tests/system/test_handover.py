"""What is under way when an app changes is finished: slow requests, streams, kept connections, websockets."""

import http.client
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.eventually import at_leisure, eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, is_gone
from tests.support.websockets import said, upgraded

# Answers its version: at once, a word at a time, and to every message of a websocket.
ASGI = """\
import asyncio

async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "VERSION " + message["text"]})
        return
    slices = int(scope["query_string"] or 1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for number in range(slices):
        await asyncio.sleep(0.1 if slices > 1 else 0)
        more = number < slices - 1
        await send({"type": "http.response.body", "body": b"VERSION", "more_body": more})
"""
WSGI = """\
import time

def application(environ, start_response):
    slices = int(environ["QUERY_STRING"] or 1)
    start_response("200 OK", [])
    for number in range(slices):
        time.sleep(0.1 if slices > 1 else 0)
        yield b"VERSION"
"""


def write(site: Site, kind: str, version: str, **fields: Any) -> int:
    """An app of that kind whose answers are made of its version."""
    asgi = kind == "asgi"
    directory = site.root / "apps" / "blog"
    directory.mkdir(exist_ok=True)
    site.save(directory / ("asgi.py" if asgi else "wsgi.py"), (ASGI if asgi else WSGI).replace("VERSION", version))
    serving = {} if asgi else {"worker_class": "gthread", "threads": 8}
    port = int(fields.setdefault("port", a_port()))
    site.manifest("blog", **{"stop_timeout": "90s", **serving, **fields})
    return port


def change_code(site: Site, kind: str, port: int) -> tuple[str, int]:
    write(site, kind, "2", port=port)
    return "2", port


def change_environment(site: Site, kind: str, port: int) -> tuple[str, int]:
    write(site, kind, "1", port=port, env={"CHANGED": "yes"})
    return "1", port


def change_port(site: Site, kind: str, _: int) -> tuple[str, int]:
    return "1", write(site, kind, "1")


Change = Callable[[Site, str, int], tuple[str, int]]
CHANGES: list[Change] = [change_code, change_environment, change_port]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", ["gthread", pytest.param("asgi", marks=pytest.mark.nightly)])
def test_a_response_that_is_under_way_is_finished_by_the_instance_that_began_it(
    site: Site, kind: str, change: Change
) -> None:
    port = write(site, kind, "1")
    site.live()
    eventually(lambda: body(port) == "1" and site.settled("blog"))
    before = site.pid("blog")
    stream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    slices = round(at_leisure(25))  # for longer than a new instance takes to serve
    stream.request("GET", f"/?{slices}")
    answer = stream.getresponse()
    assert answer.read(1) == b"1"
    version, now_at = change(site, kind, port)
    eventually(lambda: body(now_at) == version and [i.pid for i in site.instances("blog")][-1] != before)
    assert not is_gone(before)
    assert answer.read() == b"1" * (slices - 1)
    stream.close()
    site.await_successor("blog", before)
    assert is_gone(before)


@pytest.mark.parametrize("change", [CHANGES[0], pytest.param(CHANGES[1], marks=pytest.mark.nightly)])
@pytest.mark.parametrize("kind", ["gthread", "asgi"])
def test_connections_that_are_kept_lose_no_request_and_are_let_go_between_two(
    site: Site, kind: str, change: Change
) -> None:
    port = write(site, kind, "1")
    site.live()
    eventually(lambda: body(port) == "1" and site.settled("blog"))
    before = site.pid("blog")
    kept, version = Kept(port), "1"
    try:
        with under_load(port) as load:
            for _ in range(20):
                assert kept.get() == "1"
            version, _ = change(site, kind, port)
            eventually(lambda: kept.get() == version and is_gone(before))
            for _ in range(20):
                assert kept.get() == version
        assert load.failed == {}
        assert kept.let_go >= 1
    finally:
        kept.close()


@pytest.mark.parametrize("change", CHANGES)
def test_a_websocket_goes_on_until_it_is_closed(site: Site, change: Change) -> None:
    port = write(site, "asgi", "1")
    site.live()
    eventually(lambda: body(port) == "1" and site.settled("blog"))
    before = site.pid("blog")
    with websocket(port) as line:
        assert said(line, "a") == "1 a"
        version, now_at = change(site, "asgi", port)
        eventually(lambda: body(now_at) == version and [i.pid for i in site.instances("blog")][-1] != before)
        eventually(lambda: any(i.stopping_since for i in site.instances("blog")))
        assert said(line, "b") == "1 b"
        with websocket(now_at) as newer:
            assert said(newer, "c") == f"{version} c"
        assert not is_gone(before)
    site.await_successor("blog", before)


def test_a_websocket_that_is_never_closed_is_ended_at_the_stop_timeout(site: Site) -> None:
    port = write(site, "asgi", "1", stop_timeout="1s")
    site.live()
    eventually(lambda: body(port) == "1" and site.settled("blog"))
    before = site.pid("blog")
    with websocket(port) as line:
        assert said(line, "a") == "1 a"
        write(site, "asgi", "2", port=port, stop_timeout="1s")
        site.await_successor("blog", before)
        assert is_gone(before)
        line.settimeout(10)
        while line.recv(4096):
            pass
    assert body(port) == "2"


class Kept:
    """A client that keeps its connection, and makes another only when it was let go before it asked anything."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.let_go = 0

    def get(self) -> str:
        fresh = self._connection.sock is None
        try:
            return self._ask()
        except (http.client.RemoteDisconnected, ConnectionError):
            assert not fresh, "a request on a new connection was dropped"
            self.let_go += 1
            self._connection.close()
            return self._ask()

    def _ask(self) -> str:
        self._connection.request("GET", "/")
        answer = self._connection.getresponse()
        text = answer.read().decode()
        if self._connection.sock is None:
            self.let_go += 1  # told so by the last answer
        return text

    def close(self) -> None:
        self._connection.close()


def body(port: int) -> str:
    """One answer on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/", headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    except http.client.HTTPException as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()


@contextmanager
def websocket(port: int) -> Iterator[socket.socket]:
    """An open websocket (RFC 6455), closed in an orderly way."""
    with upgraded(socket.create_connection(("127.0.0.1", port), timeout=60)) as line:
        yield line
