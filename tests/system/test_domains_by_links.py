"""Names by links: they come and go while no connection of any client is closed, and no request leads astray."""

import http.client
import os
import signal
import time

import pytest

from reconciler.planning.routing.route import Front
from reconciler.routing.kept_caddy import kept_pid
from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.http_2 import Http2
from tests.support.paced import at_rate
from tests.support.ports import a_port
from tests.support.proxies import ask, connected, needs_caddy, newest_caddy, version
from tests.support.site import Site
from tests.system.test_domains import WHOSE, configured, is_unserved
from tests.system.test_domains_at_sockets import answers
from tests.system.test_domains_at_the_asked_rate import LIVE, streaming, told_of_changes, write
from tests.system.test_domains_of_many import APPS, many, published
from tests.system.test_domains_under_load import load

pytestmark = [
    pytest.mark.system,
    needs_caddy,
    pytest.mark.skipif(version(newest_caddy()) < (2, 8), reason="needs Caddy 2.8"),
]


@pytest.fixture
def proxy() -> Proxy:
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    return Proxy(front=front, run=True, program=newest_caddy(), settle_s=0.2, links=True)


def by_http_2(name: str, port: int, authority: str) -> tuple[int, bytes]:
    """Status and body of a GET over HTTP/2 for an `:authority` that no library would send; 0 for a stream that ends."""
    with Http2(name, port) as line:
        try:
            return line.ask(authority)
        except ConnectionResetError:
            return 0, b""


