"""An app that moves to a cluster and back while its clients ask for its domain: the Caddy of the host leads them there.

What stands in the cluster is a server of the tests' own, which answers as long as there is a Deployment; the API server
is scripted. Clients whose connection Caddy closes, as it does when it is told something, send again, as browsers do.
"""

import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reconciler.settings.clusters import Cluster
from tests.support.certificates import write_certificate
from tests.support.eventually import eventually
from tests.support.images import a_base
from tests.support.kube_api import KubeApi, kube_api, kubeconfig, rolled_out
from tests.support.life import Cues
from tests.support.placed import is_told
from tests.support.ports import a_port
from tests.support.proxies import ask, kept_proxy, needs_caddy
from tests.support.registries import ScriptedRegistry
from tests.support.site import Site
from tests.system.test_domains_in_trouble import asking

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

NAME = "shop.localhost"
MOST_MOVES = 30  # of which one loses a request
HERE, THERE, ELSEWHERE = "here", "there", "elsewhere"
APP = """
import pathlib, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        pathlib.Path("BEGUN").touch()
        time.sleep(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"here"]
"""


@contextmanager
def entry(
    api: KubeApi, certificate: tuple[Path, Path] | None = None, there: str = THERE
) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Take requests as a controller of Ingresses does; yield its port, and the names asked for by TLS and by `Host`."""
    asked: list[tuple[str, str]] = []
    by_tls = [""]

    class Entry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((by_tls[0], self.headers.get("Host", "").partition(":")[0]))
            is_there = bool(api.names("Deployment")) and self.headers.get("X-Reconciler-Client") is None
            said = there if is_there else "nobody"
            self.send_response(200 if is_there else 503)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Entry)
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)

        def named(_: object, name: str | None, __: ssl.SSLContext) -> None:
            by_tls[0] = name or ""

        context.sni_callback = named
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def never(*_: object) -> None:
    """In place of what waits for the proxy."""


class Moving:
    """A site with a Caddy of its own, a cluster, and an app with a domain that serves here."""

    def __init__(self, site: Site, api: KubeApi, registry: ScriptedRegistry, **fields: Any) -> None:
        self.site, self.api, self.port = site, api, a_port()
        minors = [f"3.{minor}" for minor in range(8, 30)]
        a_base(site.root / "base", *minors)
        known: dict[str, Any] = {
            "kubeconfig": kubeconfig(site.root, f"http://127.0.0.1:{api.port}"),
            "registry": f"127.0.0.1:{registry.port}/web",
            "bases": {minor: str(site.root / "base") for minor in minors},
            "drain_s": 1,
        }
        self.known = {**known, **fields}
        cluster = Cluster(name="prod", namespace="web", plain_http=True, **self.known)
        self.proxy = kept_proxy()
        self.settings: dict[str, Any] = {
            "clusters": {"prod": cluster},
            "proxy": self.proxy,
            "retry_first_s": 0.05,
            "retry_cap_s": 0.2,
        }
        self.begun = site.root / "begun"
        site.save(site.source("shop") / "wsgi.py", APP.replace("BEGUN", str(self.begun)))
        self.here()

    def begin(self, cues: Cues | None = None) -> None:
        self.site.live(cues, **self.settings)
        eventually(lambda: is_told(self.site, "running"), 60)
        eventually(lambda: ask(NAME, self.https)[1] == HERE, 60)

    @property
    def https(self) -> int:
        return self.proxy.front.https

    def here(self) -> None:
        self.site.manifest("shop", port=self.port, domains=[NAME], probation="0s")

    def there(self, place: str = "prod") -> None:
        self.site.manifest("shop", place=place, domains=[NAME], probation="0s")

    def is_there(self) -> bool:
        pids = [each.pid for each in self.site.instances("shop") if each.pid]
        return is_told(self.site, "running") and not pids and self.api.names("Deployment") == ["shop"]

    def is_here(self) -> bool:
        return is_told(self.site, "running") and bool(self.site.pid("shop")) and not self.api.names()

    def roll_out(self, api: KubeApi | None = None) -> None:
        """Have the pods be ready from now on."""
        api = api or self.api
        with api.changed:
            api.rolls_out = rolled_out
        made = api.of("Deployment", "shop")
        api.put({**made, "status": rolled_out(made)["status"]}, "kubelet")


def more(seen: Counter[str], said: str) -> None:
    """Wait until some more requests were answered so."""
    enough = seen[said] + 10
    eventually(lambda: seen[said] >= enough, 120)


def not_ready(made: Any) -> Any:
    if made["kind"] == "Deployment":
        made["status"] = {"replicas": 1, "updatedReplicas": 1, "observedGeneration": made["metadata"]["generation"]}
    return made


@contextmanager
def answered_slowly(moving: "Moving") -> Iterator[list[str]]:
    """Have a request under way at the app meanwhile, which takes three seconds; the list has its answer then."""
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(ask(NAME, moving.https, "/slow", within=60)[1]))
    thread.start()
    eventually(moving.begun.exists, 10)
    yield said
    thread.join()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_request_for_a_domain_fails_while_its_app_moves_there_and_back(
    site: Site, api: KubeApi, registry: ScriptedRegistry, tls: bool
) -> None:
    certificate = write_certificate(site.root, NAME) if tls else None
    with entry(api, certificate) as (port, asked):
        trust = {"entry_ca": certificate[0]} if certificate else {}
        moving = Moving(site, api, registry, entry=f"http{'s' if tls else ''}://127.0.0.1:{port}", **trust)
        moving.begin()
        api.rolls_out = not_ready
        with asking(NAME, moving.https) as seen:
            more(seen, HERE)
            moving.there()
            eventually(lambda: api.names("Deployment") == ["shop"], 60)
            more(seen, HERE)  # until it is ready there
            assert asked == []
            with answered_slowly(moving) as said:
                moving.roll_out()
                more(seen, THERE)
            assert said == [HERE]
            eventually(moving.is_there, 60)
            more(seen, THERE)
            assert [each["state"] for each in site.status()["domains"]] == ["served"]

            moving.here()
            eventually(moving.is_here, 60)
            more(seen, HERE)
        print(seen)
        assert set(seen) == {HERE, THERE}, seen
    assert set(asked) == {(NAME if tls else "", NAME)}


def test_clients_of_an_app_that_slept_are_answered_here_until_the_proxy_leads_there(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    with entry(api) as (port, _):
        moving = Moving(site, api, registry, entry=f"http://127.0.0.1:{port}")
        site.manifest("shop", port=moving.port, domains=[NAME], probation="0s", start="lazy", idle_after="1s")
        site.live(**moving.settings)
        eventually(lambda: ask(NAME, moving.https)[1] == HERE, 60)
        eventually(lambda: is_told(site, "sleeping"), 60)
        api.rolls_out = not_ready
        moving.there()
        with asking(NAME, moving.https) as seen:
            eventually(lambda: api.names("Deployment") == ["shop"], 60)
            more(seen, HERE)
            assert set(seen) == {HERE}, seen
            moving.roll_out()
            more(seen, THERE)
            eventually(moving.is_there, 60)
            more(seen, THERE)
        print(seen)
        assert set(seen) == {HERE, THERE}, seen


class MovingBetween(Moving):
    """The same with another cluster, `staging`."""

    def __init__(self, site: Site, registry: ScriptedRegistry, prod: tuple[KubeApi, int], staging: tuple[KubeApi, int]):
        super().__init__(site, prod[0], registry, entry=f"http://127.0.0.1:{prod[1]}")
        (directory := site.root / "staging").mkdir()
        config = kubeconfig(directory, f"http://127.0.0.1:{staging[0].port}")
        given = {**self.known, "kubeconfig": config, "entry": f"http://127.0.0.1:{staging[1]}"}
        self.settings["clusters"]["staging"] = Cluster(name="staging", namespace="web", plain_http=True, **given)
        self.apis = {"prod": prod[0], "staging": staging[0]}

    def to(self, place: str, killed_after: float = 0.0) -> None:
        """Have the app move there, where its pods are ready a little later."""
        api = self.apis[place]
        api.rolls_out = not_ready
        self.there(place)
        if killed_after:
            time.sleep(killed_after)
            self.site.end(self.site.daemons[-1], signal.SIGKILL)
            self.site.live(**self.settings)
        eventually(lambda: api.names("Deployment") == ["shop"], 60)
        self.roll_out(api)

    def is_only_at(self, place: str) -> bool:
        return is_told(self.site, "running") and not any(a.names() for at, a in self.apis.items() if at != place)


@contextmanager
def between(site: Site, registry: ScriptedRegistry) -> Iterator[MovingBetween]:
    """Have two clusters, each with its entry."""
    with (
        kube_api() as api, kube_api() as other, entry(api) as (port, _), entry(other, there=ELSEWHERE) as (beside, _),
    ):  # fmt: skip
        yield MovingBetween(site, registry, (api, port), (other, beside))


@pytest.mark.parametrize("killed", [False, True], ids=["", "killed"])
def test_no_request_for_a_domain_fails_while_its_app_moves_from_one_cluster_to_another(
    site: Site,
    registry: ScriptedRegistry,
    killed: bool,
) -> None:
    chance = random.Random(22)
    with between(site, registry) as moving:
        moving.begin()
        with asking(NAME, moving.https) as seen:
            for place in ("prod", "staging", "prod", "staging"):
                moving.to(place, chance.uniform(0.2, 3.0) if killed else 0.0)
                more(seen, said := THERE if place == "prod" else ELSEWHERE)
                eventually(lambda at=place: moving.is_only_at(at), 60)  # type: ignore[misc]
                more(seen, said)
            moving.here()
            eventually(lambda: moving.is_only_at(HERE), 60)
            more(seen, HERE)
        print(seen)
        assert set(seen) == {HERE, THERE, ELSEWHERE}, seen


def test_requests_fail_where_it_ends_in_one_cluster_before_the_proxy_leads_to_the_other(
    site: Site, registry: ScriptedRegistry
) -> None:
    with between(site, registry) as moving:
        moving.begin(Cues(constants={"reconciler.cluster.plan._until_led": never}))  # type: ignore[dict-item]
        moving.to("prod")
        eventually(lambda: moving.is_only_at("prod"), 60)
        with asking(NAME, moving.https) as seen:
            more(seen, THERE)
            moving.to("staging")
            more(seen, ELSEWHERE)
        print(seen)
        assert seen.keys() - {THERE, ELSEWHERE}, seen


def test_requests_fail_where_the_app_ends_here_before_the_proxy_leads_there(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    with entry(api) as (port, _):
        moving = Moving(site, api, registry, entry=f"http://127.0.0.1:{port}")
        moving.begin(Cues(constants={"reconciler.cluster.plan._until_led": never}))  # type: ignore[dict-item]
        with asking(NAME, moving.https) as seen:
            for _ in range(MOST_MOVES):
                moving.there()
                eventually(moving.is_there, 60)
                more(seen, THERE)
                moving.here()
                eventually(moving.is_here, 60)
                more(seen, HERE)
                if seen.keys() - {HERE, THERE}:
                    break
        print(seen)
        assert seen.keys() - {HERE, THERE}, seen


def test_a_daemon_that_is_killed_wherever_it_is_goes_on_and_no_request_fails(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    with entry(api) as (port, _):
        moving = Moving(site, api, registry, entry=f"http://127.0.0.1:{port}")
        moving.begin()
        chance = random.Random(21)
        with asking(NAME, moving.https) as seen:
            for number in range(10):
                there = number % 2 == 0
                site.end(site.daemons[-1], signal.SIGKILL)
                site.live(Cues(die_at=chance.randrange(20, 160)), **moving.settings)
                (moving.there if there else moving.here)()
                time.sleep(chance.uniform(0.2, 3.0))
                site.end(site.daemons[-1], signal.SIGKILL)
                site.live(**moving.settings)
                eventually(moving.is_there if there else moving.is_here, 60)
                more(seen, THERE if there else HERE)
        print(seen)
        assert set(seen) == {HERE, THERE}, seen


def test_without_an_entry_the_domain_is_answered_here_until_the_overlap_is_over(
    site: Site, api: KubeApi, registry: ScriptedRegistry
) -> None:
    moving = Moving(site, api, registry, overlap_s=3.0)
    moving.begin()
    with asking(NAME, moving.https) as seen:
        more(seen, HERE)
        moving.there()
        eventually(lambda: "it serves here and in prod" in site.told("shop")["message"], 60)
        more(seen, HERE)
        assert set(seen) == {HERE}, seen
        eventually(moving.is_there, 60)  # who follows no DNS within it is refused
        eventually(lambda: seen.keys() - {HERE}, 60)
