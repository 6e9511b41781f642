"""Apps that listen at a unix socket for the proxy, and at a port for everyone else: one app, two listeners."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux.unix_sockets import connected as connected_to
from reconciler.settings.proxy import Proxy
from tests.support.asgi import LIFESPAN
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.proxies import ask, kept_proxy, needs_caddy
from tests.support.site import Forked, Site, get, is_refused

pytestmark = [pytest.mark.system, needs_caddy]

PROGRAM = """
import http.server, os
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = open("version").read().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), App).serve_forever()
"""


@pytest.fixture
def proxy() -> Proxy:
    return kept_proxy()


def by_name(https: int, path: str = "/") -> str:
    status, said, _ = ask("shop.localhost", https, path)
    assert status == 200, (status, said)
    return said


def both(https: int, port: int, said: str) -> bool:
    """Whether an app says so to clients of the proxy and to those of its port."""
    assert (by_name(https), get(port)) == (said, said)
    return True


def manifest(site: Site, port: int | None, **more: Any) -> None:
    site.manifest("shop", domains=["shop.localhost"], probation="0s", **({"port": port} if port else {}), **more)


def a_connection(where: int | Path) -> socket.socket:
    """One that the kernel has taken, whether or not an instance has."""
    if isinstance(where, Path):
        return connected_to(where, socket.SOCK_STREAM, 60)
    return socket.create_connection(("127.0.0.1", where), 60)


def answer_on(line: socket.socket) -> bytes:
    line.settimeout(60)
    line.sendall(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n")
    answer = b""
    while part := line.recv(65536):
        answer += part
    line.close()
    return answer


@contextmanager
def load(*places: Callable[[], int | Path]) -> Iterator[Counter[str]]:
    """Ask at each of these places again and again, with a new connection each time."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def client(place: Callable[[], int | Path]) -> None:
        while not over.is_set():
            try:
                answer = answer_on(a_connection(place()))
                seen[answer[9:12].decode() or "nothing"] += 1
            except OSError as error:
                seen[f"{type(error).__name__} at {place()}"] += 1
            time.sleep(0.005)

    clients = [threading.Thread(target=client, args=(place,)) for place in places]
    for each in clients:
        each.start()
    try:
        yield seen
    finally:
        over.set()
        for each in clients:
            each.join(90)


def test_one_app_is_served_at_its_domain_and_at_its_port_through_all_that_happens_to_it(
    site: Site, proxy: Proxy
) -> None:
    https, place, port, other = proxy.front.https, site.paths.socket("shop"), a_port(), a_port()
    site.source("shop", "one")
    manifest(site, port, workers=2)
    daemon = site.live(proxy=proxy)
    eventually(lambda: both(https, port, "one"), 60)
    told = site.told("shop")
    assert (told["url"], told["port"]) == (f"https://shop.localhost:{https}/", port)
    assert told["port_url"] == f"http://127.0.0.1:{port}/"
    environ = json.loads(by_name(https, "/env"))
    assert (environ["PORT"], environ["VCAP_APP_PORT"]) == (str(port), str(port))
    application = json.loads(environ["VCAP_APPLICATION"])
    assert (application["uris"], application["port"]) == (["shop.localhost"], port)

    # The proxy dials the socket, not the port.
    config = site.paths.proxy_wanted.read_text()
    assert str(place.name) in config
    assert f":{port}" not in config

    # Deploys, more workers, and another port in the place of this one: no request is lost at either.
    with load(lambda: place, lambda: port) as seen:
        site.source("shop", "two")
        eventually(lambda: both(https, port, "two"), 60)
        site.await_settled("shop")
        pid = site.pid("shop")
        manifest(site, port, workers=3)
        eventually(lambda: site.told("shop")["workers"] == 3, 60)
        assert site.pid("shop") == pid
    assert set(seen) == {"200"}, seen
    with load(lambda: place) as seen:
        manifest(site, other, workers=3)
        eventually(lambda: both(https, other, "two"), 60)
        site.await_settled("shop")
        eventually(lambda: is_refused(port), 60)
    assert set(seen) == {"200"}, seen
    assert site.told("shop")["port_url"] == f"http://127.0.0.1:{other}/"

    _survives_kills(site, proxy, daemon, other)

    # Without the port it has the socket alone, and with it both again; then it is gone from both.
    manifest(site, None, workers=3)
    eventually(lambda: is_refused(other), 60)
    assert (by_name(https), site.told("shop")["port_url"]) == ("two", None)
    manifest(site, port, workers=3)
    eventually(lambda: both(https, port, "two"), 60)
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: not place.exists(), 60)
    eventually(lambda: is_refused(port), 60)


def _survives_kills(site: Site, proxy: Proxy, daemon: Forked, port: int) -> None:
    https, place = proxy.front.https, site.paths.socket("shop")
    # A daemon that is killed leaves both served, and the next one finds the instance where it is.
    pid = site.pid("shop")
    site.end(daemon, signal.SIGKILL)
    assert both(https, port, "two")
    daemon = site.live(proxy=proxy)
    site.await_settled("shop")
    assert site.pid("shop") == pid
    assert both(https, port, "two")

    # A master that is killed, and then a daemon with it: what connects meanwhile is served later, at both.
    os.killpg(pid, signal.SIGKILL)
    early = [a_connection(where) for where in (place, port)]
    assert all(b"two" in answer_on(line) for line in early)
    eventually(lambda: site.pid("shop") != pid, 60)
    site.await_settled("shop")
    pid = site.pid("shop")
    site.end(daemon, signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)
    early = [a_connection(where) for where in (place, port)]
    daemon = site.live(proxy=proxy)
    assert all(b"two" in answer_on(line) for line in early)
    site.await_settled("shop")


