"""Domains when something is wrong: a port that is taken, a certificate that ends, two claims, other users, kills."""

import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.notifications.targets.webhook import Webhook
from reconciler.routing.kept_caddy import kept_pid
from reconciler.settings.proxy import Proxy
from tests.fakes.post_office import webhook
from tests.support.certificates import write_certificate
from tests.support.eventually import eventually
from tests.support.proxies import CADDIES, ask, kept_proxy, needs_caddy, version
from tests.support.site import Site, get

pytestmark = [pytest.mark.system, pytest.mark.nightly, needs_caddy]

KILLS = 200
EACH_CADDY = pytest.mark.parametrize("program", CADDIES, ids=lambda program: ".".join(map(str, version(program))))
# As another user, from within the directory, so that nothing above it is what denies.
KNOCK = """
import socket, sys, os
os.chdir(sys.argv[1])
os.setgid(65534); os.setgroups([]); os.setuid(65534)
try:
    if sys.argv[2] == "key":
        open(sys.argv[2]).close()
    else:
        socket.socket(socket.AF_UNIX).connect(sys.argv[2])
    print("let in")
except PermissionError as error:
    print("denied")
"""


@pytest.fixture
def proxy() -> Proxy:
    return kept_proxy()


def domain(site: Site, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [each for each in site.status()["domains"] if each["name"] == name]
    assert found, f"{name} is not known"
    return found[0]


def test_a_port_that_another_program_has_is_told_and_the_app_serves_on_until_it_is_free(
    site: Site, proxy: Proxy
) -> None:
    port = site.app("shop", "here", domains=["shop.localhost"])
    with socket.create_server(("127.0.0.1", proxy.front.http)):
        site.live(proxy=proxy)
        eventually(lambda: "address already in use" in domain(site, "shop.localhost")["message"], 60)
        assert domain(site, "shop.localhost")["state"] == "unpublished"
        eventually(lambda: get(port) == "here", 60)
        checked = site.cli("domains", "--check", "shop.localhost")
        assert checked.returncode == 1
    eventually(lambda: ask("shop.localhost", proxy.front.https)[1] == "here", 60)
    eventually(lambda: domain(site, "shop.localhost")["state"] == "served", 60)


def test_a_certificate_that_ends_soon_or_has_ended_is_shown_and_told_until_it_is_renewed(
    site: Site, proxy: Proxy
) -> None:
    directory = site.root / "tls"
    directory.mkdir()
    chain, key = write_certificate(directory, "shop.localhost", days=20.0, age_days=70.0)
    tls = {"certificate": {"file": str(chain)}, "key": {"file": str(key)}}
    site.app("shop", domains=["shop.localhost"], tls=tls)
    with webhook() as hook:
        site.live(proxy=proxy, notifications=(Webhook(url=hook.url),), notify_delay_s=0.0, notify_every_s=0.0)

        def told() -> list[str]:
            items = [item for message in hook.taken for item in message["items"]]
            return [f"{item['state']} {item['message']}" for item in items if "shop.localhost" in item["message"]]

        eventually(lambda: domain(site, "shop.localhost")["state"] == "expiring", 60)
        assert "that expires in" in domain(site, "shop.localhost")["message"]
        assert "that expires in" in site.cli("status").stdout
        eventually(lambda: any(each.startswith("degraded") and "that expires in" in each for each in told()), 60)
        write_certificate(directory, "shop.localhost", days=-0.1, age_days=90.0)
        eventually(lambda: domain(site, "shop.localhost")["state"] == "expired", 90)
        write_certificate(directory, "shop.localhost", days=90.0)
        eventually(lambda: domain(site, "shop.localhost")["state"] == "served", 90)
        assert ask("shop.localhost", proxy.front.https)[0] == 200


@pytest.mark.parametrize("given_up", ["renamed", "removed", "stopped"])
@pytest.mark.parametrize("links", [False, True])
def test_who_serves_a_name_keeps_it_and_another_gets_it_without_a_failed_request_when_it_is_given_up(
    site: Site, proxy: Proxy, given_up: str, links: bool
) -> None:
    https = proxy.front.https
    site.source("first", "first")
    site.source("second", "second")
    site.manifest("first", domains=["shop.localhost"])
    site.manifest("second", domains=["second.localhost"])
    site.live(proxy=replace(proxy, links=links))
    eventually(lambda: ask("shop.localhost", https)[1] == "first", 60)
    eventually(lambda: site.settled("first", "second"), 60)
    with asking("shop.localhost", https) as seen:
        site.manifest("second", domains=["second.localhost", "shop.localhost"])
        eventually(lambda: any("is also claimed by 'first'" in each for each in site.refusals("second.yaml")))
        eventually(lambda: seen["first"] > 5, 60)
        if given_up == "removed":
            (site.manifests / "first.yaml").unlink()
        elif given_up == "renamed":
            site.manifest("first", domains=["first.localhost"])
        else:
            site.manifest("first", state="stopped")
        eventually(lambda: ask("shop.localhost", https)[1] == "second", 60)
        time.sleep(0.5)
    assert set(seen) == {"first", "second"}, seen


@pytest.mark.parametrize("links", [False, True])
@pytest.mark.parametrize("how", ["removed", "stopped", "without domains"])
def test_an_app_that_goes_is_withdrawn_from_the_proxy_before_it_is_stopped(
    site: Site, proxy: Proxy, how: str, links: bool
) -> None:
    https = proxy.front.https
    for name in ("shop", "other"):
        site.source(name, name)
        site.manifest(name, domains=[f"{name}.localhost"])
    site.live(proxy=replace(proxy, links=links, settle_s=2.0))
    eventually(lambda: ask("shop.localhost", https)[1] == "shop", 60)
    eventually(lambda: site.settled("shop", "other"), 60)
    with asking("shop.localhost", https) as seen:
        eventually(lambda: seen["shop"] > 5, 60)
        # Names have just changed: the next change has to wait, and the app with it.
        site.manifest("other", domains=["other.localhost", "more.localhost"])
        eventually(lambda: ask("more.localhost", https)[1] == "other", 60)
        if how == "removed":
            (site.manifests / "shop.yaml").unlink()
        elif how == "stopped":
            site.manifest("shop", domains=["shop.localhost"], state="stopped")
        else:
            site.manifest("shop")
        eventually(lambda: not serves("shop.localhost", https), 60)
        eventually(lambda: not site.paths.socket("shop").exists(), 60)
    assert seen["shop"] > 0
    assert not seen.keys() & {"502", "504"}, seen
    # The last one's proxy goes as well, and nobody waits for it.
    (site.manifests / "other.yaml").unlink()
    eventually(lambda: not site.paths.socket("other").exists(), 90)


@contextmanager
def asking(name: str, port: int) -> Iterator[Counter[str]]:
    """Requests one after the other, each on a connection of its own; counts bodies, statuses and errors.

    One whose connection ends before any answer is sent again, as browsers do: Caddy closes those on which a request
    arrives at the very moment of a change.
    """
    seen: Counter[str] = Counter()
    over = threading.Event()

    def client() -> None:
        while not over.wait(0.01):
            try:
                status, body, _ = asked_again(name, port)
                seen[body if status == 200 else str(status)] += 1
            except (OSError, ssl.SSLError, http.client.HTTPException) as error:
                seen[repr(error)] += 1

    threads = [threading.Thread(target=client) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


def asked_again(name: str, port: int) -> tuple[int, str, dict[str, str]]:
    for _ in range(4):
        with suppress(http.client.RemoteDisconnected, ConnectionResetError):
            return ask(name, port)
    return ask(name, port)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_reaches_neither_the_admin_socket_nor_the_key_nor_the_socket_of_an_app(
    site: Site, proxy: Proxy
) -> None:
    site.source("shop", "shop")
    site.manifest("shop", domains=["shop.localhost"])
    site.live(proxy=proxy)
    eventually(lambda: ask("shop.localhost", proxy.front.https)[0] == 200, 60)

    def met(directory: Path, name: str) -> str:
        words = [sys.executable, "-I", "-W", "ignore", "-c", KNOCK, str(directory), name]
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert [met(site.paths.proxy, name) for name in ("admin.sock", "key")] == ["denied"] * 2
    assert met(site.paths.socket("shop").parent, "shop.sock") == "denied"
    with tempfile.TemporaryDirectory() as made, socket.socket(socket.AF_UNIX) as open_to_all:
        open_to_all.bind(f"{made}/any.sock")
        open_to_all.listen()
        for place in (made, f"{made}/any.sock"):
            Path(place).chmod(0o777)
        assert met(Path(made), "any.sock") == "let in"
    assert site.paths.proxy.stat().st_mode & 0o077 == 0
    assert (site.paths.proxy / "key").stat().st_mode & 0o077 == 0


@EACH_CADDY
def test_no_kill_of_the_daemon_and_no_kill_of_the_proxy_leaves_a_name_half_published(site: Site, program: str) -> None:
    """Each life of the daemon is to serve the other of two names, and ends in the middle of that."""
    proxy = kept_proxy(program)
    https = proxy.front.https
    port = site.app("shop", "here", domains=["a.localhost"])
    daemon = site.live(proxy=proxy)
    eventually(lambda: ask("a.localhost", https)[1] == "here", 60)
    eventually(lambda: site.settled("shop"), 60)
    for number in range(KILLS):
        wanted, other = ("b", "a") if number % 2 == 0 else ("a", "b")
        site.manifest("shop", port=port, domains=[f"{wanted}.localhost"])
        time.sleep(0.013 * (number % 27))  # from before the file is noticed until after the proxy has answered
        site.end(daemon, signal.SIGKILL)
        if number % 4 == 3 and (pid := kept_pid(site.paths.proxy)) is not None:
            os.kill(pid, signal.SIGKILL)
        else:
            served = [name for name in ("a", "b") if serves(f"{name}.localhost", https)]
            assert len(served) == 1, served
        daemon = site.live(proxy=proxy)
        eventually(lambda wanted=wanted: ask(f"{wanted}.localhost", https)[1] == "here", 60)  # type: ignore[misc]
        assert not serves(f"{other}.localhost", https)


def serves(name: str, port: int) -> bool:
    try:
        return ask(name, port)[0] == 200
    except (OSError, ssl.SSLError, http.client.HTTPException):
        return False
