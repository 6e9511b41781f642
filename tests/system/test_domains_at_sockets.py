"""Apps behind the proxy at unix sockets: no port is theirs, and no client notices what is replaced, killed or moved."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.linux.unix_sockets import connected as connected_to
from reconciler.routing.kept_caddy import kept_pid
from reconciler.serving.keeper import dismiss
from reconciler.settings.proxy import Proxy
from tests.support.asgi import LIFESPAN
from tests.support.eventually import eventually
from tests.support.proxies import ask, kept_proxy, needs_caddy
from tests.support.site import WSGI, Site, is_refused
from tests.system.test_domains import WHOSE
from tests.system.test_domains_under_load import load

pytestmark = [pytest.mark.system, needs_caddy]

ASGI = (
    LIFESPAN
    + """\
    said = f"{(scope['client'] or ('-',))[0]} {scope['scheme']}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": said.encode()})
"""
)

SHUTS = """\
import os
import socket


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] != "/shut":
        return [b"open"]
    for number in map(int, os.listdir("/proc/self/fd")):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:
            continue
        with found:
            if found.family == socket.AF_UNIX and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                found.shutdown(socket.SHUT_RDWR)
    return [b"shut"]
"""

REQUEST = b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n"


@pytest.fixture
def proxy() -> Proxy:
    return kept_proxy()


def answers(name: str, port: int, body: str, path: str = "/") -> bool:
    assert ask(name, port, path)[:2] == (200, body)
    return True


def asked_at(path: Path, request: bytes) -> bytes:
    """What an app answers at its socket, to a client that has no proxy before it."""
    with connected_to(path, socket.SOCK_STREAM, 10) as line:
        line.sendall(request)
        answer = b""
        while part := line.recv(65536):
            answer += part
    return answer


def asked_at_port(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 60) as line:
        line.sendall(REQUEST)
        answer = b""
        while part := line.recv(65536):
            answer += part
    return answer


def test_an_app_with_a_domain_has_a_socket_of_its_own_and_survives_all_that_is_killed(site: Site, proxy: Proxy) -> None:
    https, place = proxy.front.https, site.paths.socket("shop")
    site.source("shop", "one")
    site.manifest("shop", domains=["shop.localhost"], workers=2, probation="0s")
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "one"))
    assert (place.stat().st_mode & 0o777, place.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    environ = json.loads(ask("shop.localhost", https, "/env")[1])
    assert not environ.keys() & {"PORT", "CF_INSTANCE_PORT", "CF_INSTANCE_ADDR", "VCAP_APP_PORT", "VCAP_APP_HOST"}
    assert json.loads(environ["VCAP_APPLICATION"])["uris"] == ["shop.localhost"]
    told = site.told("shop")
    assert (told["url"], told["port"]) == (f"https://shop.localhost:{https}/", None)

    # A daemon that is killed leaves it serving, and the next one finds it where it is.
    pid = site.pid("shop")
    site.end(daemon, signal.SIGKILL)
    assert answers("shop.localhost", https, "one")
    daemon = site.live(proxy=proxy)
    site.await_settled("shop")
    assert site.pid("shop") == pid

    # The keeper alone has it while neither a daemon nor an instance does: who connects then is served later.
    site.end(daemon, signal.SIGKILL)
    os.killpg(pid, signal.SIGKILL)
    with connected_to(place, socket.SOCK_STREAM, 30) as early:
        early.sendall(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n")
        daemon = site.live(proxy=proxy)
        answer = b""
        while part := early.recv(65536):
            answer += part
    assert b"one" in answer

    # What removes the file is made good by an instance at a new one, also after everything that had it is gone.
    site.await_settled("shop")
    site.end(daemon, signal.SIGKILL)
    dismiss(site.paths.keeper)
    place.unlink()
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "one"))
    site.await_settled("shop")

    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: not place.exists())


@pytest.mark.parametrize(("kind", "module"), [("wsgi", WHOSE), ("asgi", ASGI)])
def test_at_a_socket_the_client_is_the_one_that_the_proxy_has_seen(
    site: Site, proxy: Proxy, kind: str, module: str
) -> None:
    site.source("shop").joinpath("wsgi.py").unlink()
    site.save(site.root / f"apps/shop/{kind}.py", module.replace("async def app", "async def application"))
    site.manifest("shop", entrypoint=f"{kind}:application", domains=["shop.localhost"], tls="internal")
    site.live(proxy=proxy)
    more = " 127.0.0.1" if kind == "wsgi" else ""
    eventually(lambda: answers("shop.localhost", proxy.front.https, f"127.0.0.1 https{more}"))
    forged = {"X-Forwarded-For": "6.6.6.6", "X-Reconciler-Client": "0 6.6.6.6", "X-Forwarded-Proto": "http"}
    assert ask("shop.localhost", proxy.front.https, headers=forged)[1] == f"127.0.0.1 https{more}"
    # A program of the same user that goes round the proxy is believed nothing.
    lines = "".join(f"{name}: {value}\r\n" for name, value in forged.items())
    said = asked_at(
        site.paths.socket("shop"), f"GET / HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n".encode()
    )
    assert b"6.6.6.6" not in said
    assert b"127.0.0.1 http -" in said if kind == "wsgi" else b"- http" in said


def in_a_row(site: Site, https: int, *, first: int, last: int) -> None:
    for number in range(first, last):
        site.source("shop", str(number))
        eventually(lambda number=number: answers("shop.localhost", https, str(number)), 60)  # type: ignore[misc]


@pytest.mark.nightly
@pytest.mark.parametrize("of", ["wsgi", "command"])
def test_fifty_deploys_at_a_socket_fail_no_request(site: Site, proxy: Proxy, of: str) -> None:
    https = proxy.front.https
    site.source("shop", "0")
    command = {} if of == "wsgi" else {"command": "gunicorn --workers 2 --bind unix:$SOCKET wsgi"}
    if command:
        site.save(site.root / "apps/shop/requirements.txt", "gunicorn\n")
    site.manifest("shop", domains=["shop.localhost"], workers=2, **command) if not command else site.manifest(
        "shop", domains=["shop.localhost"], **command
    )
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "0"), 90)
    with load("shop.localhost", https) as seen:
        in_a_row(site, https, first=1, last=51 if of == "wsgi" else 6)
    assert set(seen) == {"200"}, seen


@pytest.mark.nightly
def test_masters_daemons_and_keepers_that_are_killed_cost_what_they_were_at_work_on_only(
    site: Site, proxy: Proxy
) -> None:
    https = proxy.front.https
    site.source("shop", "one")
    site.manifest("shop", domains=["shop.localhost"], workers=2, probation="0s", patience="20s")
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "one"), 60)
    site.await_settled("shop")

    def killed_daemon() -> None:
        nonlocal daemon
        site.end(daemon, signal.SIGKILL)
        daemon = site.live(proxy=proxy)

    def killed_keeper() -> None:
        dismiss(site.paths.keeper)

    def killed_master() -> None:
        os.kill(site.pid("shop"), signal.SIGKILL)

    kills: tuple[Callable[[], None], ...] = (killed_daemon, killed_keeper, killed_master, killed_daemon)
    with load("shop.localhost", https) as seen:
        for kill in kills:
            kill()
            eventually(lambda: answers("shop.localhost", https, "one"), 60)
            site.await_settled("shop")
            time.sleep(0.5)
    # Its workers end with a master: each may have had a request in hand.
    assert seen["200"] > 100, seen
    assert sum(seen.values()) - seen["200"] <= 2, seen


@pytest.mark.nightly
def test_an_app_passes_from_its_port_to_a_socket_without_a_failed_request(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop", "0")
    site.manifest("shop", workers=2, probation="0s")
    daemon = site.live()
    site.await_settled("shop")
    port, pid = site.told("shop")["port"], site.pid("shop")
    site.end(daemon)

    # A host that gets a proxy, or a newer daemon: what serves at its port goes on there.
    site.manifest("shop", workers=2, probation="0s", domains=["shop.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "0"), 60)
    site.await_settled("shop")
    assert site.pid("shop") == pid
    assert not site.paths.socket("shop").exists()

    # When it is told another address, Caddy closes connections that are idle or in their handshake, and no other.
    with load("shop.localhost", https, kept=False) as seen:
        in_a_row(site, https, first=1, last=2)
        site.await_settled("shop")
        eventually(lambda: is_refused(port), 30)
        assert site.paths.socket("shop").exists()
        site.await_settled("shop")
        assert answers("shop.localhost", https, "1")
    assert {status for status in seen if status.isdecimal()} == {"200"}, seen


@pytest.mark.nightly
def test_a_daemon_that_is_killed_while_an_app_passes_to_a_socket_leaves_its_port_served(
    site: Site, proxy: Proxy
) -> None:
    site.source("shop", "0")
    site.manifest("shop", probation="0s")
    daemon = site.live()
    site.await_settled("shop")
    port = site.told("shop")["port"]
    site.end(daemon)
    site.manifest("shop", probation="0s", domains=["shop.localhost"])
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", proxy.front.https, "0"), 60)
    caddy = kept_pid(site.paths.proxy)
    assert caddy is not None
    os.kill(caddy, signal.SIGSTOP)  # it cannot be told of the socket, nor asked what it dials
    try:
        site.source("shop", "1")
        eventually(lambda: b"\r\n1\r\n" in asked_at(site.paths.socket("shop"), REQUEST), 60)
        # Not before the instance at the port is gone: who is asked there then is asked through the daemon.
        eventually(lambda: len(site.instances("shop")) == 1, 60)
        assert b"\r\n1\r\n" in asked_at_port(port)
        site.end(daemon, signal.SIGKILL)
        site.live(proxy=proxy)
        assert b"\r\n1\r\n" in asked_at_port(port)
    finally:
        os.kill(caddy, signal.SIGCONT)
    eventually(lambda: answers("shop.localhost", proxy.front.https, "1"), 60)
    eventually(lambda: is_refused(port), 60)


@pytest.mark.nightly
def test_one_that_falls_asleep_while_it_passes_to_a_socket_is_woken_at_its_port_by_the_next_daemon(
    site: Site, proxy: Proxy
) -> None:
    lazy = {"start": "lazy", "idle_after": "1s", "probation": "0s"}
    site.source("shop", "0")
    site.manifest("shop", **lazy)
    daemon = site.live()
    eventually(lambda: site.told("shop")["state"] == "sleeping", 60)
    port = site.told("shop")["port"]
    assert b"\r\n0\r\n" in asked_at_port(port)
    site.end(daemon)
    site.manifest("shop", domains=["shop.localhost"], **lazy)
    daemon = site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", proxy.front.https, "0"), 60)
    caddy = kept_pid(site.paths.proxy)
    assert caddy is not None
    os.kill(caddy, signal.SIGSTOP)  # it cannot be told of the socket, nor asked what it dials
    try:
        site.source("shop", "1")
        eventually(lambda: b"\r\n1\r\n" in asked_at(site.paths.socket("shop"), REQUEST), 60)
        for _ in range(2):
            eventually(lambda: site.told("shop")["state"] == "sleeping" and not site.instances("shop"), 60)
            assert b"\r\n1\r\n" in asked_at_port(port)
            eventually(lambda: site.told("shop")["state"] == "sleeping" and not site.instances("shop"), 60)
            site.end(daemon, signal.SIGKILL)
            daemon = site.live(proxy=proxy)
    finally:
        os.kill(caddy, signal.SIGCONT)
    eventually(lambda: answers("shop.localhost", proxy.front.https, "1"), 60)
    eventually(lambda: is_refused(port), 60)


@pytest.mark.nightly
def test_one_that_sleeps_at_a_socket_is_woken_through_tls(site: Site, proxy: Proxy) -> None:
    site.source("lazy", "awake")
    site.manifest("lazy", domains=["lazy.localhost"], start="lazy", idle_after="1s")
    daemon = site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: any(each["state"] == "served" for each in site.status()["domains"]), 60)
    for round_ in range(3):
        eventually(lambda: site.told("lazy")["state"] == "sleeping", 60)
        if round_ == 1:  # asleep over a change of daemons: the keeper has the socket
            site.end(daemon, signal.SIGKILL)
            site.live(proxy=proxy)
            eventually(lambda: site.told("lazy")["state"] == "sleeping", 60)
        assert answers("lazy.localhost", https, "awake")


@pytest.mark.nightly
def test_an_app_that_cannot_start_is_answered_for_at_its_socket(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop", "one")
    site.save(site.root / "apps/shop/wsgi.py", "raise RuntimeError('no')\n")
    site.manifest("shop", domains=["shop.localhost"], patience="1s")
    site.live(proxy=proxy)
    eventually(lambda: ask("shop.localhost", https)[0] == 503, 60)
    site.save(site.root / "apps/shop/wsgi.py", WSGI.replace("{version}", "mended"))
    eventually(lambda: answers("shop.localhost", https, "mended"), 60)


def test_an_app_that_shuts_its_socket_down_is_served_at_a_new_one_by_another_instance(site: Site, proxy: Proxy) -> None:
    https = proxy.front.https
    site.source("shop")
    site.save(site.root / "apps/shop/wsgi.py", SHUTS)
    site.manifest("shop", domains=["shop.localhost"], probation="0s")
    site.live(proxy=proxy)
    eventually(lambda: answers("shop.localhost", https, "open"))
    site.await_settled("shop")
    pid = site.pid("shop")
    assert answers("shop.localhost", https, "shut", "/shut")
    eventually(lambda: answers("shop.localhost", https, "open"))
    site.await_settled("shop")
    assert site.pid("shop") != pid
    told = [text for _, kind, text in site.events("shop") if kind == "listening"]
    assert f"opening unix:{site.paths.socket('shop')} again" in told
