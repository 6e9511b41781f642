"""Static files by the proxy itself: of both builds during a deploy, of a sleeping app, and nothing but those files."""

import http.client
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from reconciler.planning.routing.route import Front
from reconciler.settings.proxy import Proxy, ProxyFile
from tests.support.eventually import eventually
from tests.support.life import Cues
from tests.support.ports import a_port
from tests.support.proxies import ask, kept_proxy, needs_caddy
from tests.support.site import Site

pytestmark = pytest.mark.system

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
# What a release command makes may lead anywhere.
LINK = "ln -s /etc/hostname staticfiles/out; ln -s /etc media"
# Serves for as long as a file says so, and takes a second to stop: long enough to look at both builds.
APP = """
import pathlib, time

def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        while not pathlib.Path("{gate}").exists():
            time.sleep(0.02)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{version} {environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]
"""


def source(site: Site, version: str, **files: str) -> None:
    """Write a version of the app, whose build has these files and no other."""
    new = site.root / f"shop-{version}"
    static = new / "staticfiles"
    static.mkdir(parents=True)
    code = APP.replace("{version}", version).replace("{gate}", str(site.root / "gate"))
    (new / "wsgi.py").write_text(code)
    for name, text in files.items():
        (static / name.replace("_", ".")).write_text(text)
    (static / ".env").write_text("secret")
    current = site.root / "apps/shop"
    if current.exists():
        current.rename(site.root / f"before-{version}")
    new.rename(current)


