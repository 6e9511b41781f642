"""An app that moves into a cluster with pods and back while its clients ask for its domain, which a Caddy here serves.

The network of the nodes is not this host's: a relay of the tests' own stands for the controller that takes requests for
the app there, and hands each connection to the address of its Service. As such controllers do, it hears of the first
pod that is available a little later than we, and answers with 503 until then.
"""

import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from tests.cluster.grounds import Place
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.proxies import ask, needs_caddy, newest_caddy
from tests.system.test_domains_in_trouble import asking

pytestmark = [pytest.mark.network, needs_caddy]

NAME = "shop.localhost"
MOVES = 3
_HEARS_AFTER_S = 1.0  # by when clients that are led there at once have asked
_NOTHING_THERE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_WITHIN_S = 240.0
# Says where it is: in a pod it is not where its source is.
APP = """
import os

WHERE = "there" if os.path.exists("/var/run/secrets") or os.getuid() == 65532 else "here"

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [WHERE.encode()]
"""


def hear(place: Place, known: list[str], over: threading.Event) -> None:
    """Learn of the app's Service, unless it is known, a while after the first of its pods is available."""
    while not over.wait(0.1):
        with suppress(OSError):  # there is nothing of it yet
            if not known and place.deployment()["status"].get("availableReplicas"):
                address = place.service()
                over.wait(_HEARS_AFTER_S)
                known.append(address)


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextmanager
def entry(place: Place) -> Iterator[tuple[int, list[str]]]:
    """Hand each connection to the Service of the app; yield the port, and the address once it is known."""
    known, over = list[str](), threading.Event()

    def connected() -> socket.socket:
        if not known:
            raise ConnectionRefusedError
        with place.grounds.inside():
            return socket.create_connection((known[-1], 80), 10)

    def serve(client: socket.socket) -> None:
        with client:
            try:
                there = connected()
            except OSError:
                client.recv(65536)
                client.sendall(_NOTHING_THERE)
                return
            with there:
                back = threading.Thread(target=copy, args=(there, client))
                back.start()
                copy(client, there)
                back.join()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

        threads = [
            threading.Thread(target=accept, daemon=True),
            threading.Thread(target=hear, args=(place, known, over), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            yield listener.getsockname()[1], known
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()


def more(seen: Counter[str], said: str) -> None:
    enough = seen[said] + 50
    eventually(lambda: seen[said] >= enough, _WITHIN_S)


def moved(place: Place, seen: Counter[str], fields: dict[str, Any], known: list[str]) -> None:
    """Have the app go there and come back."""
    place.manifest("shop", domains=[NAME])
    more(seen, "there")
    place.until("running")
    place.manifest("shop", **{**fields, "place": "here"})
    eventually(lambda: place.pods() == [], _WITHIN_S)
    place.until("running")
    more(seen, "here")
    known.clear()


class Moving:
    """An app with a domain that serves here, behind a Caddy of the daemon's, and is to move."""

    def __init__(self, place: Place, port: int, **cluster: Any) -> None:
        self.place, self.https = place, a_port()
        place.settings["proxy"] = {
            "type": "caddy", "run": True, "program": newest_caddy(), "address": "127.0.0.1", "http": a_port(),
            "https": self.https, "settle": "200ms",
        }  # fmt: skip
        self.fields: dict[str, Any] = {"domains": [NAME], "port": a_port()}
        self.settings = place.options(entry=f"http://127.0.0.1:{port}", **cluster)
        place.site.save(place.site.source("shop") / "wsgi.py", APP)
        place.manifest("shop", **{**self.fields, "place": "here"})

    def begin(self) -> None:
        self.place.site.start(*self.settings)
        self.place.until("running")
        eventually(lambda: ask(NAME, self.https)[1] == "here", 60)


def test_no_request_for_a_domain_fails_while_its_app_moves_there_and_back(place: Place) -> None:
    with entry(place) as (port, known):
        moving = Moving(place, port)
        moving.begin()
        with asking(NAME, moving.https) as seen:
            more(seen, "here")
            for _ in range(MOVES):
                moved(place, seen, moving.fields, known)
        print(seen)
    assert set(seen) == {"here", "there"}, seen


def test_no_request_for_a_domain_fails_while_its_app_moves_between_two_clusters(place: Place) -> None:
    """Another namespace stands for the other one."""
    other = Place(grounds=place.grounds, site=place.site, namespace=f"{place.namespace}-other")
    place.kube.ask("POST", "/api/v1/namespaces", {"metadata": {"name": other.namespace}})
    with entry(place) as (port, known), entry(other) as (beside, known_there):
        moving = Moving(place, port)
        file = place.site.root / "host.yaml"
        settings = json.loads(file.read_text())
        staging = {"namespace": other.namespace, "entry": f"http://127.0.0.1:{beside}"}
        settings["clusters"]["staging"] = {**settings["clusters"]["prod"], **staging}
        file.write_text(json.dumps(settings))
        moving.begin()
        with asking(NAME, moving.https) as seen:
            more(seen, "here")
            place.manifest("shop", domains=[NAME])
            more(seen, "there")
            place.until("running")
            for at, left, to, addresses in (("staging", place, other, known), ("prod", other, place, known_there)):
                place.manifest("shop", domains=[NAME], place=at)
                eventually(lambda left=left, to=to: to.pods() and not left.pods(), _WITHIN_S)  # type: ignore[misc]
                addresses.clear()
                place.until("running")
                more(seen, "there")
        print(seen)
    place.kube.ask("DELETE", f"/api/v1/namespaces/{other.namespace}")
    assert set(seen) == {"here", "there"}, seen


def test_requests_for_a_domain_fail_where_clients_are_led_there_at_once(place: Place) -> None:
    with entry(place) as (port, known):
        moving = Moving(place, port, drain="0s")
        moving.begin()
        with asking(NAME, moving.https) as seen:
            more(seen, "here")
            moved(place, seen, moving.fields, known)
        print(seen)
    assert seen.keys() - {"here", "there"}, seen
