"""Domains of apps, with real Caddys: a manifest names one, and it is served over TLS, whatever is killed or changed."""

import http.client
import os
import signal
import ssl
import time
from contextlib import suppress

import pytest

from reconciler.routing.kept_caddy import kept_pid
from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.proxies import CADDIES, ask, connected, kept_proxy, needs_caddy, version
from tests.support.site import Site

pytestmark = [pytest.mark.system, needs_caddy]

# Says whose request it is, as the app sees it.
WHOSE = """
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    said = environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ.get("HTTP_X_FORWARDED_FOR", "-")
    forged = [name for name in sorted(environ) if environ[name] == "forged"]
    return [" ".join((*said, *forged)).encode()]
"""


@pytest.fixture
def proxy() -> Proxy:
    return kept_proxy()


def answers(name: str, port: int, body: str) -> bool:
    assert ask(name, port)[:2] == (200, body)
    return True


def is_unserved(name: str, port: int) -> bool:
    try:
        return ask(name, port)[0] == 404
    except (OSError, ssl.SSLError, http.client.HTTPException):
        return True


def test_a_name_is_served_over_tls_through_deploys_and_kills_until_its_manifest_goes(site: Site, proxy: Proxy) -> None:
    https, plain = proxy.front.https, proxy.front.http
    site.app("shop", "one", domains=["shop.localhost"], redirects=["www.shop.localhost"])
    site.app("other", "other", domains=["other.localhost"])
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "one"))
    eventually(lambda: answers("SHOP.localhost", https, "one"))
    eventually(lambda: answers("other.localhost", https, "other"))
    status, _, headers = ask("www.shop.localhost", https, "/a?b=c")
    assert (status, headers["location"]) == (308, f"https://shop.localhost:{https}/a?b=c")
    status, _, headers = ask("shop.localhost", plain, "/a", tls=False)
    assert (status, headers["location"]) == (308, f"https://shop.localhost:{https}/a")
    assert ask("stranger.localhost", plain, tls=False)[0] == 404
    assert is_unserved("stranger.localhost", https)
    eventually(lambda: all(each["state"] == "served" for each in site.status()["domains"]))
    assert site.cli("open", "shop", "--print").stdout == f"https://shop.localhost:{https}/\n"

    # A deploy is no business of the proxy's, and a change of names none of the instance's.
    pid, changes = site.pid("shop"), configured(site)
    site.source("shop", "two")
    eventually(lambda: answers("shop.localhost", https, "two"))
    site.await_settled("shop")
    assert configured(site) == changes
    pid = site.pid("shop")
    site.manifest("shop", domains=["shop.localhost", "new.localhost"], port=site.told("shop")["port"], hsts="1d")
    eventually(lambda: answers("new.localhost", https, "two"))
    assert is_unserved("www.shop.localhost", https)
    assert ask("new.localhost", https)[2]["strict-transport-security"] == "max-age=86400"
    assert site.pid("shop") == pid

    # The proxy outlives the daemon; one that is killed comes back with all names, before its daemon is asked.
    site.end(daemon, signal.SIGKILL)
    answers("shop.localhost", https, "two")
    before = kept_pid(site.paths.proxy)
    assert before is not None
    site.live(proxy=proxy)
    eventually(lambda: site.settled("shop", "other"))
    assert kept_pid(site.paths.proxy) == before
    os.kill(before, signal.SIGKILL)
    eventually(lambda: answers("new.localhost", https, "two"))
    assert kept_pid(site.paths.proxy) not in {None, before}

    # What is gone from the manifests is gone from the proxy, and a proxy without a name ends.
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: is_unserved("shop.localhost", https))
    eventually(lambda: answers("other.localhost", https, "other"))
    (site.manifests / "other.yaml").unlink()
    # It may take its time to end, up to 10 s of the daemon's patience, and longer on a busy machine.
    eventually(lambda: kept_pid(site.paths.proxy) is None, 90)
    eventually(lambda: site.status()["domains"] == [], 90)


