"""A real daemon changes the number of a real app's workers by need, and never by a deploy."""

import os
import re
import signal
import socket
from threading import Thread
from typing import Any

from tests.support.eventually import eventually
from tests.support.site import Site, get
from tests.system.test_metrics import seen
from tests.system.test_queues_of_apps import BUSY


def workers(site: Site, name: str = "blog") -> int:
    (record,) = site.instances(name)
    return record.workers


def test_a_second_worker_comes_for_those_that_wait_behind_a_long_request_and_the_load_outlives_the_daemon(
    site: Site,
) -> None:
    port = site.app("blog", probation="0s", workers={"min": 1, "max": 3})
    done = site.root / "done"
    site.save(site.root / "apps/blog/wsgi.py", BUSY.format(file=str(done)))
    daemon = site.live(scaling_pressure=1.0)
    site.await_settled("blog")
    master, revision = site.pid("blog"), site.told("blog")["revision"]
    long = Thread(target=get, args=(port, "/busy", 90.0))
    long.start()
    eventually(lambda: seen(site).in_flight == 1)
    assert get(port, "/", 60.0) == "1"  # only another worker can answer it
    eventually(lambda: workers(site) >= 2)
    assert (site.pid("blog"), site.told("blog")["revision"]) == (master, revision)
    assert any("requests wait" in cause for cause in causes(site))
    assert re.search(r" \d \(1-3\) \d+% ", site.cli("status").stdout)
    site.end(daemon, signal.SIGKILL)
    has = workers(site)
    site.live(scaling_pressure=1.0)
    eventually(lambda: any(kind == "adopted" for _, kind, _ in site.events("blog")))
    assert (site.pid("blog"), workers(site) >= has) == (master, True)
    done.touch()
    long.join()
    os.kill(master, 0)


def causes(site: Site, name: str = "blog") -> list[str]:
    return [line for line in site.cli("events", name).stdout.splitlines() if " scaled " in line]


def test_the_number_of_an_operator_outlives_daemon_and_deploy_and_ends_by_time_or_request(site: Site) -> None:
    of_blog: dict[str, Any] = {"probation": "0s", "workers": {"min": 1, "max": 2}}
    port = site.app("blog", **of_blog)
    site.app("plain", probation="0s")
    daemon = site.live()
    site.await_settled("blog", "plain")
    master = site.pid("blog")
    site.cli("scale", "blog", "4", "--for", "1h")
    eventually(lambda: workers(site) == 4)
    site.end(daemon, signal.SIGKILL)
    site.live()
    eventually(lambda: any(kind == "adopted" for _, kind, _ in site.events("blog")))
    told = eventually(lambda: (found := site.told("blog"))["reason"] == "scaled-by-operator" and found)
    assert (site.pid("blog"), workers(site)) == (master, 4)
    assert (told["worker_range"], told["held_workers"]["workers"]) == ([1, 2], 4)
    assert "4 workers for 1h, as an operator asked; its manifest says 1-2" in told["message"]
    site.manifest("blog", port=port, env={"COLOUR": "blue"}, **of_blog)
    eventually(lambda: site.told("blog")["revision"] not in {None, told["revision"]})
    eventually(lambda: len(site.instances("blog")) == 1)
    assert workers(site) == 4
    site.cli("scale", "blog", "auto")
    eventually(lambda: workers(site) == 2)
    site.cli("scale", "plain", "2", "--for", "5s")
    eventually(lambda: len(causes(site, "plain")) == 2)
    up, down = causes(site, "plain")
    assert "2 workers for 5s, as an operator asked" in up
    assert "the 5s for which an operator asked for 2 workers are over" in down
    assert workers(site, "plain") == 1


def test_an_app_that_wakes_starts_with_as_many_workers_as_connections_wait(site: Site) -> None:
    port = site.app("blog", probation="0s", idle_after="1s", workers={"min": 1, "max": 4})
    daemon = site.live(scaling_pressure=1.0)
    eventually(lambda: site.told("blog")["state"] == "sleeping")
    site.end(daemon, signal.SIGKILL)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]  # the keeper holds the listener
    site.live(scaling_pressure=1.0)
    eventually(lambda: len([kind for _, kind, _ in site.events("blog") if kind == "ready"]) == 2)
    assert (workers(site), causes(site)) == (3, [])
    for client in clients:
        client.close()
