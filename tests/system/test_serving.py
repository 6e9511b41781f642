"""The daemon with real apps: the gate, rollback, the holding answer, sleep, liveness, and an operator's requests."""

import http.client
import json
import os
import signal
from collections.abc import Callable

from tests.support.eventually import at_leisure, eventually
from tests.support.load import under_load
from tests.support.site import Site, get
from tests.support.web import fetch

HEALTHY = """
import os
def application(environ, start_response):
    bad = environ["PATH_INFO"] == "/healthz" and os.path.exists({flag!r})
    start_response("500 Oops" if bad else "200 OK", [("Content-Type", "text/plain")])
    return [b"no database" if bad else {version!r}]
"""


def answer(port: int) -> tuple[int, str | None, str]:
    """Status, Retry-After and body of a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.getheader("Retry-After"), response.read().decode()
    finally:
        connection.close()


def state(site: Site, name: str, expected: str, said: str = "") -> Callable[[], bool]:
    """A check that an app is in a state, and that its message holds some words."""

    def check() -> bool:
        told = site.told(name)
        assert told["state"] == expected, told
        assert said in told["message"], told
        return True

    return check


def write(site: Site, version: str, flag: str = "/nonexistent") -> None:
    site.save(site.root / "apps/blog/wsgi.py", HEALTHY.format(version=version.encode(), flag=flag))


def test_a_release_whose_health_path_fails_never_answers_and_the_old_one_serves(site: Site) -> None:
    flag = site.root / "bad"
    port = site.app("blog", health={"path": "/healthz", "start_timeout": f"{round(at_leisure(3.0))}s"}, probation="0s")
    write(site, "one")
    site.live()
    eventually(site.serves("blog", "one", port))
    eventually(lambda: site.settled("blog"))
    flag.touch()
    with under_load(port) as load:
        write(site, "two", str(flag))
        eventually(state(site, "blog", "degraded", "GET /healthz answered 500 Oops: no database"))
        load.await_more(50)
        assert get(port) == "one"
        flag.unlink()
        write(site, "three", str(flag))
        eventually(site.serves("blog", "three", port))
    assert not load.failed, load.outcomes


def test_a_release_that_dies_on_probation_is_rolled_back_and_remembered_by_the_next_daemon(site: Site) -> None:
    port = site.app("blog", probation="2s", crash={"first": "30s", "cap": "60s"})
    daemon = site.live()
    eventually(site.serves("blog", "1", port))
    eventually(lambda: bool(site.known_good("blog")))
    dying = "import os, threading\nthreading.Timer(0.5, lambda: os.kill(os.getppid(), 9)).start()\n"
    site.save(site.root / "apps/blog/wsgi.py", dying + (site.root / "apps/blog/wsgi.py").read_text())
    eventually(state(site, "blog", "degraded", "was ended by SIGKILL"))
    eventually(lambda: get(port) == "1")
    site.end(daemon)
    site.live()
    eventually(state(site, "blog", "degraded", "was ended by SIGKILL"))
    assert get(port) == "1"
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))


def test_an_app_that_cannot_serve_is_answered_for_and_steps_in_when_it_can(site: Site) -> None:
    port = site.app("blog", patience="200ms")
    wsgi = site.root / "apps/blog/wsgi.py"
    site.save(wsgi, wsgi.read_text() + "raise RuntimeError('not today')\n")
    site.live()
    eventually(lambda: answer(port)[0] == 503)
    status, again, body = answer(port)
    assert (status, again) == (503, "5")
    assert "Back in a moment" in body
    eventually(state(site, "blog", "failing", "RuntimeError: not today"))
    site.source("blog", "2")
    eventually(lambda: answer(port)[::2] == (200, "2"))


def test_maintenance_answers_with_the_apps_own_page_and_loses_no_request(site: Site) -> None:
    port = site.app("blog")
    site.live()
    eventually(site.serves("blog", "1", port))
    site.save(site.manifests / "page.html", "<p>closed for stocktaking</p>")
    with under_load(port) as load:
        site.manifest("blog", port=port, state="maintenance", holding_page="page.html")
        eventually(lambda: answer(port) == (503, "5", "<p>closed for stocktaking</p>"))
        eventually(lambda: site.instances("blog") == [])
        assert site.told("blog")["state"] == "maintenance"
        site.manifest("blog", port=port)
        eventually(lambda: answer(port)[::2] == (200, "1"))
    assert set(load.failed) <= {"HTTP/1.1 503 Service Unavailable"}, load.outcomes


def test_a_requested_maintenance_ends_with_the_command_and_with_an_edit(site: Site) -> None:
    port = site.app("blog")
    site.start()
    site.await_settled("blog")
    body, headers = json.dumps({"do": "maintenance", "app": "blog"}), {"Content-Type": "application/json"}
    assert fetch(site.paths.api, "/api/v1/requests", "POST", body, headers).json == {
        "done": "blog: in maintenance until its manifest changes, or until 'maintenance off'"
    }
    eventually(lambda: answer(port)[0] == 503)
    eventually(state(site, "blog", "maintenance", "in maintenance by an operator, until its manifest changes"))
    assert site.told("blog")["override"] == {"kind": "maintenance", "revision": None}
    assert "blog (maintenance by an operator)" in site.cli("status", "--check").stderr
    told = site.cli("maintenance", "blog", "off")
    assert (told.returncode, told.stdout) == (0, "blog: maintenance has ended; its manifest applies again\n")
    eventually(lambda: answer(port)[::2] == (200, "1"))
    assert "blog is not in maintenance" in site.cli("maintenance", "blog", "off").stdout
    assert fetch(site.paths.api, "/api/v1/requests", "POST", body, headers).status == 200
    eventually(lambda: answer(port)[0] == 503)
    site.manifest("blog", port=port, patience="4s")
    eventually(lambda: answer(port)[::2] == (200, "1"))
    eventually(lambda: site.told("blog")["override"] is None)


def test_an_idle_app_sleeps_and_a_burst_of_connections_wakes_it_and_is_served(site: Site) -> None:
    port = site.app("blog", idle_after="1s", probation="0s")
    site.live()
    eventually(state(site, "blog", "sleeping"))
    eventually(lambda: site.instances("blog") == [])
    waiting = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(200)]
    for connection in waiting:
        connection.request("GET", "/", headers={"Connection": "close"})
    assert {connection.getresponse().status for connection in waiting} == {200}
    for connection in waiting:
        connection.close()
    eventually(state(site, "blog", "sleeping"))


def test_a_sleeping_app_that_is_deployed_is_gated_once_and_sleeps_on(site: Site) -> None:
    port = site.app("blog", idle_after="1s", probation="0s")
    site.live()
    eventually(state(site, "blog", "sleeping"))
    site.source("blog", "2")
    eventually(lambda: [kind for _, kind, _ in site.events("blog")].count("ready") == 2)
    eventually(state(site, "blog", "sleeping"))
    eventually(lambda: site.instances("blog") == [])
    assert get(port) == "2"


def test_a_lazy_app_is_first_started_by_the_first_connection(site: Site) -> None:
    port = site.app("blog", start="lazy")
    site.live()
    eventually(state(site, "blog", "sleeping"))
    assert "ready" not in [kind for _, kind, _ in site.events("blog")]
    assert get(port) == "1"
    eventually(state(site, "blog", "running"))


def test_a_hung_app_is_noticed_explained_and_replaced(site: Site) -> None:
    port = site.app(
        "blog", health={"path": "/", "interval": "1s", "timeout": "300ms", "failures": 2}, stop_timeout="1s"
    )
    site.live()
    eventually(lambda: site.settled("blog"))
    before = site.pid("blog")
    for worker in site.marked() - {before}:
        os.kill(worker, signal.SIGSTOP)
    eventually(lambda: site.settled("blog") and site.pid("blog") != before)
    assert get(port) == "1"
    told = [text for _, kind, text in site.events("blog") if kind == "unhealthy"]
    assert {*told} == {"GET / did not answer within 0.3 s, 2 times in a row"}  # on a slow host its successor may, too


ASKED = """
import os
def application(environ, start_response):
    path = environ["PATH_INFO"]
    if environ["HTTP_USER_AGENT"] == "reconciler-health":
        with open({asked!r}, "a") as file:
            file.write("%d %s\\n" % (os.getppid(), path))
    start_response("200 OK" if path == "/up" else "404 Not Found", [])
    return [b"1"]
