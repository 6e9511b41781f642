"""Webhooks at a real web process: a genuine one is passed on, and no other costs more than its reading."""

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reconciler.control.requests import NotFound
from reconciler.control.socket import Control
from reconciler.daemon.web_process import WebProcess
from reconciler.settings.git import Repository
from reconciler.settings.settings import Api, Settings
from reconciler.state.paths import StatePaths
from tests.support.eventually import soon
from tests.support.ports import a_port
from tests.support.web import PATIENCE_S, TOKEN, bearer, fetch, web_process_of

SECRET, OTHER = "the-secret-of-the-fleet", "the-secret-of-the-shops"
BODY = json.dumps({"ref": "refs/heads/main"})


def signed(body: str = BODY, secret: str = SECRET) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()}


@dataclass(slots=True)
class Door:
    """The web process of a host with two repositories that have a webhook, and what it asked of the daemon."""

    settings: Settings
    port: int
    asked: list[dict[str, Any]] = field(default_factory=list)

    def granted(self, request: dict[str, Any], _: str) -> dict[str, Any]:
        if request.get("repository") == "away":
            raise NotFound("no origin is in this repository")
        self.asked.append(request)
        return {"done": "looking"}

    def call(self, body: str = BODY, headers: dict[str, str] | None = None, at: str = "/hooks/fleet") -> int:
        return fetch(self.port, at, "POST", body, headers or {}).status


@pytest.fixture
def door(tmp_path: Path) -> Door:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "fleet-hook").write_text(f"{SECRET}\n")
    (tmp_path / "shops-hook").write_text(OTHER)
    repositories = [
        Repository(name=name, urls=("/x",), signed="no", webhook=hook)
        for name, hook in (
            ("fleet", tmp_path / "fleet-hook"),
            ("shops", tmp_path / "shops-hook"),
            ("lost", tmp_path / "lost-hook"),
            ("polled", None),
        )
    ]
    by_name = {each.name: each for each in repositories}
    port = a_port()
    api = Api(host="127.0.0.1", port=port, token=tmp_path / "token")
    return Door(Settings(manifests=tmp_path, paths=StatePaths(state=state), api=api, repositories=by_name), port)


def told(door: Door, story: Callable[[], Awaitable[None]]) -> None:
    """Run a story while the web process answers."""

    async def run() -> None:
        with closing(Control(door.settings.paths.control, door.granted)) as control:
            await control.open()
            with closing(WebProcess(door.settings, lambda _text, _then: None)) as web:
                web.open()
                await story()

    asyncio.run(run())


def test_a_genuine_webhook_is_passed_on_without_the_token_of_the_api_and_no_other_is(
    door: Door, tmp_path: Path
) -> None:
    async def story() -> None:
        call: Callable[..., Awaitable[int]] = lambda *given: asyncio.to_thread(door.call, *given)  # noqa: E731
        assert await call(BODY, signed()) == 202
        assert await call(BODY, {"Authorization": f"Bearer {SECRET}"}) == 202
        assert await call("not JSON", {**signed("not JSON"), "Host": "apps.example.com"}) == 202
        assert door.asked == [{"do": "origin", "action": "hook", "repository": "fleet"}] * 3
        assert await call() == 401
        assert await call(BODY, bearer()) == 401, "the token of the API is no secret of a webhook"
        assert await call(BODY, signed(secret=OTHER)) == 401, "it is right for another repository"
        assert await call(f"{BODY} ", signed()) == 401
        assert await call(BODY, signed(), "/hooks/polled") == 401, "it has no webhook"
        assert await call(BODY, signed(), "/hooks/none") == 401
        assert await call(BODY, signed(), "/hooks/lost") == 401, "its secret cannot be read"
        assert (await asyncio.to_thread(fetch, door.port, "/hooks/fleet")).status == 405
        assert len(door.asked) == 3
        answer = await asyncio.to_thread(fetch, door.port, "/hooks/fleet", "POST", BODY)
        assert answer.json["detail"] == "this is not signed with the secret of a webhook"
        (tmp_path / "fleet-hook").write_text("another secret from now on")
        assert await call(BODY, signed()) == 401
        assert await call(BODY, signed(secret="another secret from now on")) == 202

    told(door, story)


