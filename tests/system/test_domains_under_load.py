"""What a proxy must not cost: deploys under load with open streams, many clients at once, waking; and hostile names."""

import asyncio
import http.client
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

from reconciler.linux.unix_sockets import connected as connected_to
from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.http_2 import Http2
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, ask, connected, context, hang_up, kept_proxy, needs_caddy, version
from tests.support.site import Site
from tests.system.test_handover import said, upgraded

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

DEPLOYS, EARLY_ANSWERS = 50, 500
STREAMS = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind.endswith("shutdown"):
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    while True:
        await send({"type": "http.response.body", "body": b"data: x\\n\\n", "more_body": True})
        await asyncio.sleep(0.2)
"""
BUSY = """
import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""
EARLY = """
def application(environ, start_response):
    start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("Content-Length", "20000")])
    return [b"n" * 20000]
"""

EARLY_ASGI = """
async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind.endswith("shutdown"):
                return
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"20000")]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b"n" * 20000})
"""


@pytest.fixture(params=CADDIES, ids=lambda program: ".".join(map(str, version(program))))
def proxy(request: pytest.FixtureRequest) -> Proxy:
    """Each Caddy that there is: Debian's own, too, in the nightly run."""
    return kept_proxy(request.param)


def configured(site: Site) -> int:
    return sum(kind == "configured" for _, kind, _ in site.events())


@contextmanager
def load_by_http_2(name: str, port: int, clients: int = 2) -> Iterator[Counter[str]]:
    """Requests with a body over one connection of HTTP/2 for each client, for as long as the context lasts."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def client() -> None:
        try:
            with Http2(name, port) as line:
                while not over.wait(0.01):
                    seen[str(line.ask(body=b"x" * 2048)[0])] += 1
        except OSError as error:
            seen[repr(error)] += 1

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@contextmanager
def load(name: str, port: int, clients: int = 3, *, kept: bool = True) -> Iterator[Counter[str]]:
    """Requests with a body over TLS connections, kept or a new one each, for as long as the context lasts."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        line: socket.socket | None = None
        while not over.is_set():
            try:
                if line is None:
                    connection.sock = line = connected(name, port, 30)
                connection.request("POST", "/", body=b"x" * 2048, headers={"Host": name})
                answer = connection.getresponse()
                answer.read()
                seen[str(answer.status)] += 1
                if answer.will_close or not kept:
                    hang_up(connection, line)
                    line = None
            except OSError as error:
                seen[repr(error)] += 1
                hang_up(connection, line)
                line = None
                if kept:
                    return
            time.sleep(0.01)
        hang_up(connection, line)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


async def stream(name: str, port: int, over: threading.Event) -> str:
    """Read an event stream until it is over; returns why it ended before, "" if it did not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context(), server_hostname=name)
    writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    try:
        while not over.is_set():
            async with asyncio.timeout(30):
                if not await reader.read(1000):
                    return "closed"
    finally:
        writer.transport.abort()  # an orderly end would have to wait for what the stream goes on to send
        with suppress(OSError):
            await writer.wait_closed()
    return ""


@contextmanager
def sockets(name: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many open websockets to a name."""
    with ExitStack() as stack:
        yield [stack.enter_context(upgraded(connected(name, port, 30), name)) for _ in range(count)]


