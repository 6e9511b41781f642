"""`run --page` and `page`: the page without a setting, and a link that logs one browser in, once."""

import json
import re
import signal
from urllib.parse import urlsplit

from reconciler.linux.process_table import listening_sockets, sockets_of
from tests.support.eventually import eventually
from tests.support.site import Site
from tests.support.web import fetch, logged_in


def addresses(pid: int) -> list[tuple[str, int]]:
    own = set(sockets_of(pid).values())
    return [(each.host, each.port) for each in listening_sockets(pid) if each.inode in own]


def linked(site: Site) -> tuple[int, str]:
    """The port and the path of a new link."""
    told = site.cli("page", "--json")
    assert told.returncode == 0, told.stderr
    link = json.loads(told.stdout)
    assert link["expires_in_s"] == 300
    parts = urlsplit(link["url"])
    assert (parts.scheme, parts.hostname) == ("http", "127.0.0.1")
    assert parts.port is not None
    return parts.port, parts.path


def test_a_page_that_is_asked_for_is_on_this_host_alone_and_a_link_logs_in_once(site: Site) -> None:
    served = site.app("blog")
    daemon = site.execute("--page")
    site.await_settled("blog")
    eventually(lambda: "Ctrl-C leaves it running; page: http://127.0.0.1:" in site.console.read_text())
    port, path = linked(site)
    assert sorted(addresses(daemon.pid)) == sorted([("127.0.0.1", served), ("127.0.0.1", port)])

    shown = fetch(port, path)
    assert shown.status == 200
    assert '<meta name="referrer" content="strict-origin">' in shown.body
    assert fetch(port, path).status == 200, "a browser that loads ahead uses nothing up"
    opened = logged_in(port, path)
    assert (opened.status, "HttpOnly" in opened.headers["set-cookie"]) == (303, True)
    base, cookie = opened.headers["location"], opened.headers["set-cookie"].partition(";")[0]
    page = fetch(port, f"{base}apps/blog", headers={"Cookie": cookie})
    assert page.status == 200
    assert "Restart" in page.body, "its own page may act"
    again = logged_in(port, path)
    assert (again.status, "used before" in again.body) == (403, True)

    secret = path.rpartition("/")[2]
    left = [file for file in site.state.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]
    assert left == []
    assert secret not in site.console.read_text()
    assert site.paths.page_token.stat().st_mode & 0o777 == 0o600

    site.end(daemon, signal.SIGKILL)
    assert site.cli("page").returncode == 3
    site.start("--page")
    eventually(lambda: site.cli("page").returncode == 0)
    assert linked(site)[0] == port, "bookmarks stay good"
    assert fetch(port, f"{base}apps/blog", headers={"Cookie": cookie}).status == 200


def test_without_being_asked_for_there_is_no_address_and_page_says_what_to_do(site: Site) -> None:
    site.app("blog")
    daemon = site.start()
    site.await_settled("blog")
    told = site.cli("page")
    assert (told.returncode, told.stdout) == (1, "")
    assert re.search("reconciler run --page.*api.address.*ssh", told.stderr)
    assert len(addresses(daemon.pid)) == 1, "the app's"
