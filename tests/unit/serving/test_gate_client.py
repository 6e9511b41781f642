"""Whose request it is: the proxy's word with the key, and nothing that a client says of itself without it."""

import asyncio
import inspect
import os
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from reconciler.planning.routing.route import FORGEABLE_HEADERS, PREFIX_HEADER
from reconciler.serving import gate_asgi as loaded_asgi
from reconciler.serving import gate_client as loaded
from reconciler.serving.marks import CLIENT_KEY_MARK

KEY = "k" * 32
gate_client: Any = loaded
gate_asgi: Any = loaded_asgi


@pytest.fixture
def key() -> Iterator[None]:
    os.environ[gate_client.KEY_MARK] = KEY
    yield
    del os.environ[gate_client.KEY_MARK]


def wsgi(**environ: str) -> dict[str, str]:
    """What an app sees of a request, through the wrapper."""
    seen: dict[str, str] = {}
    worker = SimpleNamespace(wsgi=lambda environ, _: seen.update(environ), cfg=SimpleNamespace(is_ssl=False))
    gate_client.guard(worker, told_asgi=None, is_wsgi=lambda _: True)
    worker.wsgi({"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http", **environ}, None)
    return seen


def asgi(*headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    seen: dict[str, Any] = {}

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        seen.update(scope)

    worker = SimpleNamespace(asgi=app, cfg=SimpleNamespace(is_ssl=False))
    gate_client.guard(worker, told_asgi=gate_asgi.Told, is_wsgi=lambda _: False)
    scope = {"type": kind, "headers": [*headers], "client": ("127.0.0.1", 1), "scheme": "https"}
    asyncio.run(worker.asgi(scope, None, None))
    return seen


def test_the_gate_and_the_daemon_mean_the_same_variable() -> None:
    assert gate_client.KEY_MARK == CLIENT_KEY_MARK


def test_an_instance_without_a_key_is_served_as_it_was() -> None:
    worker = SimpleNamespace(wsgi="app")
    gate_client.guard(worker, told_asgi=None, is_wsgi=lambda _: True)
    assert worker.wsgi == "app"


@pytest.mark.usefixtures("key")
def test_a_wsgi_app_is_told_the_client_and_never_sees_the_key() -> None:
    seen = wsgi(
        HTTP_X_RECONCILER_CLIENT=f"{KEY} 203.0.113.7",
        HTTP_X_FORWARDED_PROTO="https",
        HTTP_X_FORWARDED_FOR="203.0.113.7",
    )
    assert (seen["REMOTE_ADDR"], seen["wsgi.url_scheme"], seen["HTTP_X_FORWARDED_FOR"]) == (
        "203.0.113.7",
        "https",
        "203.0.113.7",
    )
    assert KEY not in str(seen)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("said", ["", "wrong 6.6.6.6", f"{KEY[:-1]} 6.6.6.6", f"{KEY}6.6.6.6"])
def test_what_a_wsgi_client_says_of_itself_is_not_believed(said: str) -> None:
    forged = {"HTTP_X_RECONCILER_CLIENT": said} if said else {}
    seen = wsgi(**forged, HTTP_X_FORWARDED_FOR="6.6.6.6", HTTP_X_FORWARDED_PROTO="https", HTTP_X_FORWARDED_HOST="evil")
    assert seen == {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "http"}


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(("kind", "scheme"), [("http", "https"), ("websocket", "wss")])
def test_an_asgi_app_is_told_the_client(kind: str, scheme: str) -> None:
    said = (b"x-reconciler-client", f"{KEY} 2001:db8::7".encode())
    seen = asgi((b"host", b"a"), (b"x-forwarded-proto", b"https"), said, kind=kind)
    assert (seen["client"], seen["scheme"]) == (("2001:db8::7", 0), scheme)
    assert KEY not in str(seen["headers"])


@pytest.mark.usefixtures("key")
def test_what_an_asgi_client_says_of_itself_is_not_believed() -> None:
    seen = asgi((b"host", b"a"), (b"x-forwarded-for", b"6.6.6.6"), (b"x-forwarded-proto", b"https"))
    assert (seen["client"], seen["scheme"], seen["headers"]) == (("127.0.0.1", 1), "http", [(b"host", b"a")])


@pytest.mark.usefixtures("key")
def test_what_proxies_say_is_forgotten_without_the_key_by_wsgi_and_asgi_alike() -> None:
    assert {name.removeprefix("HTTP_").replace("_", "-").lower().encode() for name in gate_client._FORWARDED} == set(
        gate_asgi._FORWARDED
    )
    ours = {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", PREFIX_HEADER, *FORGEABLE_HEADERS}
    assert {name.lower().encode() for name in ours} == set(gate_asgi._FORWARDED)


@pytest.mark.usefixtures("key")
def test_uvicorns_worker_believes_nobody_by_itself_and_logs_the_client_that_the_proxy_names() -> None:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        pass

    worker = SimpleNamespace(wsgi=app, cfg=SimpleNamespace(is_ssl=False), config=SimpleNamespace(proxy_headers=True))
    gate_client.guard(worker, told_asgi=gate_asgi.Told, is_wsgi=lambda _: False)
    assert not worker.config.proxy_headers
    headers = [(b"x-reconciler-client", f"{KEY} 203.0.113.7".encode())]
    scope: dict[str, Any] = {"type": "http", "headers": headers, "client": None, "scheme": "http"}
    asyncio.run(worker.wsgi(scope, None, None))
    assert scope["client"] == ("203.0.113.7", 0)


@pytest.mark.usefixtures("key")
def test_a_proxy_that_can_only_name_the_client_in_x_real_ip_is_believed_there_with_the_key_alone() -> None:
    said = f"{KEY} -"
    assert wsgi(HTTP_X_RECONCILER_CLIENT=said, HTTP_X_REAL_IP="203.0.113.7")["REMOTE_ADDR"] == "203.0.113.7"
    assert wsgi(HTTP_X_RECONCILER_CLIENT=said)["REMOTE_ADDR"] == "127.0.0.1"
    assert wsgi(HTTP_X_RECONCILER_CLIENT="wrong -", HTTP_X_REAL_IP="6.6.6.6")["REMOTE_ADDR"] == "127.0.0.1"
    real_ip = (b"x-real-ip", b"203.0.113.7")
    assert asgi((b"x-reconciler-client", said.encode()), real_ip)["client"] == ("203.0.113.7", 0)
    assert asgi((b"x-reconciler-client", b"wrong -"), real_ip)["client"] == ("127.0.0.1", 1)


@pytest.mark.usefixtures("key")
def test_a_lifespan_is_passed_on() -> None:
    assert asgi(kind="lifespan")["scheme"] == "https"


def early(length: int, **environ: Any) -> tuple[list[bytes], list[str], int]:
    """What an app answers that reads nothing of its body, what was closed, and how much is unread after that."""
    closed: list[str] = []

    class Answer:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"no"])

        def close(self) -> None:
            closed.append("answer")

    proxy, app = socket.socketpair()
    with proxy, app:
        proxy.sendall(b"x" * 1000)
        proxy.shutdown(socket.SHUT_WR)
        worker = SimpleNamespace(wsgi=lambda *_: Answer(), cfg=SimpleNamespace(is_ssl=False))
        gate_client.guard(worker, told_asgi=None, is_wsgi=lambda _: True)
        source = SimpleNamespace(reader=SimpleNamespace(length=length))
        asked = {"CONTENT_LENGTH": "1000", "HTTP_CONNECTION": "close", "HTTP_X_RECONCILER_CLIENT": f"{KEY} ::1"}
        answer = worker.wsgi({**asked, "gunicorn.socket": app, "wsgi.input": source, **environ}, None)
        parts = list(answer)
        answer.close()
        app.setblocking(False)
        return parts, closed, len(app.recv(2000))


