"""The guestbook goes from one server to the next by an edit of its service's manifest alone."""

import http.cookiejar
import re
import shutil
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest
import yaml

from tests.servers.mysql import mysql_server
from tests.servers.postgresql import postgresql_server
from tests.servers.redis import redis_server
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import REPOSITORY, Site, get

pytestmark = pytest.mark.network

SERVERS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "postgresql": postgresql_server,
    "mysql": mysql_server,
    "redis": redis_server,
}
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


def sign(port: int, message: str) -> None:
    """Fill in the form as a browser would."""
    url = f"http://127.0.0.1:{port}/"
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
    with browser.open(url, timeout=60) as page:
        found = _TOKEN.search(page.read().decode())
    assert found is not None
    form = {"csrfmiddlewaretoken": found[1], "name": "A guest", "message": message}
    with browser.open(url, urllib.parse.urlencode(form).encode(), timeout=60) as page:
        assert message in page.read().decode()


def test_the_guestbook_moves_by_an_edit_of_its_services_manifest(site: Site) -> None:
    shutil.copytree(REPOSITORY / "examples/guestbook", site.root / "examples/guestbook")
    port, manifest = a_port(), yaml.safe_load((REPOSITORY / "manifests/guestbook.yaml").read_text())
    site.save(site.manifests / "guestbook.yaml", yaml.safe_dump({**manifest, "port": port, "probation": "0s"}))
    written = (REPOSITORY / "manifests/guestbook-db.yaml").read_text()
    site.save(site.manifests / "guestbook-db.yaml", written)
    with ExitStack() as stack:
        servers = {}
        for of_type, start in SERVERS.items():
            server, password = stack.enter_context(start()).server, site.root / f"{of_type}-password"
            password.write_text(server.password.reveal())
            servers[of_type] = {
                "type": of_type, "host": server.host, "port": server.port, "password": {"file": str(password)},
                **({"user": server.user} if server.user else {}), **server.options,
            }  # fmt: skip
        settings = site.root / "host.yaml"
        settings.write_text(yaml.safe_dump({"services": {"servers": servers}}))
        site.start("--settings", str(settings))
        site.await_settled("guestbook", within=180)
        sign(port, "kept by sqlite")
        for of_type in SERVERS:
            before = site.pid("guestbook")
            site.save(site.manifests / "guestbook-db.yaml", written.replace("type: sqlite", f"type: {of_type}"))
            eventually(lambda before=before: site.pid("guestbook") != before and site.settled("guestbook"), 60)  # type: ignore[misc]
            assert "kept by" not in get(port)
            sign(port, f"kept by {of_type}")
            assert f"kept by {of_type}" in get(port)
        site.save(site.manifests / "guestbook-db.yaml", written)
        before = site.pid("guestbook")
        eventually(lambda: site.pid("guestbook") != before and "kept by sqlite" in get(port), 60)
        site.end(site.daemons[-1])
        for instance in site.instances():
            assert instance.pid