def kept(name: str, port: int) -> http.client.HTTPConnection:
    """A connection that has had an answer and is idle since."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.sock = connected(name, port)
    connection.request("GET", "/", headers={"Host": name})
    assert connection.getresponse().read()
    return connection


def test_names_come_and_go_by_links_and_no_idle_connection_is_closed(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop").joinpath("wsgi.py").write_text(WHOSE)
    site.source("other", "other")
    site.manifest("shop", domains=["shop.localhost"], probation="0s")
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "127.0.0.1 https 127.0.0.1"))
    eventually(lambda: all(each["state"] == "served" for each in site.status()["domains"]))
    caddy = (site.paths.proxy / "caddy.json").read_bytes()
    assert b"shop.localhost" not in caddy

    idle = kept("shop.localhost", https)
    site.manifest("other", domains=["other.localhost", "o2.localhost"])
    eventually(lambda: answers("o2.localhost", https, "other"))
    site.manifest("other", domains=["other.localhost"])
    eventually(lambda: is_unserved("o2.localhost", https))
    assert answers("other.localhost", https, "other")
    idle.request("GET", "/", headers={"Host": "shop.localhost"})
    assert idle.getresponse().read() == b"127.0.0.1 https 127.0.0.1"
    idle.close()
    assert (site.paths.proxy / "caddy.json").read_bytes() == caddy

    status, _, headers = ask("shop.localhost", proxy.front.http, "/a?b", tls=False)
    assert (status, headers["location"]) == (308, f"https://shop.localhost:{https}/a?b")
    status, _, headers = ask("shop.localhost", https, headers={"Host": "SHOP.localhost"})
    assert (status, headers["location"]) == (308, f"https://shop.localhost:{https}/")
    assert ask("127.0.0.1", proxy.front.http, "/reconciler/ask?domain=nobody.localhost", tls=False)[0] == 404

    # What is changed while no daemon runs, or by another program, is made good; a new Caddy knows every name at once.
    site.end(daemon, signal.SIGKILL)
    (site.paths.proxy / "links" / "shop.localhost").unlink()
    site.manifest("other", domains=["third.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "127.0.0.1 https 127.0.0.1"))
    eventually(lambda: answers("third.localhost", https, "other"))
    eventually(lambda: is_unserved("other.localhost", https))
    before = kept_pid(site.paths.proxy)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    eventually(lambda: answers("third.localhost", https, "other"))
    for file in ("shop.yaml", "other.yaml"):
        (site.manifests / file).unlink()
    eventually(lambda: kept_pid(site.paths.proxy) is None, 90)
    eventually(lambda: site.status()["domains"] == [], 90)
    assert list(site.paths.proxy.glob("links/*")) == []


HOSTS = ("../x", "a%2f..", "a/../b", "..", ".", "*", "shop.*", "sh?p.localhost", "[a-z]*", "shop.localhost/..", "",
         "SHOP.LOCALHOST", "shop.localhost.", "[::1]", "{env.HOME}", "{http.request.tls.server_name}", "names",
         "shop.localhost/" + "a" * 32, "../links/other.localhost", "a" * 120)  # fmt: skip


@pytest.mark.nightly
def test_no_host_of_a_request_leads_out_of_the_links_over_http_1_and_2(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop", "shop")
    site.source("other", "other")
    site.manifest("shop", domains=["shop.localhost"])
    site.manifest("other", domains=["other.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "shop"), 60)
    eventually(lambda: answers("other.localhost", https, "other"), 60)
    assert by_http_2("shop.localhost", https, "shop.localhost") == (200, b"shop")
    for host in HOSTS:
        status, body = by_http_2("shop.localhost", https, host)
        assert status in {0, 1, 400, 404}, (host, status, body)
        assert b"other" not in body
        line = connected("shop.localhost", https)
        line.sendall(b"GET / HTTP/1.1\r\nHost: " + host.encode() + b"\r\nConnection: close\r\n\r\n")
        answer = b""
        while part := line.recv(65536):
            answer += part
        line.close()
        assert answer.split()[1] in {b"308", b"400", b"404", b"421"}, (host, answer)


@pytest.mark.nightly
def test_names_of_fifty_apps_come_change_and_go_by_links_and_no_request_fails_nor_is_caddy_told(
    site: Site, proxy: Proxy
) -> None:
    """At two hundred requests a second by clients that try nothing again, with websockets and event streams open."""
    https = proxy.front.https
    site.source("shop", "shop")
    site.manifest("shop", domains=["shop.localhost"], workers=2)
    write(site, "live", "asgi", LIVE, 0)
    site.manifest("live", entrypoint="asgi:app", domains=["live.localhost"])
    for number in range(APPS):
        many(site, number)
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "shop"), 120)
    eventually(lambda: answers("live.localhost", https, "0"), 120)
    eventually(lambda: [each["state"] for each in site.status()["domains"]] == ["served"] * 2, 60)
    before = told_of_changes(site.paths.proxy / "proxy.log")
    with streaming("live.localhost", https, "0") as go_on, at_rate("shop.localhost", https) as seen:
        for step in ("one", "two", ""):
            for number in range(APPS):
                many(site, number, step)
            names = {f"{step}{number}.localhost" for number in range(APPS)} if step else set[str]()
            eventually(lambda names=names: published(site) == names, 120)  # type: ignore[misc]
            if step:
                eventually(lambda step=step: answers(f"{step}7.localhost", https, "shop"), 60)  # type: ignore[misc]
            go_on()
    print(f"{APPS} names came, changed and went: {seen.total()} requests, {seen.failed} failed")
    assert seen.failed == {}
    assert seen.total() > 0
    assert told_of_changes(site.paths.proxy / "proxy.log") == before


@pytest.mark.nightly
def test_forty_changes_of_names_under_load_fail_no_request_and_close_no_connection(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop", "shop")
    site.source("other", "other")
    site.manifest("shop", domains=["shop.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "shop"), 60)
    changes: list[float] = []
    idle = kept("shop.localhost", https)
    before = configured(site)
    with load("shop.localhost", https) as old, load("shop.localhost", https, kept=False) as new:
        for number in range(40):
            name = f"n{number}.localhost"
            site.manifest("other", domains=[name])
            saved = time.monotonic()
            eventually(lambda name=name: answers(name, https, "other"), 60)  # type: ignore[misc]
            changes.append(time.monotonic() - saved)
    idle.request("GET", "/", headers={"Host": "shop.localhost"})
    assert idle.getresponse().status == 200
    idle.close()
    assert configured(site) > before
    assert (set(old), set(new)) == ({"200"}, {"200"}), (old, new)
    print(f"saved to first 200: median {sorted(changes)[20] * 1000:.0f} ms of {len(changes)}, {old['200']} requests")