def test_a_host_without_a_webhook_has_no_path_for_one(door: Door) -> None:
    door.settings = Settings(manifests=door.settings.manifests, paths=door.settings.paths, api=door.settings.api)

    async def story() -> None:
        assert await asyncio.to_thread(door.call, BODY, signed()) == 404

    told(door, story)


def test_the_git_server_is_told_if_the_daemon_does_not_answer(door: Door) -> None:
    async def story() -> None:
        door.settings.paths.control.unlink()
        assert await asyncio.to_thread(door.call, BODY, signed()) == 503

    told(door, story)


def memory_of(pid: int) -> int:
    """The most bytes that a process ever had in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("it is gone")


def send(port: int, size: int, block: int = 1024 * 1024) -> int:
    """Send a body of this size in chunks with a wrong signature; the status, 0 if the connection was closed."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
        connection.putrequest("POST", "/hooks/fleet")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.putheader("X-Gitea-Signature", "0" * 64)
        connection.endheaders()
        with contextlib.suppress(OSError):  # it has been answered already
            for _ in range(size // block):
                connection.send(b"%x\r\n" % block + bytes(block) + b"\r\n")
            connection.send(b"0\r\n\r\n")
        return connection.getresponse().status
    return 0


def test_a_body_of_any_size_takes_no_memory_and_one_beyond_the_limit_is_refused(door: Door) -> None:
    async def story() -> None:
        assert await asyncio.to_thread(door.call, BODY, signed()) == 202
        pid = web_process_of(door.settings.paths)
        assert pid is not None
        before = memory_of(pid)
        assert await asyncio.to_thread(send, door.port, 20 * 1024 * 1024) == 401
        assert await asyncio.to_thread(send, door.port, 100 * 1024 * 1024) in {413, 0}
        assert memory_of(pid) - before < 8 * 1024 * 1024
        assert await asyncio.to_thread(door.call, BODY, signed()) == 202

    told(door, story)


@contextlib.contextmanager
def stalled(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections that have sent a head, and a byte of the body."""
    with contextlib.ExitStack() as stack:
        found = []
        for _ in range(count):
            connection = stack.enter_context(closing(socket.create_connection(("127.0.0.1", port), 60)))
            head = f"POST /hooks/fleet HTTP/1.1\r\nHost: x\r\nX-Gitea-Signature: {'0' * 64}\r\nContent-Length: 9999\r\n"
            connection.sendall(f"{head}\r\n1".encode())
            found.append(connection)
        yield found


def test_a_genuine_webhook_comes_through_while_a_thousand_others_send_nothing(door: Door) -> None:
    async def story() -> None:
        def stall() -> int:
            with stalled(door.port, 1000):
                return door.call(BODY, signed())

        assert await asyncio.to_thread(door.call, BODY, signed()) == 202
        assert await asyncio.to_thread(stall) == 202

    told(door, story)


@pytest.mark.nightly
def test_a_body_that_takes_too_long_is_not_waited_for(door: Door) -> None:
    async def story() -> None:
        def slow() -> bytes:
            with stalled(door.port, 1) as (connection,):
                connection.settimeout(60)
                return connection.recv(65536)

        assert (await asyncio.to_thread(slow)).startswith(b"HTTP/1.1 408")

    told(door, story)


@pytest.mark.nightly
def test_ten_thousand_replayed_webhooks_cost_no_memory(door: Door) -> None:
    async def story() -> None:
        def replay() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", door.port, timeout=PATIENCE_S)
            with closing(connection):
                for _ in range(10_000):
                    connection.request("POST", "/hooks/fleet", BODY, signed())
                    answer = connection.getresponse()
                    answer.read()
                    assert answer.status == 202

        assert await asyncio.to_thread(door.call, BODY, signed()) == 202
        pid = web_process_of(door.settings.paths)
        assert pid is not None
        before = memory_of(pid)
        await asyncio.to_thread(replay)
        assert memory_of(pid) - before < 8 * 1024 * 1024
        await soon(lambda: len(door.asked) == 10_001)

    told(door, story)
