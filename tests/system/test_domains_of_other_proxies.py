"""Domains through a proxy that others keep: the host's Caddy, in which they have sites as well, and nginx by a file."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy, ProxyFile
from tests.support.certificates import write_certificate
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.proxies import CADDIES, ask, needs_caddy, version
from tests.support.site import Site, get

pytestmark = pytest.mark.system

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def answers(name: str, port: int, body: str) -> bool:
    assert ask(name, port)[:2] == (200, body)
    return True


class HostCaddy:
    """A Caddy with a site of the operator's, as a service of the distribution runs one."""

    def __init__(self, directory: Path, program: str, *words: str) -> None:
        self.directory, self.program = directory, program
        self.words = words
        self.http, self.https = a_port(), a_port()
        self.admin = directory / "admin.sock"
        self.own: dict[str, Any] = {
            "admin": {"listen": "unix/admin.sock", "config": {"persist": "--resume" in words}},
            "apps": {
                "http": {
                    "http_port": self.http,
                    "https_port": self.https,
                    "servers": {
                        "srv0": {
                            "listen": [f"127.0.0.1:{self.https}"],
                            "automatic_https": {"disable_redirects": True},
                            "routes": [
                                {
                                    "@id": "mine",
                                    "match": [{"host": ["own.localhost"]}],
                                    "handle": [{"handler": "static_response", "body": "own"}],
                                }
                            ],
                        }
                    },
                },
                "tls": {
                    "automation": {"policies": [{"subjects": ["own.localhost"], "issuers": [{"module": "internal"}]}]}
                },
                "pki": {"certificate_authorities": {"local": {"install_trust": False}}},
            },
        }
        self.process = self.started()

    def started(self) -> "subprocess.Popen[bytes]":
        (self.directory / "caddy.json").write_text(json.dumps(self.own))
        env = {name: str(self.directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self.program, "run", "--config", "caddy.json", *self.words],
                cwd=self.directory, env={**os.environ, **env}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip

    def asked(self, method: str = "GET", body: bytes = b"") -> bytes:
        """The answer of the admin API about the whole configuration."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(20)
            here = Path.cwd()
            os.chdir(self.directory)
            try:
                line.connect("admin.sock")
            finally:
                os.chdir(here)
            path = "/load" if method == "POST" else "/config/"
            head = f"{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            line.sendall(head.encode() + body)
            answer = b"".join(iter(lambda: line.recv(65536), b""))
        return answer.partition(b"\r\n\r\n")[2]

    def end(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)


@pytest.fixture(params=CADDIES, ids=lambda program: ".".join(map(str, version(program))))
def program(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def caddy(tmp_path_factory: pytest.TempPathFactory, program: str) -> Iterator[HostCaddy]:
    found = HostCaddy(tmp_path_factory.mktemp("caddy"), program)
    try:
        yield found
    finally:
        found.end(signal.SIGKILL)


@needs_caddy
def test_the_hosts_caddy_gets_our_routes_and_keeps_its_own_whatever_is_loaded_over_them(
    site: Site, caddy: HostCaddy
) -> None:
    front = Front(http=caddy.http, https=caddy.https, address="127.0.0.1")
    eventually(lambda: answers("own.localhost", caddy.https, "own"))
    before = caddy.asked()
    site.app("shop", "shop", domains=["shop.localhost"])
    site.live(proxy=Proxy(front=front, admin=caddy.admin, settle_s=0.2))
    eventually(lambda: answers("shop.localhost", caddy.https, "shop"))
    assert answers("own.localhost", caddy.https, "own")
    assert site.cli("proxy", "--diff").returncode == 0

    # Somebody loads a Caddyfile over ours; or restarts the proxy without what it had.
    caddy.asked("POST", json.dumps(caddy.own).encode())
    eventually(lambda: answers("shop.localhost", caddy.https, "shop"))
    caddy.end(signal.SIGKILL)
    caddy.process = caddy.started()
    eventually(lambda: answers("shop.localhost", caddy.https, "shop"))

    # When the last name goes, what is left is theirs, to the byte.
    manifest = (site.manifests / "shop.yaml").read_bytes()
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: caddy.asked() == before)

    # A site that the operator adds beside ours stays, whatever becomes of ours.
    site.save(site.manifests / "shop.yaml", manifest)
    eventually(lambda: answers("shop.localhost", caddy.https, "shop"))
    added = {"match": [{"host": ["added.localhost"]}], "handle": [{"handler": "static_response", "body": "added"}]}
    for config in (both := json.loads(caddy.asked()), caddy.own):
        config["apps"]["http"]["servers"]["srv0"]["routes"].append(added)
    caddy.asked("POST", json.dumps(both).encode())
    eventually(lambda: answers("added.localhost", caddy.https, "added"))
    site.manifest("shop", domains=["shop.localhost", "more.localhost"], port=site.told("shop")["port"])
    eventually(lambda: answers("more.localhost", caddy.https, "shop"))
    assert answers("added.localhost", caddy.https, "added")
    (site.manifests / "shop.yaml").unlink()
    eventually(lambda: json.loads(caddy.asked()) == caddy.own)
    left = caddy.asked()
    caddy.asked("POST", json.dumps(caddy.own).encode())
    assert caddy.asked() == left


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A directory of sockets that the workers of nginx may enter, whoever they run as."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        if os.geteuid() == 0:
            os.chown(directory, -1, pwd.getpwnam("nobody").pw_gid)
        directory.chmod(0o2750)
        yield directory


@needs_caddy
@pytest.mark.nightly
def test_a_caddy_that_resumes_has_all_names_again_while_no_daemon_runs(
    site: Site, tmp_path_factory: pytest.TempPathFactory, program: str
) -> None:
    caddy = HostCaddy(tmp_path_factory.mktemp("caddy"), program, "--resume")
    try:
        front = Front(http=caddy.http, https=caddy.https, address="127.0.0.1")
        eventually(lambda: answers("own.localhost", caddy.https, "own"))
        site.app("shop", "shop", domains=["shop.localhost"])
        daemon = site.live(proxy=Proxy(front=front, admin=caddy.admin, settle_s=0.2))
        eventually(lambda: answers("shop.localhost", caddy.https, "shop"))
        site.end(daemon, signal.SIGKILL)
        caddy.end(signal.SIGKILL)
        caddy.process = caddy.started()
        eventually(lambda: answers("shop.localhost", caddy.https, "shop"))
        assert answers("own.localhost", caddy.https, "own")
    finally:
        caddy.end(signal.SIGKILL)


@pytest.mark.skipif(NGINX is None, reason="no nginx is installed ('scripts/servers nginx' installs one)")
def test_nginx_is_told_by_a_file_that_is_checked_and_a_refused_one_is_taken_away_again(
    site: Site, tmp_path_factory: pytest.TempPathFactory, sockets: Path
) -> None:
    directory = tmp_path_factory.mktemp("nginx")
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    ours, other = directory / "reconciler.conf", directory / "other.conf"
    (directory / "nginx.conf").write_text(f"""
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    include {directory}/*.conf.d; include {ours}*; include {other}*;
}}
""")
    words = [str(NGINX), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    nginx = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        chain, key = write_certificate(directory, "shop.example.com")
        site.source("shop", "shop")
        site.manifest(
            "shop", domains=["shop.example.com"], redirects=["www.shop.example.com"], hsts="1d",
            tls={"certificate": {"file": str(chain)}, "key": {"file": str(key)}},
        )  # fmt: skip
        site.app("api", "api", domains=["shop.example.com"], below="/api", strip=True, hsts="1d",
                 tls={"certificate": {"file": str(chain)}, "key": {"file": str(key)}})  # fmt: skip
        file = ProxyFile(format="nginx", path=ours, check=(*words, "-t"), reload=(*words, "-s", "reload"))
        site.live(proxy=Proxy(front=front, file=file, settle_s=0.2, sockets=sockets))
        site.await_settled("shop", "api")
        eventually(lambda: answers("shop.example.com", front.https, "shop"))
        # Both at sockets, which the proxy's group may open and nobody else; one of them at its port, too.
        found = (sockets / "shop.sock").stat()
        assert (found.st_mode & 0o777, found.st_gid) == (0o660, sockets.stat().st_gid)
        assert f"unix:{sockets}/shop.sock" in ours.read_text()
        assert f"unix:{sockets}/api.sock" in ours.read_text()
        assert get(site.told("api")["port"]) == "api"
        assert ask("shop.example.com", front.https, "/api/x")[1] == "api"
        assert ask("shop.example.com", front.https)[2]["strict-transport-security"] == "max-age=86400"
        status, _, headers = ask("www.shop.example.com", front.http, "/a?b", tls=False)
        assert (status, headers["location"]) == (308, f"https://shop.example.com:{front.https}/a?b")
        eventually(lambda: site.status()["domains"][0]["state"] == "served")

        # A mistake of somebody else's keeps ours from being reloaded, and what serves goes on.
        other.write_text("nonsense;\n")
        before = ours.read_text()
        site.manifest("api", domains=["api.example.com"], tls="off", port=site.told("api")["port"])
        eventually(lambda: any("nonsense" in text for _, kind, text in site.events() if kind == "failed"))
        assert ours.read_text() == before
        assert answers("shop.example.com", front.https, "shop")
        other.unlink()
        eventually(lambda: ask("api.example.com", front.http, tls=False)[1] == "api")
    finally:
        nginx.terminate()
        nginx.wait(20)
