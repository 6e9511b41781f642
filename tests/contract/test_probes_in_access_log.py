"""The daemon's probes are in an app's access log only where they fail or the manifest asks for them."""

import http.client
from pathlib import Path
from typing import Literal

import pytest

from tests.contract.test_kept_connections import gunicorn
from tests.support.eventually import eventually

_WSGI = """
    def application(environ, start_response):
        start_response("500 No" if environ["QUERY_STRING"] == "fail" else "200 OK", [("Content-Length", "2")])
        return [b"ok"]
    """
_ASGI = """
    async def application(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": message["type"] + ".complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
    """
_KINDS = {
    "sync": (_WSGI, "sync"),
    "gthread": (_WSGI, "gthread"),
    "asgi": (_ASGI, "asgi"),
    "uvicorn": (_ASGI, "mine.Worker"),
}


def ask(port: int, path: str, agent: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path, headers={"User-Agent": agent, "Connection": "close"})
    connection.getresponse().read()
    connection.close()


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("access_log", [True, "all"])
def test_a_probe_that_succeeds_is_logged_only_when_asked_for(
    tmp_path: Path, kind: str, access_log: bool | Literal["all"]
) -> None:
    text, worker_class = _KINDS[kind]
    log = tmp_path / "state/logs/blog/access.log"
    with gunicorn(tmp_path, text, worker_class, health=True, access_log=access_log) as (_, port):
        ask(port, "/", "reconciler-health")
        ask(port, "/", "a client")
        ask(port, "/other", "reconciler-health")
        # Two threads of a worker may write in either order.
        wanted = ["/", "/", "/other"] if access_log == "all" else ["/", "/other"]
        eventually(lambda: sorted(paths(log)) == wanted)
    assert sorted(paths(log)) == wanted


def paths(log: Path) -> list[str]:
    return [line.split('"')[1].split()[1] for line in log.read_text().splitlines()]