"""


def test_an_instance_is_probed_by_its_own_revisions_health_while_another_revision_cannot_pass(site: Site) -> None:
    asked = site.root / "asked"
    port = site.app("blog", probation="0s", health={"path": "/up", "interval": "1s"})
    site.save(site.root / "apps/blog/wsgi.py", ASKED.format(asked=str(asked)))
    daemon = site.live()
    eventually(lambda: site.settled("blog") and len(site.known_good("blog")) == 1)
    master = site.pid("blog")

    def probed() -> list[str]:
        return [path for pid, path in map(str.split, asked.read_text().splitlines()) if int(pid) == master]

    health = {"path": "/wrong", "interval": "1s", "start_timeout": f"{round(at_leisure(3.0))}s"}
    site.manifest("blog", port=port, probation="0s", health=health)
    for _ in range(2):
        eventually(state(site, "blog", "degraded", "GET /wrong answered 404"))
        asked.write_text("")
        eventually(lambda: len(probed()) > 3)
        site.end(daemon, signal.SIGKILL)  # the next one knows it, too
        daemon = site.live()
    assert {*probed()} == {"/up"}
    # The other one may be about to start again.
    assert [record.pid for record in site.instances("blog") if record.ready_at is not None] == [master]
    assert not [text for _, kind, text in site.events("blog") if kind == "unhealthy"]


def test_a_worker_that_fails_its_check_in_a_serving_instance_waits_and_the_master_lives(site: Site) -> None:
    flag = site.root / "bad"
    port = site.app("blog", workers=2, probation="0s", health={"path": "/healthz", "interval": "60s"})
    write(site, "one", str(flag))
    site.live()
    eventually(lambda: site.settled("blog") and len(site.known_good("blog")) == 1)
    master = site.pid("blog")
    flag.touch()
    os.kill(min(site.marked() - {master}), signal.SIGKILL)
    eventually(state(site, "blog", "degraded", "GET /healthz answered 500 Oops: no database"))
    assert get(port) == "one"
    flag.unlink()
    eventually(lambda: site.settled("blog"))
    assert site.pid("blog") == master


def test_requests_of_an_operator_hold_until_the_manifest_or_the_source_changes(site: Site) -> None:
    port = site.app("blog", probation="0s")
    site.live()
    eventually(lambda: site.settled("blog"))
    before = site.pid("blog")
    assert site.cli("restart", "blog").returncode == 0
    eventually(lambda: site.settled("blog") and site.pid("blog") != before)
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))
    eventually(lambda: len(site.known_good("blog")) == 2)
    done = site.cli("rollback", "blog")
    assert done.returncode == 0, done.stderr
    eventually(site.serves("blog", "1", port))
    assert "rolled back by an operator" in site.told("blog")["message"]
    site.source("blog", "3")
    eventually(site.serves("blog", "3", port))
    assert site.cli("stop", "blog").returncode == 0
    eventually(state(site, "blog", "stopped", "stopped by an operator"))
    assert site.cli("start", "blog").returncode == 0
    eventually(site.serves("blog", "3", port))
    asked = [text for _, kind, text in site.events("blog") if kind == "request"]
    assert len(asked) == 4
    unknown = json.loads(site.cli("restart", "nothing", "--json").stderr.splitlines()[-1])
    assert unknown["error"]["reason"] == "not-found"
    assert site.cli("restart", "nothing").stderr == (
        "Error: no valid manifest describes an app named 'nothing'; 'reconciler status' lists the apps\n"
    )


def test_an_app_starts_after_what_it_depends_on_and_waits_until_then(site: Site) -> None:
    site.app("shop", depends_on=["api"])
    site.live()
    eventually(state(site, "shop", "pending", "waiting for api"))
    site.app("api")
    eventually(lambda: site.settled("api", "shop"))
    started = [app for app, kind, _ in site.events() if kind == "ready"]
    assert started == ["api", "shop"]
    (site.manifests / "shop.yaml").unlink()  # first, as the daemon may look between the two
    (site.manifests / "api.yaml").unlink()
    eventually(lambda: [app for app, kind, _ in site.events() if kind == "stopped"] == ["shop", "api"])
    assert site.instances() == []