@pytest.mark.usefixtures("key")
def test_what_an_app_leaves_of_a_body_is_read_after_its_answer_from_a_connection_that_ends() -> None:
    assert early(1000) == ([b"no"], ["answer"], 0)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize(
    "environ", [{"HTTP_CONNECTION": "keep-alive"}, {"CONTENT_LENGTH": "0"}, {"HTTP_X_RECONCILER_CLIENT": "wrong ::1"}]
)
def test_what_follows_on_a_connection_that_is_kept_is_left_alone(environ: dict[str, str]) -> None:
    assert early(1000, **environ) == ([b"no"], ["answer"], 1000)


@pytest.mark.usefixtures("key")
def test_a_body_that_was_read_whole_is_not_waited_for() -> None:
    assert early(0) == ([b"no"], ["answer"], 1000)


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("read", [0, 1, 3])
def test_an_asgi_app_that_answers_early_has_its_body_read_before_the_answer_is_complete(read: int) -> None:
    told: list[str] = []
    parts = iter([(b"a", True), (b"b", True), (b"c", False)])

    async def receive() -> dict[str, Any]:
        body, more = next(parts)
        told.append(body.decode())
        return {"type": "http.request", "body": body, "more_body": more}

    async def send(message: dict[str, Any]) -> None:
        told.append(f"{message['type'].rpartition('.')[2]} {message.get('more_body', '')}")

    async def app(_: Any, receive: Any, send: Any) -> None:
        for _part in range(read):
            await receive()
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b"no"})

    worker = SimpleNamespace(asgi=app, cfg=SimpleNamespace(is_ssl=False))
    gate_client.guard(worker, told_asgi=gate_asgi.Told, is_wsgi=lambda _: False)
    said = (b"x-reconciler-client", f"{KEY} 192.0.2.1".encode())
    headers = [said, (b"connection", b"close"), (b"content-length", b"3")]
    asyncio.run(worker.asgi({"type": "http", "headers": headers, "client": None}, receive, send))
    early, late = "abc"[:read], "abc"[read:]
    whole = ["body True", *late, "body False"] if late else ["body "]
    assert told == [*early, "start ", *whole]


@pytest.mark.usefixtures("key")
def test_an_asgi_app_is_one_to_a_server_that_looks_at_what_it_calls() -> None:
    told = gate_asgi.Told(None, b"")
    assert inspect.iscoroutinefunction(told.__call__)  # uvicorn takes anything else for ASGI 2
