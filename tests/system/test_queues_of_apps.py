"""Connections that no worker has accepted are seen from outside, and how long they wait."""

import json
from threading import Thread

from tests.support.eventually import eventually
from tests.support.site import Site, get
from tests.system.test_metrics import metrics, seen

# Answers once there is a file, so that a test says for how long its only worker is busy.
BUSY = """\
import os, time

def application(environ, start_response):
    while environ["PATH_INFO"] == "/busy" and not os.path.exists({file!r}):
        time.sleep(0.01)
    start_response("200 OK", [("Content-Length", "1")])
    return [b"1"]
"""


def test_what_waits_for_the_only_worker_is_in_top_and_the_metrics_with_how_long(site: Site) -> None:
    port = site.app("blog", probation="0s")
    done = site.root / "done"
    site.save(site.root / "apps/blog/wsgi.py", BUSY.format(file=str(done)))
    site.live()
    site.await_settled("blog")
    clients = [Thread(target=get, args=(port, path, 60.0)) for path in ("/busy", "/", "/")]
    clients[0].start()
    eventually(lambda: seen(site).in_flight == 1)
    for client in clients[1:]:
        client.start()
    eventually(lambda: metrics(site)['reconciler_app_queue{app="blog"}'] == 2)
    top = json.loads(site.cli("top", "--json", "--interval", "200ms").stdout)["blog"]
    assert (top["queue"], top["wait_s"] > 0.1) == (2, True)
    done.touch()
    for client in clients:
        client.join()
    eventually(lambda: metrics(site)['reconciler_app_queue{app="blog"}'] == 0)
    told = metrics(site)
    assert told['reconciler_app_queue_wait_seconds_count{app="blog"}'] == 3
    assert told['reconciler_app_queue_wait_seconds_sum{app="blog"}'] > 0.2
