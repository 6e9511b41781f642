"""HTTP/3 through a Caddy that the daemon runs: a client is told of it, served by it, and led to no other app."""

from dataclasses import replace

import pytest

from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.http_3 import Http3
from tests.support.proxies import CADDIES, ask, kept_proxy, needs_caddy, version
from tests.support.site import Site
from tests.system.test_domains import WHOSE
from tests.system.test_domains_at_the_asked_rate import LIVE
from tests.system.test_domains_by_links import HOSTS

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]


@pytest.fixture(params=[pytest.param(each, id=".".join(map(str, version(each)))) for each in CADDIES])
def proxy(request: pytest.FixtureRequest) -> Proxy:
    return kept_proxy(request.param)


def asked(https: int, path: str = "/", authority: str | None = None) -> tuple[int, str]:
    with Http3("shop.localhost", https) as client:
        return client.ask(path, authority)[:2]


def test_a_client_is_told_of_http_3_and_served_by_it_through_deploys_until_the_settings_say_no(
    site: Site, proxy: Proxy
) -> None:
    https = proxy.front.https
    site.app("shop", "one", domains=["shop.localhost"], probation="0s")
    daemon = site.live(proxy=proxy)
    eventually(lambda: ask("shop.localhost", https)[0] == 200, 60)
    told = ask("shop.localhost", https)[2]["alt-svc"]
    assert f'h3=":{https}"' in told
    with Http3("shop.localhost", https) as kept:
        assert kept.ask()[:2] == (200, "one")
        for number in range(3):
            site.source("shop", f"deploy {number}")
            eventually(lambda said=f"deploy {number}": kept.ask()[:2] == (200, said), 60)  # type: ignore[misc]
    site.end(daemon)

    without = replace(proxy, front=replace(proxy.front, http3=False))
    daemon = site.live(proxy=without)
    eventually(lambda: "alt-svc" not in ask("shop.localhost", https)[2], 60)
    with pytest.raises(OSError, match="refused"):
        asked(https)
    site.end(daemon)
    site.live(proxy=proxy)
    eventually(lambda: asked(https) == (200, "deploy 2"), 60)


def test_by_http_3_too_the_app_is_told_the_client_and_no_authority_reaches_another_app(
    site: Site, proxy: Proxy
) -> None:
    https = proxy.front.https
    site.source("shop")
    site.save(site.root / "apps/shop/wsgi.py", WHOSE)
    site.source("other", "other")
    for name in ("shop", "other"):
        site.manifest(name, domains=[f"{name}.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: asked(https) == (200, "127.0.0.1 https 127.0.0.1"), 60)
    eventually(lambda: ask("other.localhost", https)[1] == "other", 60)
    for host in (*HOSTS, "shop.localhost:1", "x" * 2000):
        try:
            status, body = asked(https, authority=host)
        except OSError:  # the connection was ended for it
            continue
        assert status in {0, 400, 404, 421, 431} or (status == 200 and "https" in body), (host, status, body)
        assert "other" not in body
    assert asked(https)[0] == 200


def test_a_websocket_is_opened_by_http_3_too(site: Site, proxy: Proxy) -> None:
    site.source("shop").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/shop/asgi.py", LIVE.replace("VERSION", "one"))
    site.manifest("shop", entrypoint="asgi:app", domains=["shop.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: asked(proxy.front.https) == (200, "one"), 60)
    with Http3("shop.localhost", proxy.front.https) as client:
        assert client.said_by_websocket("hello") == b"\x81\x09one hello"


def test_by_http_3_no_authority_leads_out_of_the_links(site: Site) -> None:
    proxy = replace(kept_proxy(), links=True)
    https = proxy.front.https
    for name in ("shop", "other"):
        site.source(name, name)
        site.manifest(name, domains=[f"{name}.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: asked(https) == (200, "shop"), 60)
    eventually(lambda: ask("other.localhost", https)[1] == "other", 60)
    for host in HOSTS:
        try:
            status, body = asked(https, authority=host)
        except OSError:  # the connection was ended for it
            continue
        assert status in {0, 308, 400, 404, 421}, (host, status, body)
        assert "other" not in body
    assert asked(https) == (200, "shop")
