"""Deploys under two hundred requests a second over TLS, half of them POSTs, with websockets and event streams open."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from reconciler.settings.proxy import Proxy
from tests.support.asgi import LIFESPAN
from tests.support.eventually import eventually
from tests.support.paced import at_rate, event_streams, websockets
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, ask, kept_proxy, needs_caddy, version
from tests.support.site import Site
from tests.support.websockets import said

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

DEPLOYS, WEBSOCKETS, STREAMS = 50, 20, 5
# Answers its version: to each request once it has the body, to each message of a websocket. Numbers its events.
LIVE = (
    "import asyncio\n"
    + LIFESPAN
    + """\
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": "VERSION " + message["text"]})
        return
    start = {"type": "http.response.start", "status": 200}
    if scope["path"] == "/events":
        await send({**start, "headers": [(b"content-type", b"text/event-stream")]})
        for number in range(10**9):
            await send({"type": "http.response.body", "body": b"data: %d\\n\\n" % number, "more_body": True})
            await asyncio.sleep(0.2)
    got = 0
    while (part := await receive()).get("more_body"):
        got += len(part["body"])
    got += len(part.get("body", b""))
    whole = got == (2048 if scope["method"] == "POST" else 0)
    await send({**start, "status": 200 if whole else 400, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"VERSION"})
"""
)
WHOLE = """
def application(environ, start_response):
    got = len(environ["wsgi.input"].read())
    whole = got == (2048 if environ["REQUEST_METHOD"] == "POST" else 0)
    start_response("200 OK" if whole else "400 Bad Request", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""


@pytest.fixture(params=CADDIES, ids=lambda program: ".".join(map(str, version(program))))
def proxy(request: pytest.FixtureRequest) -> Proxy:
    return kept_proxy(request.param)


def write(site: Site, app: str, module: str, text: str, number: int) -> None:
    (site.root / "apps" / app).mkdir(exist_ok=True)
    site.save(site.root / f"apps/{app}/{module}.py", text.replace("VERSION", str(number)))


def told_of_changes(log: Path) -> list[str]:
    """The requests by which a Caddy was told another configuration, as its own log has them."""
    lines = log.read_text().splitlines()
    return [line for line in lines if "received request" in line and '"method":"GET"' not in line]


@contextmanager
def streaming(name: str, port: int, version: str) -> Iterator[Callable[[], None]]:
    """Twenty websockets and five event streams of a version; yields what fails unless each goes on as it began."""
    with event_streams(name, port, STREAMS, "/events") as streams, websockets(name, port, WEBSOCKETS) as speaking:

        def go_on() -> None:
            assert [said(each, "still") for each in speaking] == [f"{version} still"] * WEBSOCKETS
            seen = list(streams.events)
            eventually(lambda: streams.ended or all(map(int.__gt__, streams.events, seen)), 60)
            assert streams.ended == []

        go_on()
        yield go_on


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_fifty_deploys_fail_no_request_close_no_stream_and_never_touch_the_proxy(
    site: Site, proxy: Proxy, kind: str
) -> None:
    """Each deploy of an ASGI app meets streams of its own, which its clients end before the next: two may be alive."""
    https, module, text = proxy.front.https, *(("asgi", LIVE) if kind == "asgi" else ("wsgi", WHOLE))
    name, other = "shop.localhost", "live.localhost"
    fields: dict[str, Any] = {"entrypoint": "asgi:app"} if kind == "asgi" else {}
    fields.update(domains=[name], workers=2, probation="1s", stop_timeout="1h")
    write(site, "shop", module, text, 0)
    site.manifest("shop", **fields)
    write(site, "live", "asgi", LIVE, 0)
    site.manifest("live", entrypoint="asgi:app", domains=[other], port=a_port())
    site.live(proxy=proxy)
    for each in (name, other):
        eventually(lambda each=each: ask(each, https)[:2] == (200, "0"), 60)  # type: ignore[misc]
    eventually(lambda: {each["state"] for each in site.status()["domains"]} == {"served"}, 60)
    log = site.paths.proxy / "proxy.log"
    before, began = told_of_changes(log), time.monotonic()

    def deploy(number: int) -> None:
        write(site, "shop", module, text, number)
        eventually(lambda: ask(name, https)[:2] == (200, str(number)), 60)

    with streaming(other, https, "0") as others_go_on:
        with at_rate(name, https) as seen:
            for number in range(1, DEPLOYS + 1):
                with streaming(name, https, str(number - 1)) if kind == "asgi" else nullcontext(lambda: None) as go_on:
                    deploy(number)
                    go_on()
                others_go_on()
        took_s = time.monotonic() - began
        print(f"{DEPLOYS} deploys in {took_s:.0f} s: {seen.total() / took_s:.0f} requests/s; {dict(seen.of)}")
        assert seen.failed == {}
        assert min(seen.total(way, method) for way, _, _ in seen.of for method in ("GET", "POST")) > 0
        assert told_of_changes(log) == before


def test_a_name_more_closes_no_stream_but_the_websockets_of_an_old_caddy(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    write(site, "live", "asgi", LIVE, 0)
    site.manifest("live", entrypoint="asgi:app", domains=["live.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: ask("live.localhost", https)[:2] == (200, "0"), 60)
    with (
        event_streams("live.localhost", https, STREAMS, "/events") as streams,
        websockets("live.localhost", https, WEBSOCKETS) as speaking,
    ):
        site.manifest("live", entrypoint="asgi:app", domains=["live.localhost", "more.localhost"])
        eventually(lambda: ask("more.localhost", https)[0] == 200, 60)
        assert told_of_changes(site.paths.proxy / "proxy.log")
        seen = list(streams.events)
        eventually(lambda: streams.ended or all(map(int.__gt__, streams.events, seen)), 60)
        assert streams.ended == []
        assert [answer(each) for each in speaking] == [
            "0 still" if version(proxy.program) >= (2, 7) else "closed"
        ] * WEBSOCKETS


def answer(line: socket.socket) -> str:
    """What a websocket says to a message, "closed" where it was ended."""
    try:
        return said(line, "still")
    except (AssertionError, OSError):
        return "closed"
