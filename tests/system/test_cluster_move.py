"""An app that moves to a cluster and back under steady requests, whose clients follow when they like: none fails.

Its pods are a server of the tests' own, which answers as long as there is a Deployment; the API server is scripted.
"""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest

from tests.support.eventually import eventually
from tests.support.kube_api import KubeApi, kubeconfig, rolled_out
from tests.support.placed import is_told, placed
from tests.support.registries import ScriptedRegistry
from tests.support.site import Site

pytestmark = [pytest.mark.system, pytest.mark.nightly]

LONG = "10m"  # clients follow within it, however busy the host is


@contextmanager
def pods(api: KubeApi) -> Iterator[int]:
    """Serve at a port as pods behind a balancer would: as long as there is a Deployment."""

    class Pod(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if api.names("Deployment") else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Pod)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Clients:
    """Ask for an app without a pause, at the address that DNS has; `failed` are the requests that did not get 200."""

    def __init__(self, port: int) -> None:
        self.port, self.asked, self.failed = port, 0, list[str]()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ending.is_set():
            self.asked += 1
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
            try:
                connection.request("GET", "/")
                if (answer := connection.getresponse()).status != 200:
                    self.failed.append(str(answer.status))
            except OSError as error:
                self.failed.append(type(error).__name__)
            finally:
                connection.close()
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join()

    def some(self) -> None:
        """Wait until some more requests were answered."""
        asked = self.asked
        eventually(lambda: self.asked >= asked + 5, 120)


def serves_at_both(site: Site) -> bool:
    return "it serves here and in prod" in site.told("shop")["message"]


def starting_here(site: Site, api: KubeApi, registry: ScriptedRegistry, overlap: str, **fields: str) -> int:
    """Start the daemon with the app on this host; return its port."""
    config = kubeconfig(site.root, f"http://127.0.0.1:{api.port}")
    options = placed(site, config, registry, overlap=overlap)
    (site.manifests / "shop.yaml").unlink()
    port = site.app("shop", probation="0s", **fields)
    site.start(*options)
    eventually(lambda: is_told(site, "sleeping" if fields else "running"), 60)
    return port


def not_ready(made: Any) -> Any:
    if made["kind"] == "Deployment":
        made["status"] = {"replicas": 1, "updatedReplicas": 1, "observedGeneration": made["metadata"]["generation"]}
    return made


def test_no_request_fails_while_an_app_moves_there_and_back_and_its_clients_follow(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    port = starting_here(site, api, registry, LONG)
    with pods(api) as there, Clients(port) as clients:
        clients.some()
        site.manifest("shop", place="prod", port=port, probation="0s")
        eventually(lambda: serves_at_both(site), 60)
        clients.some()
        clients.port = there  # DNS leads there
        clients.some()

        site.manifest("shop", port=port, probation="0s")
        eventually(lambda: is_told(site, "running"), 60)
        clients.some()
        assert api.names("Deployment") == ["shop"]
        clients.port = port
        clients.some()
    assert clients.failed == []


def test_clients_of_an_app_that_slept_are_answered_here_until_it_is_there(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    port = starting_here(site, api, registry, LONG, start="lazy", idle_after="1s")
    with Clients(port) as clients:
        clients.some()
    eventually(lambda: is_told(site, "sleeping"), 60)
    api.rolls_out = not_ready
    site.manifest("shop", place="prod", port=port, probation="0s")
    with Clients(port) as clients:
        eventually(lambda: api.names("Deployment") == ["shop"], 60)
        clients.some()
        with api.changed:
            api.rolls_out = rolled_out
        api.put({**(made := api.of("Deployment", "shop")), "status": rolled_out(made)["status"]}, "kubelet")
        eventually(lambda: serves_at_both(site), 60)
        clients.some()
    assert clients.failed == []


def test_without_an_overlap_clients_that_follow_late_are_refused(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    port = starting_here(site, api, registry, "0s")
    with pods(api), Clients(port) as clients:
        site.manifest("shop", place="prod", port=port, probation="0s")
        eventually(lambda: is_told(site, "running"), 60)
        eventually(lambda: clients.failed, 60)


def test_what_it_was_ends_once_the_overlap_is_over(site: Site, api: KubeApi, registry: ScriptedRegistry) -> None:
    port = starting_here(site, api, registry, "2s")
    here = site.pid("shop")
    site.manifest("shop", place="prod", port=port, probation="0s")
    eventually(lambda: is_told(site, "running"), 60)
    eventually(lambda: here not in [record.pid for record in site.instances("shop")], 30)
    site.manifest("shop", port=port, probation="0s")
    eventually(lambda: api.names() == [], 60)
    eventually(lambda: is_told(site, "running"), 30)