@needs_caddy
def test_the_proxy_serves_files_of_both_builds_and_a_deploy_changes_nothing_of_it(site: Site) -> None:
    proxy = kept_proxy()
    port = proxy.front.http

    def get(path: str, **headers: str) -> tuple[int, str, dict[str, str]]:
        return ask(
            "shop.localhost", port, path, tls=False, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )

    source(site, "one", site_css="old", gone_css="gone", app_3f2a1b4c5d6e_js="kept")
    fields = {
        "domains": ["shop.localhost"],
        "tls": "off",
        "port": a_port(),
        "threads": 4,
        "probation": "0s",
        "release": LINK,
    }
    site.manifest("shop", **fields)
    site.live(proxy=proxy)
    eventually(lambda: get("/")[1] == "one GET /")
    assert get("/static/site.css")[1] == "one GET /static/site.css"
    revision = site.told("shop")["wanted_revision"]

    # A word in the manifest, and no new revision.
    site.manifest("shop", **fields, static={"/static": "staticfiles"})
    eventually(lambda: get("/static/site.css")[1] == "old")
    assert site.told("shop")["wanted_revision"] == revision
    _, _, headers = get("/static/site.css")
    assert (headers["content-type"], headers["cache-control"]) == ("text/css; charset=utf-8", "no-cache")
    assert get("/static/site.css", If_None_Match=headers["etag"])[:2] == (304, "")
    assert get("/static/app.3f2a1b4c5d6e.js")[2]["cache-control"] == "public, max-age=31536000, immutable"

    # Whatever is no file of the directory is the app's.
    paths = (
        "/static/",
        "/static",
        "/static/none",
        "/static/.env",
        "/static/out",
        "/site.css",
        "/static/%2e%2e/wsgi.py",
    )
    for path in (*paths, "/static/..%2fwsgi.py", "/static//.env", "/static/%2eenv"):
        status, body, headers = get(path)
        assert (status, body.startswith("one GET ")) == (200, True), (path, body)
        assert "cache-control" not in headers

    # Two builds: the old instance has a request under way.
    changes = configured(site)
    slow = subprocess.Popen(
        ["curl", "-sS", "-H", "Host: shop.localhost", f"http://127.0.0.1:{port}/slow"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        source(site, "two", site_css="new!")
        eventually(lambda: get("/")[1] == "two GET /")
        eventually(lambda: get("/static/site.css")[1] == "new!")
        assert get("/static/gone.css")[1] == "gone"
        (site.root / "gate").touch()
        assert slow.communicate(timeout=60)[0] == "one GET /slow"
    finally:
        slow.kill()
        slow.wait()
    eventually(lambda: get("/static/gone.css")[1] == "two GET /static/gone.css", 60)
    assert get("/static/site.css")[1] == "new!"
    assert configured(site) == changes

    # A directory that is not there, or leads out, is told of, and costs no other; without the field, nothing is left.
    site.manifest("shop", **fields, static={"/media": "nowhere", "/out": "media", "/files": "staticfiles"})
    eventually(lambda: get("/files/site.css")[1] == "new!")
    assert get("/static/site.css")[1] == "two GET /static/site.css"
    told = "its build has no directory nowhere; media leads out of the build"
    eventually(lambda: told in site.status()["domains"][0]["message"])
    site.manifest("shop", **fields)
    eventually(lambda: not (site.paths.proxy / "static/shop").exists())


def configured(site: Site) -> int:
    return sum(kind == "configured" for _, kind, _ in site.events())


@needs_caddy
@pytest.mark.nightly
def test_files_of_a_sleeping_app_are_served_and_do_not_wake_it_also_by_another_daemon(site: Site) -> None:
    proxy = kept_proxy()
    source(site, "one", site_css="css")
    site.manifest(
        "shop", domains=["shop.localhost"], tls="off", port=a_port(), start="lazy", idle_after="1s",
        static={"/static": "staticfiles"},
    )  # fmt: skip
    daemon = site.live(proxy=proxy)

    def get(path: str) -> str:
        return ask("shop.localhost", proxy.front.http, path, tls=False)[1]

    eventually(lambda: get("/") == "one GET /", 60)
    eventually(lambda: site.told("shop")["state"] == "sleeping", 60)
    assert get("/static/site.css") == "css"
    assert site.told("shop")["state"] == "sleeping"
    site.end(daemon)
    assert get("/static/site.css") == "css"
    (site.paths.proxy / "static/shop/.boot").write_text("as an earlier boot has left it")
    daemon = site.live(proxy=proxy)
    eventually(lambda: site.told("shop")["state"] == "sleeping", 60)
    eventually((site.paths.proxy / "static/shop/newest").exists)
    assert get("/static/site.css") == "css"
    assert site.told("shop")["state"] == "sleeping"


@needs_caddy
@pytest.mark.nightly
def test_files_of_both_builds_of_a_canary_stay_for_an_hour_after_it_whoever_is_killed(site: Site) -> None:
    proxy = kept_proxy()

    def get(path: str) -> str:
        return ask("shop.localhost", proxy.front.http, path, tls=False)[1]

    def tried(version: str) -> None:
        source(site, version, site_css=version, **{f"{version}_css": version})
        eventually(lambda: site.told("shop")["state"] == "canary", 60)
        eventually(lambda: get(f"/static/{version}.css") == version)

    def decided(command: str) -> None:
        assert site.cli(command, "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1 and site.told("shop")["state"] != "canary", 60)

    source(site, "one", site_css="one", one_css="one")
    site.manifest(
        "shop", domains=["shop.localhost"], tls="off", port=a_port(), probation="0s", stop_timeout="5s",
        static={"/static": "staticfiles"}, canary={"share": "50%", "for": "1h"},
    )  # fmt: skip
    daemon = site.live(proxy=proxy)
    eventually(lambda: get("/static/site.css") == "one", 60)
    site.await_settled("shop")
    changes = configured(site)
    tried("two")
    assert (get("/static/site.css"), get("/static/one.css")) == ("one", "one")
    decided("abort")
    assert [get(f"/static/{name}.css") for name in ("site", "one", "two")] == ["one", "one", "two"]
    site.end(daemon, signal.SIGKILL)
    site.live(Cues(constants={"reconciler.routing.static_files._KEPT_S": 4.0}), proxy=proxy)
    eventually(lambda: site.status()["daemon"]["running"] and get("/") == "one GET /")
    tried("three")
    assert [get(f"/static/{name}.css") for name in ("site", "one", "two", "three")] == ["one", "one", "two", "three"]
    os.kill(site.instances("shop")[0].pid or 0, signal.SIGKILL)  # the release before starts again; nothing goes
    eventually(lambda: get("/") == "one GET /" and len(site.instances("shop")) == 2, 60)
    assert [get(f"/static/{name}.css") for name in ("one", "two", "three")] == ["one", "two", "three"]
    decided("promote")
    eventually(lambda: get("/static/site.css") == "three", 60)
    assert get("/static/one.css") == "one"
    gone = [f"/static/{name}.css" for name in ("one", "two")]
    eventually(lambda: [get(path) for path in gone] == [f"three GET {path}" for path in gone], 60)
    assert get("/static/site.css") == "three"
    assert configured(site) == changes


@pytest.mark.nightly
@pytest.mark.skipif(NGINX is None, reason="no nginx is installed ('scripts/servers nginx' installs one)")
def test_nginx_serves_the_files_of_both_builds_from_a_directory_that_its_user_can_read(
    site: Site, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("nginx")
    for each in (directory, *directory.parents):  # as /srv is
        if each.stat().st_uid == os.geteuid() and not each.stat().st_mode & 0o001:
            each.chmod(each.stat().st_mode | 0o011)
    front = Front(http=a_port(), https=a_port(), address="127.0.0.1")
    nginx, ours, words = started_nginx(directory)
    try:
        source(site, "one", site_css="old", gone_css="gone", app_3f2a1b4c5d6e_js="kept")
        fields = {
            "domains": ["shop.example.com"],
            "tls": "off",
            "port": a_port(),
            "threads": 4,
            "probation": "0s",
            "release": LINK,
        }
        site.manifest("shop", **fields, static={"/static": "staticfiles", "/": "staticfiles"})
        file = ProxyFile(format="nginx", path=ours, check=(*words, "-t"), reload=(*words, "-s", "reload"))
        theirs = directory / "static/shop/index.html"
        theirs.parent.mkdir(parents=True)
        theirs.write_text("theirs")
        site.live(proxy=Proxy(front=front, file=file, settle_s=0.2, static=directory / "static"))

        def get(path: str) -> tuple[int, str, dict[str, str]]:
            return ask("shop.example.com", front.http, path, tls=False)

        eventually(lambda: get("/")[1] == "one GET /", 60)
        eventually(lambda: get("/static/site.css")[1] == "old", 60)
        assert get("/site.css")[1] == "old"
        assert get("/static/site.css")[2]["cache-control"] == "no-cache"
        assert get("/static/app.3f2a1b4c5d6e.js")[2]["cache-control"] == "public, max-age=31536000, immutable"
        for path in ("/static/none", "/static/.env", "/static/out", "/static/%2e%2e/wsgi.py", "/static//.env", "/.env"):
            status, body, headers = get(path)
            assert (status, body.startswith("one GET ")) == (200, True), (path, body)
            assert "cache-control" not in headers
        for method in ("POST", "PUT", "OPTIONS", "DELETE"):
            assert sent(front.http, method, "/static/site.css") == f"one {method} /static/site.css"
        before = ours.read_text()
        source(site, "two", site_css="new!")
        eventually(lambda: get("/static/site.css")[1] == "new!", 60)
        eventually(lambda: get("/static/gone.css")[1] == "two GET /static/gone.css", 60)
        assert ours.read_text() == before
        assert theirs.read_text() == "theirs"
    finally:
        nginx.terminate()
        nginx.wait(60)


def sent(port: int, method: str, path: str) -> str:
    """What is answered to a request with a body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, b"body", {"Host": "shop.example.com"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def started_nginx(directory: Path) -> tuple["subprocess.Popen[bytes]", Path, list[str]]:
    """An nginx that includes the file that is returned, and the words of its command."""
    ours = directory / "reconciler.conf"
    (directory / "nginx.conf").write_text(f"""
daemon off; pid {directory}/pid; error_log {directory}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/f;
    uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
    include {ours}*;
}}
""")
    words = [str(NGINX), "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")]
    nginx = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return nginx, ours, words
