"""Canaries on a running host: promoted or gone back from without a lost request, whoever is killed meanwhile."""

import json
import os
import signal
import socket
import threading
import time
from typing import Any

import pytest

from reconciler.linux.unix_sockets import connected, peer_pid
from tests.support.eventually import eventually
from tests.support.load import Load, under_load
from tests.support.ports import a_port
from tests.support.site import Site

pytestmark = pytest.mark.system

_APP = """
def application(environ, start_response):
    start_response("STATUS", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""


def _save(site: Site, version: str, status: str = "200 OK") -> None:
    directory = site.root / "apps/shop"
    directory.mkdir(exist_ok=True)
    site.save(directory / "wsgi.py", _APP.replace("VERSION", version).replace("STATUS", status))


def _begun(site: Site, *, share: str = "50%", lasts: str = "1h", **canary: Any) -> int:
    """Serve version 1 of an app with a canary, and return its port."""
    port = a_port()
    _save(site, "1")
    fields = {"share": share, "for": lasts, **canary}
    site.manifest("shop", port=port, probation="0s", workers=2, stop_timeout="5s", canary=fields)
    site.live()
    site.await_settled("shop")
    return port


def _is_canary(site: Site) -> bool:
    return bool(site.told("shop")["state"] == "canary")


def _kinds(site: Site) -> list[str]:
    return [kind for _, kind, _ in site.events("shop") if kind in {"canary", "promoted", "aborted"}]


def _answers_of(load: Load, version: str, more: int = 5) -> None:
    enough = load.bodies[version] + more
    eventually(lambda: load.bodies[version] >= enough, 30)


def _master(site: Site, oldest: bool) -> int:
    found = [record for record in site.instances("shop") if record.ready_at is not None]
    assert len(found) == 2, found
    pid = found[0 if oldest else 1].pid
    assert pid
    return pid


def test_a_canary_gets_its_share_is_promoted_and_no_request_is_lost(site: Site) -> None:
    port = _begun(site, lasts="500ms", requests=1)
    with under_load(port) as load:
        _save(site, "2")
        _answers_of(load, "2")
        eventually(lambda: "promoted" in _kinds(site), 60)
        site.await_settled("shop")
        seen = Load(port=port)
        assert {seen.one() for _ in range(5)} == {"ok"}
    assert load.failed == {}
    assert set(seen.bodies) == {"2"}
    assert _kinds(site) == ["canary", "promoted"]
    (record,) = site.instances("shop")
    assert record.workers == 2


def test_one_that_fails_is_taken_away_by_itself_and_is_bad_until_an_edit(site: Site) -> None:
    port = _begun(site)
    with under_load(port) as load:
        _save(site, "2", "500 No")
        eventually(lambda: "aborted" in _kinds(site), 60)
        eventually(lambda: site.told("shop")["state"] == "degraded" and len(site.instances("shop")) == 1, 30)
        counted = load.outcomes["HTTP/1.1 500 No"]
        _answers_of(load, "1", 50)
    assert set(load.failed) <= {"HTTP/1.1 500 No", "HTTP/1.0 500 No"}
    assert load.outcomes["HTTP/1.1 500 No"] == counted
    assert "it fails more often" in site.told("shop")["message"]
    assert "tried again after an edit" in site.told("shop")["message"]


def test_an_operator_aborts_and_promotes_under_load(site: Site) -> None:
    port = _begun(site, share="10%")
    with under_load(port) as load:
        for version, command, last in (("2", "abort", "1"), ("3", "promote", "3")):
            _save(site, version)
            _answers_of(load, version)
            eventually(lambda: _is_canary(site), 30)
            assert site.cli(command, "shop").returncode == 0
            eventually(lambda: len(site.instances("shop")) == 1 and not _is_canary(site), 30)
            _answers_of(load, last, 20)
    assert load.failed == {}
    assert _kinds(site) == ["canary", "aborted", "canary", "promoted"]
    assert site.cli("promote", "shop").returncode == 1


@pytest.mark.parametrize("oldest", [True, False], ids=("the one before", "the canary"))
def test_a_master_that_is_killed_costs_only_what_it_was_at_work_on(site: Site, oldest: bool) -> None:
    """Connections that wait at its socket are answered: by what is started again, or by the other release."""
    port = _begun(site)
    with under_load(port) as load:
        _save(site, "2")
        _answers_of(load, "2")
        os.killpg(_master(site, oldest), signal.SIGKILL)
        if oldest:
            eventually(lambda: len([r for r in site.instances("shop") if r.ready_at]) == 2, 30)
            _answers_of(load, "2")
        else:
            eventually(lambda: "aborted" in _kinds(site) and len(site.instances("shop")) == 1, 30)
        _answers_of(load, "1", 20)
    assert load.failed.get("refused", 0) == 0
    assert load.failed.get("late", 0) == 0
    assert sum(load.failed.values()) <= 4, load.failed  # two clients, each at work with it or in its hands


def test_what_waits_for_a_canary_that_dies_is_answered_by_the_release_before(site: Site) -> None:
    port = _begun(site)
    loads = [Load(port=port) for _ in range(30)]
    with under_load(port) as load:
        _save(site, "2")
        _answers_of(load, "2")
    pid = _master(site, oldest=False)
    os.killpg(pid, signal.SIGSTOP)
    threads = [threading.Thread(target=lambda one=one: one.outcomes.update([one.one()])) for one in loads]
    for thread in threads:
        thread.start()
    eventually(lambda: sum(one.ok for one in loads) >= 3, 30)
    time.sleep(0.5)  # the others wait at the canary's socket by now, or come to it when it is dead
    os.killpg(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    failed = [outcome for one in loads for outcome in one.failed]
    assert len(failed) <= 2, failed  # its workers may have accepted one each
    assert {body for one in loads for body in one.bodies} == {"1"}


@pytest.mark.parametrize("keeper", [False, True], ids=("the daemon", "the daemon and the keeper"))
def test_the_next_daemon_goes_on_with_a_canary_and_refuses_nobody(site: Site, keeper: bool) -> None:
    port = _begun(site)
    with under_load(port) as load:
        _save(site, "2")
        _answers_of(load, "2")
        eventually(lambda: _is_canary(site), 30)
        masters = [record.pid for record in site.instances("shop")]
        if keeper:
            os.kill(_keeper(site), signal.SIGKILL)
        site.end(site.daemons[-1], signal.SIGKILL)
        _answers_of(load, "1")
        _answers_of(load, "2")
        site.live()
        eventually(lambda: site.status()["daemon"]["running"] and _is_canary(site), 30)
        _answers_of(load, "1")
        _answers_of(load, "2")
        assert [record.pid for record in site.instances("shop")] == masters
        eventually(lambda: site.cli("promote", "shop").returncode == 0, 30)
        eventually(lambda: len(site.instances("shop")) == 1 and not _is_canary(site), 30)
        _answers_of(load, "2", 20)
    assert load.failed == {}
    assert _kinds(site) == ["canary", "promoted"]


def _keeper(site: Site) -> int:
    line = connected(site.paths.keeper, socket.SOCK_SEQPACKET, 5.0)
    with line:
        return peer_pid(line)


def test_without_traffic_a_canary_is_undecided_and_waits_where_that_is_asked_for(site: Site) -> None:
    port = _begun(site, lasts="100ms", undecided="wait")
    _save(site, "2")
    eventually(lambda: "undecided: it waits for more requests" in site.told("shop")["message"], 30)
    canary = {"share": "50%", "for": "100ms"}
    site.manifest("shop", port=port, probation="0s", workers=2, stop_timeout="5s", canary=canary)
    eventually(lambda: "promoted" in _kinds(site), 60)
    (cause,) = [why for why in _causes(site) if "undecided" in why]
    assert cause.startswith("undecided: 0 of 100 requests in")


_DYING = """
import os

