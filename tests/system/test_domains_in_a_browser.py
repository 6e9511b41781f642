"""A sample app in Chromium over TLS with the certificate authority of the proxy, and its domains on the page."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.proxies import kept_proxy, needs_caddy, newest_caddy
from tests.support.site import REPOSITORY, Site
from tests.support.web import TOKEN, axe, browser, log_in, resize

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

_SECURITY = "return [window.isSecureContext, location.protocol, document.body.innerText]"
_WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"


def test_a_sample_is_a_secure_page_in_chromium_that_trusts_the_authority_of_the_proxy_and_no_other(site: Site) -> None:
    proxy = started(site)
    url = f"https://hello.localhost:{proxy.front.https}/"
    sent = site.paths.proxy / "data/pki/authorities/local/intermediate.crt"
    with browser(trusted=(key_of(sent),)) as driver:
        driver.get(url)
        secure, protocol, text = driver.execute_script(_SECURITY)
        assert (secure, protocol) == (True, "https:")
        assert "hello" in text.lower()
        # HTTP/2 or 3, and a name without TLS leads here.
        assert driver.execute_script("return performance.getEntriesByType('navigation')[0].nextHopProtocol") in {
            "h2",
            "h3",
        }
        driver.get(f"http://hello.localhost:{proxy.front.http}/")
        assert driver.current_url == url
    with browser() as driver:
        driver.get(url)
        assert driver.execute_script(_SECURITY)[1] == "chrome-error:"


@pytest.mark.network
def test_a_django_site_takes_a_form_over_tls_and_the_proxy_serves_its_style(site: Site) -> None:
    proxy = kept_proxy()
    given = yaml.safe_load((REPOSITORY / "manifests/guestbook.yaml").read_text())
    del given["services"]
    fields = {"path": str(REPOSITORY / "examples/guestbook"), "domains": ["guestbook.localhost"], "port": a_port()}
    manifest = {**given, **fields, "static": {"/static": "collected"}}
    site.save(site.manifests / "guestbook.yaml", yaml.safe_dump(manifest))
    site.live(proxy=proxy)
    site.await_settled("guestbook", within=180)
    eventually(lambda: site.status()["domains"][0]["state"] == "served", 60)
    with browser(trusted=(key_of(site.paths.proxy / "data/pki/authorities/local/intermediate.crt"),)) as driver:
        driver.get(f"https://guestbook.localhost:{proxy.front.https}/")
        driver.find_element("id", "id_name").send_keys("Ann")
        driver.find_element("id", "id_message").send_keys("over TLS")
        driver.find_element("css selector", "form button").click()
        eventually(lambda: "over TLS" in driver.find_element("css selector", "article").text)
        style = driver.find_element("css selector", "link[rel=stylesheet]").get_attribute("href")
        assert driver.execute_script("return document.styleSheets[0].cssRules.length") > 0
        asked = "const done = arguments[1]; fetch(arguments[0]).then((got) => done(got.headers.get('cache-control')))"
        assert driver.execute_async_script(asked, style) == "no-cache"  # and not what WhiteNoise says


def test_the_page_shows_the_domains_of_an_app_on_a_wide_and_on_a_narrow_screen(site: Site) -> None:
    port = a_port()
    (site.root / "token").write_text(f"{TOKEN}\n")
    long = f"{'a' * 60}.{'b' * 60}.localhost"
    proxy = started(site, f"api: {{address: '127.0.0.1:{port}', token: {{file: token}}}}\n", long)
    eventually(lambda: {each["state"] for each in site.status()["domains"]} == {"served"}, 60)
    for width in (1280, 390):
        with browser() as driver:
            resize(driver, width, 900)
            base = log_in(driver, port)
            driver.get(f"{base}/apps/hello")
            links = [each.get_attribute("href") for each in driver.find_elements("css selector", "#domains a")]
            assert links == [f"https://{name}:{proxy.front.https}/" for name in ("hello.localhost", long)]
            table = driver.find_element("id", "domains").text
            assert "served" in table
            assert "expires in" in table
            assert driver.execute_script(_WIDER) <= 0
            assert axe(driver) == []


def started(site: Site, more: str = "", *names: str) -> Proxy:
    """Start a daemon as a user does, with the sample `hello` at hello.localhost and these other names."""
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    settings = site.root / "host.yaml"
    settings.write_text(
        f"proxy: {{run: true, program: {newest_caddy()}, http: {front.http}, https: {front.https}, address: 127.0.0.1,"
        f" settle: 200ms}}\n{more}"
    )
    sample = REPOSITORY / "examples/hello"
    domains = json.dumps(["hello.localhost", *names])
    site.save(site.manifests / "hello.yaml", f"path: {sample}\nport: {a_port()}\ndomains: {domains}\n")
    site.start("--settings", str(settings))
    eventually(lambda: bool(site.status()["domains"]) and site.settled("hello"), 60)
    eventually(lambda: site.status()["domains"][0]["state"] == "served", 60)
    return Proxy(front=front, run=True)


def key_of(certificate: Path) -> str:
    """What Chromium identifies the key of a certificate by: of one that servers send, so not of the root."""
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(encoded).digest()).decode()
