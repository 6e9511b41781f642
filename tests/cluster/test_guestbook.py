"""The guestbook, a site of Django with PostgreSQL, from its manifest to an answered request, by `place:` alone."""

import http.client
import re
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import yaml

from reconciler.services.records import ServiceRecords
from reconciler.state.schema import open_database
from reconciler.vault.vault import Vault
from tests.cluster.grounds import MINOR, Place
from tests.servers.postgresql import PostgresqlServer, postgresql_server
from tests.support.eventually import eventually
from tests.support.site import REPOSITORY
from tests.tools.relay import relayed

pytestmark = pytest.mark.network

_EDITS = 20
_TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


@pytest.fixture
def database(place: Place) -> Iterator[PostgresqlServer]:
    """A server that pods reach at another address than this host, as most do."""
    with postgresql_server() as server:
        address = place.grounds.address
        at, pods = server.port, str(place.grounds.network or "self")
        with relayed((pods, address, at), ("self", "127.0.0.1", at), place.site.root / "relay.log"):
            password = place.site.root / "password"
            password.write_text(server.password)
            place.settings["services"] = {
                "servers": {
                    "main": {
                        "type": "postgresql",
                        "host": "127.0.0.1",
                        "port": at,
                        "user": "admin",
                        "password": {"file": str(password)},
                        "app_host": address,
                    }
                }
            }
            yield server


def guestbook(place: Place, **fields: Any) -> None:
    """Write the sample, with all that a site has besides: a worker, a schedule and a domain."""
    site = place.site
    if not (site.root / "examples").exists():
        shutil.copytree(REPOSITORY / "examples/guestbook", site.root / "examples/guestbook")
    (site.root / "key").write_text("a key of the test")
    site.save(site.manifests / "db.yaml", yaml.safe_dump({"kind": "service", "name": "db", "type": "postgresql"}))
    manifest = {
        "path": "../examples/guestbook",
        "place": "prod",
        "runtime": f"python{MINOR}",
        "threads": 4,
        "services": ["db"],
        "env": {"SECRET_KEY": {"file": "../key"}, "ALLOWED_HOSTS": "*"},
        "build": "python manage.py collectstatic --noinput",
        "release": "python manage.py migrate --noinput",
        "processes": {"worker": {"command": "python -c 'import time; print(\"works\", flush=True); time.sleep(1e6)'"}},
        "schedules": {"sweep": {"command": "python manage.py check", "at": "* * * * *"}},
        "domains": ["guests.example.com"],
        "health": {"path": "/", "host": "localhost"},
        "probation": "0s",
        **fields,
    }
    site.save(site.manifests / "guestbook.yaml", yaml.safe_dump(manifest))


def users(place: Place) -> list[str]:
    """The users of the database that the app was given, and that were not taken back."""
    paths = place.site.paths
    with closing(open_database(paths.database, read_only=True)) as database:
        services = ServiceRecords(database, Vault(database, place.site.state / "key")).services()
        return [grant.user for record in services for grant in record.grants]


def asked(place: Place, method: str, path: str, body: str = "", cookie: str = "") -> tuple[int, str, str]:
    """Ask the site at its Service, as a browser does at its domain; return status, content and cookie."""
    headers = {"Host": "localhost", "Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
    address = place.service("guestbook")
    with place.grounds.inside():
        connection = http.client.HTTPConnection(address, 80, timeout=20)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
    connection.close()
    return answer.status, text, (answer.getheader("Set-Cookie") or "").partition(";")[0]


def signs(place: Place, message: str) -> None:
    """Fill in the form."""
    status, page, cookie = asked(place, "GET", "/")
    token = _TOKEN.search(page)
    assert token is not None, (status, page)
    form = urllib.parse.urlencode({"csrfmiddlewaretoken": token[1], "name": "A guest", "message": message})
    assert asked(place, "POST", "/", form, cookie)[0] == 302
    assert message in asked(place, "GET", "/")[1]


def test_the_guestbook_is_served_by_its_place_alone(place: Place, database: PostgresqlServer) -> None:
    guestbook(place)
    place.site.start(*place.options(route={"ingress_class": "public"}))
    place.until("running", "guestbook", 420)
    place.answer("guestbook")
    signs(place, "from a pod")
    status, style, _ = asked(place, "GET", "/static/entries/style.css")
    assert (status, "{" in style) == (200, True)  # what `build` has collected is in the image

    # What else the manifest asks for is there: the release has run once, the worker runs, the schedule has run.
    jobs = place.kube.ask("GET", place.path("jobs", group="apis/batch/v1"))["items"]
    releases = [each for each in jobs if each["metadata"]["labels"].get("reconciler.dev/part") == "release"]
    assert [each["status"]["succeeded"] for each in releases] == [1]
    (worker,) = [pod for pod in place.pods("guestbook") if "process.worker" in pod["metadata"]["labels"].values()]
    log = f"{place.path('pods', worker['metadata']['name'])}/log"
    eventually(lambda: place.kube.ask("GET", log) == "works\n", 60)
    (ingress,) = place.kube.ask("GET", place.path("ingresses", group="apis/networking.k8s.io/v1"))["items"]
    assert [rule["host"] for rule in ingress["spec"]["rules"]] == ["guests.example.com"]

    def has_swept() -> bool:
        found = place.kube.ask("GET", place.path("jobs", group="apis/batch/v1"))["items"]
        swept = [job for job in found if job["metadata"]["labels"].get("reconciler.dev/part") == "schedule.sweep"]
        return any(job["status"].get("succeeded") for job in swept)

    eventually(has_swept, 240)

    # Edits under load, each as soon as the one before is applied: each is released, and no request is lost.
    template = place.site.root / "examples/guestbook/entries/templates/entries/base.html"
    page = template.read_text()
    with place.under_load("guestbook") as load:
        for number in range(_EDITS):
            before = place.deployment("guestbook")["metadata"]["generation"]
            place.site.save(template, page.replace("</body>", f"<!-- edit {number} --></body>"))
            eventually(lambda before=before: place.deployment("guestbook")["metadata"]["generation"] > before, 300)  # type: ignore[misc]
        eventually(lambda: f"<!-- edit {_EDITS - 1} -->" in asked(place, "GET", "/")[1], 300)
        place.until("running", "guestbook")
    assert not load.failed

    # Its password is changed under load: the old one opens nothing once no pod has it.
    (old,) = users(place)
    with place.under_load("guestbook") as load:
        assert place.site.cli("rotate", "db").returncode == 0
        eventually(lambda: old not in users(place), 300)
        place.until("running", "guestbook")
        load.await_more(20)
    assert not load.failed
    assert not database.has_user(old)
    assert "from a pod" in asked(place, "GET", "/")[1]
