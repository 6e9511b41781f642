"""The figures of a real daemon's real apps: exact, whoever dies."""

import json
import os
import re
import signal
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.metrics.prometheus import CONTENT_TYPE, NAMES
from reconciler.serving import gate_figures_reader
from reconciler.settings.settings import Api
from tests.support.eventually import eventually
from tests.support.ports import a_port
from tests.support.site import Site, get
from tests.support.web import TOKEN, bearer, fetch
from tests.tools.promtool import promtool

ASGI = """\
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"1")]})
    await send({"type": "http.response.body", "body": b"1"})
"""


def seen(site: Site, app: str = "blog") -> gate_figures_reader.Figures:
    return gate_figures_reader.of_app(site.paths.readiness(app))


def metrics(site: Site) -> dict[str, float]:
    told = site.cli("metrics")
    assert told.returncode == 0, told.stderr
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in told.stdout.splitlines())
        if name[0] != "#"
    }


def scrape(port: int) -> str:
    """What Prometheus gets, which only the token lets it have."""
    for wrong in ({}, bearer("another-token-of-that-length")):
        assert fetch(port, "/metrics", headers=wrong).status == 401
    answer = fetch(port, "/metrics", headers=bearer())
    assert (answer.status, answer.headers["content-type"]) == (200, CONTENT_TYPE)
    return answer.body


def families(told: str) -> set[str]:
    """The metrics of which there is a sample."""
    found = {sample.name: family for family in text_string_to_metric_families(told) for sample in family.samples}
    return {name if family.type == "counter" else family.name for name, family in found.items()}


@pytest.mark.parametrize("kind", ["sync", "gthread", "asgi"])
def test_every_request_counts_once_and_the_total_outlives_workers_instances_and_the_daemon(
    site: Site, kind: str
) -> None:
    fields: dict[str, Any] = {"gthread": {"worker_class": "gthread", "threads": 4}}.get(kind, {})
    port = site.app("blog", probation="0s", workers=2, **fields)
    if kind == "asgi":
        (site.root / "apps/blog/wsgi.py").unlink()
        site.save(site.root / "apps/blog/asgi.py", ASGI)
    daemon = site.live()
    eventually(lambda: site.serves("blog", "1", port)() and site.known_good("blog"))
    eventually(lambda: seen(site).in_flight == 0)
    first = seen(site).requests

    def ask(total: int) -> None:
        for _ in range(5):
            assert get(port) == "1"
        eventually(lambda: seen(site).requests == first + total)

    ask(5)
    (passed,) = site.paths.readiness("blog").iterdir()
    worker = next(path for path in passed.iterdir() if path.name.isdecimal())
    os.kill(int(worker.name), signal.SIGKILL)
    eventually(lambda: not worker.exists() and seen(site).workers == 2)
    eventually(lambda: len(list(passed.glob("left-*"))) == 0)
    ask(10)
    master = site.pid("blog")
    os.kill(master, signal.SIGKILL)
    site.await_successor("blog", master)
    eventually(lambda: seen(site).workers == 2 and len(list(site.paths.readiness("blog").iterdir())) == 1)
    ask(15)
    site.end(daemon, signal.SIGKILL)
    ask(20)
    site.live()
    eventually(lambda: metrics(site)["reconciler_up"] == 1)
    site.await_settled("blog")
    ask(25)
    told = metrics(site)
    assert told['reconciler_app_requests_total{app="blog",code="2xx"}'] == first + 25
    assert told['reconciler_app_workers{app="blog"}'] == 2
    assert told['reconciler_app_memory_bytes{app="blog"}'] > 2**20
    assert told["reconciler_up"] == 1


def test_the_daemon_tells_what_it_did_and_top_what_the_apps_do(site: Site) -> None:
    port = site.app("blog", probation="0s", health={"path": "/", "interval": "1s"})
    api = a_port()
    site.save(site.manifests / "blog-db.yaml", "kind: service\nname: blog-db\ntype: sqlite\nbackup: {every: 1m}\n")
    site.save(site.root / "token", TOKEN)
    daemon = site.live(api=Api(host="127.0.0.1", port=api, token=site.root / "token"))
    eventually(site.serves("blog", "1", port))
    site.source("blog", "2")
    eventually(site.serves("blog", "2", port))
    site.await_settled("blog")
    os.kill(site.pid("blog"), signal.SIGKILL)
    eventually(lambda: metrics(site)['reconciler_app_restarts_total{app="blog"}'] == 1)
    site.await_settled("blog")
    probes = 'reconciler_app_probes_total{app="blog",result="success"}'
    eventually(lambda: metrics(site).get(probes, 0) > 0)
    told = metrics(site)
    assert told['reconciler_apps{state="running"}'] == 1
    eventually(lambda: metrics(site).get('reconciler_service_state{service="blog-db",state="ready"}') == 1)
    eventually(lambda: 'reconciler_service_last_backup_timestamp_seconds{service="blog-db"}' in metrics(site))
    assert told["reconciler_backlog_apps"] == told["reconciler_unconverged_seconds"] == 0
    assert told['reconciler_actions_total{action="stage",outcome="done"}'] == 2
    assert told["reconciler_handover_duration_seconds_count"] == 1
    scraped = scrape(api)
    # Trouble with backups, and what this host has none of, are told where there are some.
    absent = ("origin_", "domain_", "process_", "tasks_total", "schedule_", "webhooks_", "app_limits", "app_memory_l")
    elsewhere = {name for name in NAMES if name.startswith(tuple(f"reconciler_{part}" for part in absent))}
    elsewhere |= {"reconciler_app_workers_wanted", "reconciler_app_workers_busy_ratio"}
    everything = NAMES - elsewhere - {"reconciler_service_backup_trouble"}
    assert families(scraped) == families(site.cli("metrics").stdout) == everything
    table = site.cli("top", "--once", "--interval", "100ms").stdout.splitlines()
    assert re.match(r"APP +REQ/S .* CPU +WAITS$", table[0])
    assert re.match(r"blog +[\d.]+ .* 0/1 +(-|\d+) +(-|[\d.]+m?s) +[\d.]+M +\d+% +(-|.*%.*)$", table[1])
    assert json.loads(site.cli("top", "--json", "--interval", "100ms").stdout)["blog"]["workers"] == 1
    site.end(daemon)
    assert metrics(site)["reconciler_up"] == 0
    promtool("check", "metrics", said=scraped)  # may skip the test: the last thing it does
