"""A real daemon changes the number of a real app's workers by need, and never by a deploy."""

import os
import signal
from threading import Thread

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
    site.end(daemon, signal.SIGKILL)
    has = workers(site)
    site.live(scaling_pressure=1.0)
    eventually(lambda: any(kind == "adopted" for _, kind, _ in site.events("blog")))
    assert (site.pid("blog"), workers(site) >= has) == (master, True)
    done.touch()
    long.join()
    os.kill(master, 0)


def causes(site: Site) -> list[str]:
    return [line for line in site.cli("events", "blog").stdout.splitlines() if "scaled" in line]
