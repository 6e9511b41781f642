"""Canaries beside every other capability of a running host: neither loses a request, nor has three revisions alive."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.canaries import answers_of, is_canary, kinds, never_three, save
from tests.support.eventually import at_leisure, eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS
from tests.support.proxies import ask, kept_proxy, needs_caddy
from tests.support.site import REPOSITORY, Site

pytestmark = [pytest.mark.system, pytest.mark.nightly]


def settled(site: Site, port: int = 0, **fields: Any) -> int:
    """Serve version 1 of an app with a canary of half of the clients beside other fields; return its port."""
    port = port or a_port()
    save(site, "1")
    asked(site, port, **fields)
    site.live()
    site.await_settled("shop")
    return port


def asked(site: Site, port: int, **fields: Any) -> None:
    defaults: dict[str, Any] = {"canary": {"share": "50%", "for": "1h"}, "probation": "0s", "stop_timeout": "5s"}
    site.manifest("shop", port=port, **{**defaults, **fields})


def tried(site: Site) -> None:
    """Wait until a revision is tried."""
    eventually(lambda: is_canary(site), 60)


def over(site: Site) -> bool:
    return len(site.instances("shop")) == 1 and not is_canary(site)


def decided(site: Site, command: str) -> None:
    done = site.cli(command, "shop")
    assert done.returncode == 0, done.stderr
    eventually(lambda: over(site), 60)


def test_beside_a_range_of_workers_its_number_is_kept_to(site: Site) -> None:
    port = settled(site, workers={"min": 2, "max": 4})
    with never_three(site), under_load(port) as load:
        for version, command, last in (("2", "abort", "1"), ("3", "promote", "3")):
            save(site, version)
            answers_of(load, version)
            tried(site)
            assert all(1 <= record.workers <= 4 for record in site.instances("shop"))
            decided(site, command)
            answers_of(load, last, 20)
        eventually(lambda: 2 <= site.told("shop")["workers"] <= 4)
    assert load.failed == {}
    assert kinds(site) == ["canary", "aborted", "canary", "promoted"]


_WORKER = """
import os, time
with open(os.environ["HOME"] + "/worker", "w") as file:
    file.write("VERSION")
while True:
    time.sleep(0.05)
"""
_TASK = """
import os
with open(os.environ["HOME"] + "/" + os.environ.get("RECONCILER_SCHEDULE", "task"), "w") as file:
    file.write("VERSION")