seen = []

def application(environ, start_response):
    seen.append(environ)
    if len(seen) > 2:
        os._exit(3)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"2"]
"""


def test_a_revision_that_failed_clients_is_tried_again_with_few_of_them(site: Site) -> None:
    port = a_port()
    _save(site, "1")
    site.manifest("shop", port=port, probation="0s", stop_timeout="5s")
    site.live()
    site.await_settled("shop")
    site.manifest("shop", port=port, probation="30s", stop_timeout="5s")
    with under_load(port) as load:
        site.save(site.root / "apps/shop/wsgi.py", _DYING)
        eventually(lambda: "tried again after an edit" in site.told("shop")["message"], 60)
        _answers_of(load, "1", 50)
        assert "canary" not in _kinds(site)
        assert site.cli("restart", "shop").returncode == 0
        eventually(lambda: _kinds(site) == ["canary", "aborted"], 60)
        eventually(lambda: "tried again after an edit" in site.told("shop")["message"], 60)
        _answers_of(load, "1", 50)
    assert load.failed.get("refused", 0) == 0
    assert load.bodies["2"] + sum(load.failed.values()) <= 20
    assert load.bodies["1"] > 100


def _causes(site: Site) -> list[str]:
    found = map(json.loads, site.cli("events", "shop", "--json").stdout.splitlines())
    return [str(event["cause"]) for event in found if event["kind"] == "promoted"]