ASGI = (
    LIFESPAN
    + """\
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": open("version", "rb").read()})
"""
)

WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "threads": ("wsgi.py", "", {"threads": 4, "workers": 2}),
    "asgi": ("asgi.py", ASGI, {"entrypoint": "asgi:app"}),
    "program": ("app.py", PROGRAM, {"command": ["python3", "app.py"]}),
    "isolated": ("wsgi.py", "", {"isolation": "strict"}),
    "health": ("wsgi.py", "", {"health": {"path": "/", "interval": "1s"}}),
}


def write(site: Site, way: str, version: str) -> None:
    directory = site.source("shop", version)
    name, text, _ = WAYS[way]
    if text:
        (directory / "wsgi.py").unlink()
        site.save(directory / name, text)
    site.save(directory / "version", version)


@pytest.mark.nightly
@pytest.mark.parametrize("way", WAYS)
def test_every_kind_of_program_takes_clients_at_both_and_is_handed_over_at_both(
    site: Site, proxy: Proxy, way: str
) -> None:
    https, place, port = proxy.front.https, site.paths.socket("shop"), a_port()
    write(site, way, "0")
    manifest(site, port, **WAYS[way][2])
    daemon = site.live(proxy=proxy)
    eventually(lambda: both(https, port, "0"), 90)
    with load(lambda: place, lambda: port) as seen:
        for number in range(1, 6):
            write(site, way, str(number))
            eventually(lambda said=str(number): both(https, port, said), 60)  # type: ignore[misc]
            site.await_settled("shop")
        pid = site.pid("shop")
        site.end(daemon, signal.SIGKILL)
        daemon = site.live(proxy=proxy)
        site.await_settled("shop")
        assert site.pid("shop") == pid
        site.end(daemon)
        site.live(proxy=proxy)
        site.await_settled("shop")
    assert set(seen) == {"200"}, seen
    assert seen["200"] > 100


@pytest.mark.nightly
def test_a_client_of_either_wakes_it_and_gets_the_holding_page_of_one_that_cannot_start(
    site: Site, proxy: Proxy
) -> None:
    https, place, port = proxy.front.https, site.paths.socket("shop"), a_port()
    site.source("shop", "one")
    manifest(site, port, start="lazy", idle_after="1s", patience="10m")
    daemon = site.live(proxy=proxy)
    for where in (port, place, port, place):
        eventually(lambda: site.told("shop")["state"] == "sleeping" and not site.instances("shop"), 60)
        assert b"one" in answer_on(a_connection(where))
        site.end(daemon, signal.SIGKILL)
        daemon = site.live(proxy=proxy)
    eventually(lambda: site.told("shop")["state"] == "sleeping" and not site.instances("shop"), 60)
    site.end(daemon, signal.SIGKILL)  # asleep over a change of daemons: the keeper has both
    early = [a_connection(where) for where in (place, port)]
    site.live(proxy=proxy)
    assert all(b"one" in answer_on(line) for line in early)
    manifest(site, port, patience="1s")
    site.save(site.root / "apps/shop/wsgi.py", "raise RuntimeError('no')\n")
    eventually(lambda: site.told("shop")["state"] == "degraded", 60)
    assert both(https, port, "one")  # the one before serves
    manifest(site, port, state="maintenance")
    for where in (place, port):
        eventually(lambda where=where: b" 503 " in answer_on(a_connection(where)), 60)  # type: ignore[misc]


@pytest.mark.nightly
def test_two_apps_change_their_ports_for_each_others_and_no_request_of_either_domain_is_lost(
    site: Site, proxy: Proxy
) -> None:
    first, second, third = a_port(), a_port(), a_port()

    def ask_for(shop: int, blog: int) -> None:
        for name, port in (("shop", shop), ("blog", blog)):
            site.manifest(name, domains=[f"{name}.localhost"], probation="0s", port=port)

    for name in ("shop", "blog"):
        site.source(name, name)
    ask_for(first, second)
    site.live(proxy=proxy)
    places = [site.paths.socket(name) for name in ("shop", "blog")]
    eventually(lambda: (get(first), get(second)) == ("shop", "blog"), 60)
    with load(lambda: places[0], lambda: places[1]) as seen:
        ask_for(third, first)
        eventually(lambda: (get(third), get(first)) == ("shop", "blog"), 60)
        ask_for(second, first)
        eventually(lambda: (get(second), get(first)) == ("shop", "blog"), 60)
        site.await_settled("shop", "blog")
    assert set(seen) == {"200"}, seen


@pytest.mark.nightly
def test_an_app_that_served_at_its_port_alone_gets_the_socket_beside_it_with_its_next_deploy(
    site: Site, proxy: Proxy
) -> None:
    https, place, port = proxy.front.https, site.paths.socket("shop"), a_port()
    site.source("shop", "0")
    site.manifest("shop", probation="0s", port=port)
    daemon = site.live()
    site.await_settled("shop")
    pid = site.pid("shop")
    site.end(daemon)
    manifest(site, port)
    site.live(proxy=proxy)
    eventually(lambda: both(https, port, "0"), 60)
    site.await_settled("shop")
    assert (site.pid("shop"), place.exists()) == (pid, False)
    with load(lambda: port) as seen:
        site.source("shop", "1")
        eventually(lambda: both(https, port, "1"), 60)
        site.await_settled("shop")
        assert place.exists()
        # Without a domain it has its port alone again.
        site.manifest("shop", probation="0s", port=port)
        eventually(lambda: not place.exists(), 60)
        site.await_settled("shop")
    assert set(seen) == {"200"}, seen