"""


def with_worker(site: Site, version: str) -> None:
    """Replace the code whole, worker and task included."""
    new = site.root / f"shop-{version}"
    new.mkdir()
    (new / "worker.py").write_text(_WORKER.replace("VERSION", version))
    (new / "job.py").write_text(_TASK.replace("VERSION", version))
    source = (site.root / "apps/shop/wsgi.py").read_text()
    (new / "wsgi.py").write_text(re.sub(r'b"\d"', f'b"{version}"', source))
    current = site.root / "apps/shop"
    current.rename(site.root / f"before-{version}")
    new.rename(current)


def test_processes_and_tasks_run_the_release_before_until_it_is_promoted(site: Site) -> None:
    save(site, "1")
    with_worker(site, "1")
    port = a_port()
    jobs = {
        "processes": {"worker": {"command": "python worker.py", "ready": {"after": "200ms"}}},
        "schedules": {"nightly": {"command": "python job.py", "at": "30 3 * * *"}},
    }
    asked(site, port, **jobs)
    site.live()
    site.await_settled("shop")
    home = site.paths.home("shop")

    def said(name: str) -> Callable[[], str]:
        return lambda: (home / name).read_text() if (home / name).exists() else ""

    def runs(version: str) -> None:
        eventually(lambda: said("worker")() == version, 60)
        (home / "task").unlink(missing_ok=True)
        line = [
            sys.executable,
            "-m",
            "reconciler",
            "task",
            "--state",
            str(site.state),
            "shop",
            "--",
            "python",
            "job.py",
        ]
        done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        eventually(lambda: said("task")() == version, 60)

    runs("1")
    with never_three(site), under_load(port) as load:
        with_worker(site, "2")
        answers_of(load, "2")
        tried(site)
        runs("1")
        assert site.cli("trigger", "shop", "nightly").returncode == 0
        decided(site, "abort")
        runs("1")
        with_worker(site, "3")
        answers_of(load, "3")
        tried(site)
        decided(site, "promote")
        runs("3")
    assert load.failed == {}


@pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")
def test_isolated_apps_are_aborted_and_promoted_without_a_lost_request(site: Site) -> None:
    port = settled(site, isolation="strict")
    with never_three(site), under_load(port) as load:
        for version, command, last in (("2", "abort", "1"), ("3", "promote", "3")):
            save(site, version)
            answers_of(load, version)
            tried(site)
            decided(site, command)
            answers_of(load, last, 20)
    assert load.failed == {}


def test_an_app_does_not_sleep_while_its_canary_is_tried_and_does_so_after_it(site: Site) -> None:
    port = settled(site, idle_after="2s", canary={"share": "50%", "for": f"{round(at_leisure(6.0))}s", "requests": 1})
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        tried(site)
    both = [record.pid for record in site.instances("shop")]
    eventually(lambda: "promoted" in kinds(site), 60)
    assert load.failed == {}
    assert len(both) == 2
    eventually(lambda: site.told("shop")["state"] == "sleeping" and not site.instances("shop"), 60)
    with under_load(port) as load:  # a canary of an app that sleeps takes over at once
        load.await_more(5)
    assert set(load.bodies) == {"2"}
    eventually(lambda: site.told("shop")["state"] == "sleeping", 60)
    save(site, "3")
    eventually(lambda: site.told("shop")["state"] == "sleeping" and len(site.known_good("shop")) > 2, 60)
    with under_load(port) as load:
        load.await_more(5)
    assert set(load.bodies) == {"3"}
    assert load.failed == {}


_TELLS_GRANT = """
import json, os

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [json.loads(os.environ["VCAP_SERVICES"])["user-provided"][0]["credentials"]["password"].encode()]
"""


def test_new_credentials_of_a_service_are_tried_as_a_canary_too(site: Site) -> None:
    script, secret = site.manifests / "give.sh", site.manifests / "secret"
    secret.write_text("one")
    script.write_text(f'#!/bin/sh\nprintf \'{{"password": "%s"}}\' "$(cat {secret})"\n')
    script.chmod(0o700)
    site.save(
        site.manifests / "db.yaml",
        json.dumps({"kind": "service", "name": "db", "type": "user-provided", "command": ["./give.sh"]}),
    )
    save(site, "1")
    site.save(site.root / "apps/shop/wsgi.py", _TELLS_GRANT)
    port = a_port()
    asked(site, port, services=["db"])
    site.live()
    site.await_settled("shop")
    with never_three(site), under_load(port) as load:
        answers_of(load, "one")
        secret.write_text("two")
        assert site.cli("rotate", "db").returncode == 0
        answers_of(load, "two", 20)
        tried(site)
        answers_of(load, "one", 20)
        secret.write_text("three")  # another while that is tried
        assert site.cli("rotate", "db").returncode == 0
        answers_of(load, "three", 20)
        answers_of(load, "one", 20)
        decided(site, "promote")
        answers_of(load, "three", 20)
    assert load.failed == {}


def test_canaries_of_two_apps_at_once_know_nothing_of_each_other(site: Site) -> None:
    ports = {}
    for name in ("shop", "blog"):
        site.source(name, "1")
        ports[name] = site.app(name, "1", canary={"share": "50%", "for": "1h"}, probation="0s", stop_timeout="5s")
    site.live()
    site.await_settled("shop", "blog")
    with never_three(site, "shop", "blog"), under_load(ports["shop"]) as shop, under_load(ports["blog"]) as blog:
        site.source("shop", "2")
        site.source("blog", "2")
        answers_of(shop, "2")
        answers_of(blog, "2")
        eventually(lambda: {site.told(name)["state"] for name in ports} == {"canary"}, 60)
        assert site.cli("promote", "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1, 60)
        assert site.told("blog")["state"] == "canary"
        answers_of(blog, "1")
        answers_of(blog, "2")
        assert site.cli("abort", "blog").returncode == 0
        eventually(lambda: len(site.instances("blog")) == 1, 60)
        answers_of(shop, "2", 20)
        answers_of(blog, "1", 20)
    assert (shop.failed, blog.failed) == ({}, {})


def test_edits_that_come_while_it_is_tried_go_back_first_one_after_another(site: Site) -> None:
    port = settled(site, workers=2)
    with never_three(site), under_load(port) as load:
        for version in ("2", "3", "4"):
            save(site, version)
            answers_of(load, version)
            tried(site)
        asked(site, port, workers=2, env={"OTHER": "1"})  # an edit of the manifest
        eventually(lambda: kinds(site).count("canary") == 4, 60)
        tried(site)
        asked(site, port, workers=2, env={"OTHER": "1"}, canary={"share": "10%", "for": "1h"})
        eventually(lambda: "another share" in _last_cause(site), 60)
        answers_of(load, "4")
        save(site, "1")
        asked(site, port, workers=2)  # and back to what serves
        eventually(lambda: over(site), 60)
        answers_of(load, "1", 20)
        site.await_settled("shop")
    assert load.failed == {}


def _last_cause(site: Site) -> str:
    lines = [json.loads(line) for line in site.cli("events", "shop", "--json").stdout.splitlines()]
    return str([event["cause"] for event in lines if event["kind"] == "canary"][-1])


@pytest.mark.parametrize("command", ["restart", "scale", "start", "forget-failure", "rollback"])
def test_what_an_operator_asks_of_an_app_during_its_canary_costs_no_request(site: Site, command: str) -> None:
    port = settled(site, workers=2)
    with never_three(site), under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        tried(site)
        words = {"scale": ("scale", "shop", "3")}.get(command, (command, "shop"))
        done = site.cli(*words)
        print(command, done.returncode, done.stdout, done.stderr)  # shown where it fails
        assert "Traceback" not in done.stderr
        answers_of(load, "1", 50)
        if command in {"restart", "scale"}:
            eventually(lambda: is_canary(site), 60)
            answers_of(load, "2", 20)
            decided(site, "promote")
            answers_of(load, "2", 20)
            assert site.told("shop")["workers"] == (3 if command == "scale" else 2)
        elif is_canary(site):
            decided(site, "promote")
            answers_of(load, "2", 20)
        else:
            eventually(lambda: over(site), 60)
        site.await_settled("shop")
    assert load.failed == {}


@pytest.mark.parametrize("how", ["stop", "maintenance", "removed", "down"])
def test_what_ends_the_app_ends_both_and_leaves_one_listener_or_none(site: Site, how: str) -> None:
    port = settled(site, workers=2)
    with never_three(site), under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        tried(site)
    assert load.failed == {}
    if how == "removed":
        manifest = site.manifests / "shop.yaml"
        text = manifest.read_text()
        manifest.unlink()
        eventually(lambda: not site.status()["apps"] and not site.marked(), 60)
        manifest.write_text(text)
    elif how == "down":
        assert site.cli("down").returncode == 0
        eventually(lambda: not site.marked(), 60)
        site.live()
    else:
        words = ("maintenance", "shop", "on") if how == "maintenance" else (how, "shop")
        assert site.cli(*words).returncode == 0
        eventually(lambda: site.told("shop")["state"] in {"stopped", "maintenance"} and not site.instances("shop"), 60)
        words = ("maintenance", "shop", "off") if how == "maintenance" else ("start", "shop")
        assert site.cli(*words).returncode == 0
    eventually(lambda: site.instances("shop") and (is_canary(site) or site.settled("shop")), 60)
    if is_canary(site):
        decided(site, "promote")
    with under_load(port) as load:
        load.await_more(50)
    assert load.failed == {}
    eventually(lambda: over(site), 60)
    assert len(load.bodies) == 1


@needs_caddy
def test_an_app_with_a_port_beside_its_name_is_tried_at_its_port(site: Site) -> None:
    """Behind a proxy that dials sockets, an app with a canary has its port alone; neither change costs a request."""
    proxy, port = kept_proxy(), a_port()
    save(site, "1")
    named: dict[str, Any] = {"domains": ["shop.localhost"], "tls": "internal", "workers": 2}
    site.manifest("shop", port=port, probation="0s", stop_timeout="5s", **named)  # without a canary: socket and port
    site.live(proxy=proxy)
    https = proxy.front.https
    eventually(lambda: ask("shop.localhost", https)[:2] == (200, "1"), 60)
    site.await_settled("shop")
    seen: list[tuple[int, str]] = []

    def through() -> bool:
        seen.append(ask("shop.localhost", https)[:2])
        return True

    with never_three(site), under_load(port) as load:
        asked(site, port, **named)
        eventually(lambda: through() and not site.paths.socket("shop").exists(), 60)
        site.await_settled("shop")
        save(site, "2")
        eventually(lambda: through() and is_canary(site), 60)
        eventually(lambda: through() and seen[-1][1] == "2", 60)
        answers_of(load, "1")
        answers_of(load, "2")
        decided(site, "promote")
        eventually(lambda: through() and seen[-1][1] == "2", 60)
        save(site, "3")
        eventually(lambda: through() and is_canary(site), 60)
        # The manifest loses its canary while one is tried: socket and port again.
        site.manifest("shop", port=port, probation="0s", stop_timeout="5s", **named)
        eventually(lambda: through() and site.paths.socket("shop").exists(), 60)
        eventually(lambda: through() and over(site) and site.settled("shop"), 60)
        answers_of(load, "3", 20)
        eventually(lambda: through() and seen[-1][1] == "3", 60)
    assert load.failed == {}
    assert {status for status, _ in seen} == {200}