@pytest.mark.nightly
@pytest.mark.parametrize("program", CADDIES, ids=lambda program: ".".join(map(str, version(program))))
def test_a_name_that_is_saved_is_served_over_tls_after_one_change_of_the_proxy(site: Site, program: str) -> None:
    proxy = kept_proxy(program)
    names = ["shop.localhost"]
    site.source("shop", "shop")
    site.manifest("shop", domains=names)
    site.live(proxy=proxy)
    taken = []
    for number in range(20):
        eventually(lambda: {each["state"] for each in site.status()["domains"]} == {"served"}, 60)
        time.sleep(proxy.settle_s)
        before = configured(site)
        names.append(f"n{number}.localhost")
        saved = time.perf_counter()
        site.manifest("shop", domains=names)
        eventually(lambda: answers(names[-1], proxy.front.https, "shop"))
        taken.append((time.perf_counter() - saved) * 1000)
        assert configured(site) == before + 1
    print(f"saved to first 200: median {sorted(taken)[10]:.0f} ms, longest {max(taken):.0f} ms of {len(taken)}")


def configured(site: Site) -> int:
    """How often the proxy was given a configuration."""
    return sum(kind == "configured" for _, kind, _ in site.events())


def test_the_client_is_the_one_that_the_proxy_has_seen(site: Site, proxy: Proxy) -> None:
    port = site.app("shop", domains=["shop.localhost"], tls="internal", http="serve")
    site.save(site.root / "apps/shop/wsgi.py", WHOSE)
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: answers("shop.localhost", https, "127.0.0.1 https 127.0.0.1"))
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Reconciler-Client": "0 6.6.6.6", "X-Forwarded-Proto": "https"}
    # A WSGI app cannot tell these from those with a dash.
    forged.update({"X_Forwarded_For": "6.6.6.6", "X_Reconciler_Client": "0 6.6.6.6", "X_Forwarded_Prefix": "forged"})
    names = ("X-Forwarded-Prefix", "X-Forwarded-Port", "X-Forwarded-Host", "X-Real-IP", "Forwarded")
    forged.update(dict.fromkeys(names, "forged"))
    assert ask("shop.localhost", https, headers=forged)[1] == "127.0.0.1 https 127.0.0.1"
    assert ask("shop.localhost", proxy.front.http, tls=False, headers=forged)[1] == "127.0.0.1 http 127.0.0.1"
    assert ask("x", port, tls=False, headers=forged)[1] == "127.0.0.1 http -"


# Two lengths, or one that programs read differently: what follows may be a request of its own to one of them.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"
AMBIGUOUS = {
    "both lengths": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "a space before the colon": b"Transfer-Encoding : chunked\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "another coding": b"Transfer-Encoding: xchunked\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "a folded line": b"X: a\r\n Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED),
    "a sign": b"Content-Length: +%d\r\n\r\n" % len(SMUGGLED),
    "a body of a GET": b"Content-Length: %d\r\n\r\n" % len(SMUGGLED),
}
PATHS = """
import os

def application(environ, start_response):
    with open(os.environ["SEEN"], "a") as file:
        file.write(environ["PATH_INFO"] + "\\n")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
"""


@pytest.mark.nightly
def test_no_request_of_ambiguous_length_carries_another_one_past_the_proxy(site: Site, proxy: Proxy) -> None:
    site.source("shop").joinpath("wsgi.py").write_text(PATHS)
    seen = site.root / "seen"
    site.manifest("shop", domains=["shop.localhost"], env={"SEEN": str(seen)})
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: answers("shop.localhost", https, "ok"))
    for how, fields in AMBIGUOUS.items():
        seen.write_text("")
        path = how.replace(" ", "-")
        with connected("shop.localhost", https) as line:
            line.settimeout(2)
            line.sendall(f"GET /{path} HTTP/1.1\r\nHost: shop.localhost\r\n".encode() + fields + SMUGGLED)
            with suppress(OSError):
                while line.recv(65536):
                    pass
        # Of both lengths, the chunks count: what follows is another request of the client's, to the proxy as well.
        got = seen.read_text().split()
        assert got in ([], [f"/{path}"]) or (how == "both lengths" and got == [f"/{path}", "/smuggled"]), (how, got)