def test_deploys_under_load_fail_no_request_close_no_stream_and_never_touch_the_proxy(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.app("shop", "0", domains=["shop.localhost"], workers=2, probation="1s")
    site.source("live").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/live/asgi.py", STREAMS)
    site.manifest("live", entrypoint="asgi:app", domains=["live.localhost"], port=a_port())
    site.live(proxy=proxy)
    eventually(lambda: ask("shop.localhost", https)[0] == 200, 60)
    eventually(lambda: site.settled("shop", "live"), 60)
    before, over = configured(site), threading.Event()
    ended: list[str] = []

    def watch() -> None:
        async def all_of_them() -> None:
            ended.extend(await asyncio.gather(*(stream("live.localhost", https, over) for _ in range(5))))

        asyncio.run(all_of_them())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        with (
            sockets("live.localhost", https, 20) as speaking,
            load("shop.localhost", https) as seen,
            load_by_http_2("shop.localhost", https) as seen_by_http_2,
        ):
            for number in range(1, DEPLOYS + 1):
                site.source("shop", str(number))
                eventually(lambda number=number: ask("shop.localhost", https)[1] == str(number), 60)  # type: ignore[misc]
                assert [said(each, str(number)) for each in speaking] == [str(number)] * 20
        assert configured(site) == before
        # A name more: what is open stays open, but for a Caddy before 2.7.
        site.manifest("shop", domains=["shop.localhost", "more.localhost"], workers=2, port=site.told("shop")["port"])
        eventually(lambda: ask("more.localhost", https)[0] == 200, 60)
        time.sleep(1)
        assert ended == [] or version(proxy.program) < (2, 7)
    finally:
        over.set()
        watching.join(60)
    assert set(seen) == {"200"}, seen
    assert set(seen_by_http_2) == {"200"}, seen_by_http_2
    print(f"{DEPLOYS} deploys: {seen.total()} requests by HTTP/1.1 and {seen_by_http_2.total()} by HTTP/2, 0 failed")
    assert ended == [""] * 5 or version(proxy.program) < (2, 7)


def all_at_once(name: str, port: int, paths: list[str]) -> tuple[list[threading.Thread], list[str]]:
    """Clients that ask for each path at the same time, and what each was answered, or met, so far; they wait long."""
    met: list[str] = []

    def client(path: str) -> None:
        try:
            met.append(str(ask(name, port, path, within=60)[0]))
        except OSError as error:
            met.append(repr(error))

    threads = [threading.Thread(target=client, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    return threads, met


def test_sixty_clients_of_one_busy_worker_wait_and_none_gets_502(site: Site, proxy: Proxy) -> None:
    site.app("busy", domains=["busy.localhost"])
    site.save(site.root / "apps/busy/wsgi.py", BUSY)
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask("busy.localhost", https)[0] == 200, 60)
    threads, met = all_at_once("busy.localhost", https, ["/slow", *["/"] * 60])
    for thread in threads:
        thread.join(120)
    assert Counter(met) == {"200": 61}


def test_more_clients_than_the_queue_of_a_socket_holds_wait_and_none_gets_502(site: Site, proxy: Proxy) -> None:
    site.source("busy").joinpath("wsgi.py").write_text(BUSY)
    site.manifest("busy", domains=["busy.localhost"], patience="30s", probation="0s")
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask("busy.localhost", https)[0] == 200, 60)
    site.await_settled("busy")
    master, waiting = site.pid("busy"), list[socket.socket]()
    os.killpg(master, signal.SIGSTOP)
    try:
        with suppress(BlockingIOError):  # the queue is full
            while len(waiting) < 10_000:
                waiting.append(connected_to(site.paths.socket("busy"), socket.SOCK_STREAM, 0))
        assert 1000 < len(waiting) < 10_000
        threads, met = all_at_once("busy.localhost", https, ["/"] * 20)
        time.sleep(2)
        assert met == []
    finally:
        for each in waiting:
            each.close()
        os.killpg(master, signal.SIGCONT)
    for thread in threads:
        thread.join(120)
    assert Counter(met) == {"200": 20}


@pytest.mark.parametrize("at_port", [True, False])
@pytest.mark.parametrize("kind", ["wsgi 1", "wsgi 4", "asgi"])
def test_an_answer_before_the_body_is_read_arrives_whole(site: Site, proxy: Proxy, kind: str, at_port: bool) -> None:
    module, _, threads = kind.partition(" ")
    site.source("shop").joinpath("wsgi.py").unlink()
    site.save(site.root / f"apps/shop/{module}.py", EARLY if module == "wsgi" else EARLY_ASGI)
    more = {"port": a_port()} if at_port else {}
    site.manifest(
        "shop", entrypoint=f"{module}:application", domains=["shop.localhost"], tls="off", threads=int(threads or 1),
        **more,
    )  # fmt: skip
    site.live(proxy=proxy)
    port = proxy.front.http
    eventually(lambda: ask("shop.localhost", port, tls=False)[0] == 401, 60)

    def post() -> tuple[bytes, int]:
        with socket.create_connection(("127.0.0.1", port), 30) as line:
            body = b"x" * 10_000_000
            head = (
                f"POST / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            )

            def send() -> None:
                with suppress(OSError):  # the answer ends what is sent
                    line.sendall(head.encode() + body)

            sending = threading.Thread(target=send)
            sending.start()
            answer = b""
            with suppress(ConnectionResetError):
                while part := line.recv(65536):
                    answer += part
            sending.join(60)
        return answer.partition(b"\r\n")[0], len(answer.partition(b"\r\n\r\n")[2])

    with ThreadPoolExecutor(4) as pool:
        answers = Counter(each.result() for each in [pool.submit(post) for _ in range(EARLY_ANSWERS)])
    assert answers == {(b"HTTP/1.1 401 Unauthorized", 20000): EARLY_ANSWERS}


@pytest.mark.parametrize("at_port", [True, False])
def test_six_hundred_posts_at_the_moment_in_which_an_idle_connection_ends_are_all_served(
    site: Site, proxy: Proxy, at_port: bool
) -> None:
    """gunicorn ends a connection that was idle for two seconds: each client sends its next request about then."""
    more = {"port": a_port()} if at_port else {}
    site.source("shop", "ok")
    site.manifest("shop", domains=["shop.localhost"], threads=8, **more)
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask("shop.localhost", https)[0] == 200, 60)

    def client(number: int) -> Counter[int]:
        with Http2("shop.localhost", https) as line:
            met: Counter[int] = Counter()
            for turn in range(15):
                met[line.ask(body=b"x" * 2048)[0]] += 1
                time.sleep(2 + ((number * 15 + turn) % 21 - 10) * 0.002)
            return met

    with ThreadPoolExecutor(40) as pool:
        seen = sum(pool.map(client, range(40)), Counter())
    assert seen == {200: 600}


def test_sleeping_apps_are_woken_a_hundred_times_through_tls(site: Site, proxy: Proxy) -> None:
    names = [f"lazy{number}" for number in range(5)]
    for name in names:
        site.source(name, name)
        site.manifest(name, domains=[f"{name}.localhost"], start="lazy", idle_after="1s")
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: [each["state"] for each in site.status()["domains"]] == ["served"] * len(names), 60)
    for _ in range(20):
        eventually(lambda: {site.told(name)["state"] for name in names} == {"sleeping"}, 60)
        with ThreadPoolExecutor(len(names)) as pool:
            woken = list(pool.map(lambda name: ask(f"{name}.localhost", https, within=60)[:2], names))
        assert woken == [(200, name) for name in names]


@pytest.mark.parametrize(
    "host",
    ["../x", "a%2f..", "a/../b", "SHOP.LOCALHOST", "shop.localhost.", "x" * 60_000, "", "shop.localhost\x00", "[::1]"],
)
def test_no_host_header_reaches_another_app(site: Site, proxy: Proxy, host: str) -> None:
    site.app("shop", "shop", domains=["shop.localhost"])
    site.app("other", "other", domains=["other.localhost"])
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask("shop.localhost", https)[0] == 200, 60)
    line = connected("shop.localhost", https)
    line.sendall(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
    answer = b""
    try:
        while part := line.recv(65536):
            answer += part
    except (TimeoutError, ConnectionResetError):
        pass
    finally:
        line.close()
    status = int(answer.split()[1]) if answer else 0
    assert status in {0, 400, 404, 421, 431} or (status == 200 and b"shop" in answer)
    assert b"other" not in answer
