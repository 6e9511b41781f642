"""Canaries on a running host: promoted or gone back from without a lost request, whoever is killed meanwhile."""

import json
import os
import platform
import signal
import subprocess
import sys
import threading

import pytest

from reconciler.linux.listen_queues import of_host
from tests.support.canaries import answers_of, asks, begun, is_canary, kinds, left_amid_a_canary, master, save
from tests.support.eventually import eventually
from tests.support.load import Load, under_load
from tests.support.ports import a_port
from tests.support.probe_of_isolation import LACKS
from tests.support.site import REPOSITORY, Site

pytestmark = pytest.mark.system


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])
def test_a_canary_gets_its_share_is_promoted_and_no_request_is_lost(site: Site, host: str) -> None:
    port = begun(site, lasts="500ms", requests=1, host=host)
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        eventually(lambda: "promoted" in kinds(site), 60)
        site.await_settled("shop")
        seen = Load(port=port)
        assert {seen.one() for _ in range(5)} == {"ok"}
    assert load.failed == {}
    assert set(seen.bodies) == {"2"}
    assert kinds(site) == ["canary", "promoted"]
    (record,) = site.instances("shop")
    assert record.workers == 2


_SLOW_TO_START = """
import os, time

def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"2"]

if os.path.exists("FLAG"):
    time.sleep(3600)
"""


def test_one_that_is_aborted_while_it_starts_ends_and_its_restart_costs_no_client_a_wait(site: Site) -> None:
    port = begun(site)
    flag = site.root / "flag"
    with under_load(port) as load:
        site.save(site.root / "apps/shop/wsgi.py", _SLOW_TO_START.replace("FLAG", str(flag)))
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        row = site.told("shop")
        assert (row["revision"] != row["wanted_revision"], row["workers"]) == (True, 2)
        assert [line.split()[-1] for line in site.cli("releases", "shop").stdout.splitlines() if line[2] != " "] == [
            "canary",
            "serving",
        ]
        flag.touch()
        assert site.cli("restart", "shop").returncode == 0
        eventually(lambda: any(record.ready_at is None for record in site.instances("shop")), 30)
        answers_of(load, "1", 50)
        assert site.cli("abort", "shop").returncode == 0
        eventually(lambda: site.told("shop")["state"] == "degraded" and len(site.instances("shop")) == 1, 30)
        answers_of(load, "1", 50)
    assert load.failed == {}
    assert "an operator aborted it; revision" in site.told("shop")["message"]
    assert "tried again after an edit" in site.told("shop")["message"]


def test_one_that_fails_is_taken_away_by_itself_and_is_bad_until_an_edit(site: Site) -> None:
    port = begun(site)
    with under_load(port) as load:
        save(site, "2", "500 No")
        eventually(lambda: "aborted" in kinds(site), 60)
        eventually(lambda: site.told("shop")["state"] == "degraded" and len(site.instances("shop")) == 1, 30)
        answers_of(load, "1", 50)  # each client has counted what it was answered before
        counted = load.outcomes["HTTP/1.1 500 No"]
        answers_of(load, "1", 50)
    assert set(load.failed) <= {"HTTP/1.1 500 No", "HTTP/1.0 500 No"}
    assert load.outcomes["HTTP/1.1 500 No"] == counted
    assert "it fails more often" in site.told("shop")["message"]
    assert "tried again after an edit" in site.told("shop")["message"]


def _outcomes(site: Site) -> list[str]:
    return [release["outcome"] for release in json.loads(site.cli("releases", "shop", "--json").stdout)["releases"]]


def test_an_operator_aborts_and_promotes_under_load(site: Site) -> None:
    port = begun(site, share="10%")
    with under_load(port) as load:
        for version, command, last in (("2", "abort", "1"), ("3", "promote", "3")):
            save(site, version)
            answers_of(load, version)
            eventually(lambda: is_canary(site), 30)
            assert _outcomes(site)[:2] == ["canary", "serving" if version == "2" else "failed"]
            assert site.cli(command, "shop").returncode == 0
            eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 30)
            answers_of(load, last, 20)
    assert load.failed == {}
    assert kinds(site) == ["canary", "aborted", "canary", "promoted"]
    assert _outcomes(site) == ["serving", "failed", "replaced"]
    assert site.cli("promote", "shop").returncode == 1


@pytest.mark.parametrize("oldest", [True, False], ids=("the one before", "the canary"))
def test_a_master_that_is_killed_costs_only_what_it_was_at_work_on(site: Site, oldest: bool) -> None:
    """Connections that wait at its socket are answered: by what is started again, or by the other release."""
    port = begun(site)
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
        os.killpg(master(site, oldest=oldest), signal.SIGKILL)
        if oldest:
            eventually(lambda: len([r for r in site.instances("shop") if r.ready_at]) == 2, 30)
            answers_of(load, "2")
        else:
            eventually(lambda: "aborted" in kinds(site) and len(site.instances("shop")) == 1, 30)
        answers_of(load, "1", 20)
    assert load.failed.get("refused", 0) == 0
    assert load.failed.get("late", 0) == 0
    assert sum(load.failed.values()) <= 4, load.failed  # two clients, each at work with it or in its hands


def test_what_waits_for_a_canary_that_dies_is_answered_by_the_release_before(site: Site) -> None:
    port = begun(site)
    loads = [Load(port=port) for _ in range(150)]
    with under_load(port) as load:
        save(site, "2")
        answers_of(load, "2")
    pid = master(site, oldest=False)
    os.killpg(pid, signal.SIGSTOP)
    threads = [threading.Thread(target=lambda one=one: one.outcomes.update([one.one()])) for one in loads]
    for thread in threads:
        thread.start()
    eventually(lambda: of_host()["127.0.0.1", port].length >= 50, 30)
    waiting = of_host()["127.0.0.1", port].length
    os.killpg(pid, signal.SIGKILL)
    for thread in threads:
        thread.join(60)
    failed = [outcome for one in loads for outcome in one.failed]
    assert len(failed) <= 2, (failed, waiting)  # its workers may have accepted one each
    assert {body for one in loads for body in one.bodies} == {"1"}


@pytest.mark.parametrize("both", [False, True], ids=("the daemon", "the daemon and the keeper"))
def test_the_next_daemon_goes_on_with_a_canary_and_refuses_nobody(site: Site, both: bool) -> None:
    port = begun(site)
    with under_load(port) as load:
        masters = left_amid_a_canary(site, load, both=both)
        told = site.told("shop")
        assert told["state"] == "degraded"
        assert told["message"].startswith("no daemon is running to continue; it ended while the app was canary")
        answers_of(load, "1")
        answers_of(load, "2")
        site.live()
        eventually(lambda: site.status()["daemon"]["running"] and is_canary(site), 30)
        answers_of(load, "1")
        answers_of(load, "2")
        assert [record.pid for record in site.instances("shop")] == masters
        eventually(lambda: site.cli("promote", "shop").returncode == 0, 30)
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 30)
        answers_of(load, "2", 20)
    assert load.failed == {}
    assert kinds(site) == ["canary", "promoted"]


def test_without_traffic_a_canary_is_undecided_and_waits_where_that_is_asked_for(site: Site) -> None:
    port = begun(site, lasts="100ms", undecided="wait")
    save(site, "2")
    eventually(lambda: "undecided: it waits for more requests" in site.told("shop")["message"], 30)
    asks(site, port, share="50%", lasts="100ms")
    eventually(lambda: "promoted" in kinds(site), 60)
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
    save(site, "1")
    site.manifest("shop", port=port, probation="0s", stop_timeout="5s")
    site.live()
    site.await_settled("shop")
    site.manifest("shop", port=port, probation="30s", stop_timeout="5s")
    with under_load(port) as load:
        site.save(site.root / "apps/shop/wsgi.py", _DYING)
        eventually(lambda: "tried again after an edit" in site.told("shop")["message"], 60)
        answers_of(load, "1", 50)
        assert "canary" not in kinds(site)
        assert site.cli("restart", "shop").returncode == 0
        eventually(lambda: kinds(site) == ["canary", "aborted"], 60)
        eventually(lambda: "tried again after an edit" in site.told("shop")["message"], 60)
        answers_of(load, "1", 50)
    assert load.failed.get("refused", 0) == 0
    assert load.bodies["2"] + sum(load.failed.values()) <= 20
    assert load.bodies["1"] > 100


def _causes(site: Site) -> list[str]:
    found = map(json.loads, site.cli("events", "shop", "--json").stdout.splitlines())
    return [str(event["cause"]) for event in found if event["kind"] == "promoted"]


def _undivided(site: Site, *words: str) -> str:
    """What a command prints where the kernel divides no connections."""
    line = [sys.executable, "-m", "tests.fakes.undividing", *site.command(*words)[3:]]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, timeout=60, check=False)
    return done.stdout + done.stderr


@pytest.mark.skipif(platform.machine() not in {"x86_64", "aarch64"}, reason="the number of setsockopt(2) is not known")
def test_where_the_kernel_divides_nothing_a_revision_takes_over_at_once_and_that_is_told_before(site: Site) -> None:
    port = a_port()
    save(site, "1")
    asks(site, port, share="50%", lasts="1h")
    assert "this kernel does not divide connections (Operation not permitted)" in _undivided(site, "validate")
    assert "connections cannot be divided: Operation not permitted" in _undivided(
        site, "doctor", "--manifests", str(site.manifests)
    )
    words = [sys.executable, "-m", "tests.fakes.undividing", *site.command("run")[3:]]
    with site.console.open("a") as console:
        site.daemons.append(subprocess.Popen(words, stdout=console, stderr=console, cwd=REPOSITORY))
    eventually(site.serves("shop", "1", port), 60)
    with under_load(port) as load:
        save(site, "2")
        eventually(site.serves("shop", "2", port), 60)
    assert load.failed == {}
    (told,) = [text for _, kind, text in site.events("shop") if kind == "canary"]
    assert told.startswith("no canary: the kernel does not divide connections: Operation not permitted; revision")


_PROGRAM = """
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS)
        self.end_headers()
        self.wfile.write(b"VERSION")

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def _program(site: Site, version: str, status: int = 200) -> None:
    directory = site.root / "apps/shop"
    directory.mkdir(exist_ok=True)
    text = _PROGRAM.replace("STATUS", str(status)).replace("VERSION", version)
    site.save(directory / "serve.py", text)


def test_a_program_that_is_not_gunicorn_is_tried_as_well(site: Site) -> None:
    port = a_port()
    _program(site, "1")
    fields = {"command": f"{sys.executable} serve.py", "probation": "0s", "stop_timeout": "5s"}
    site.manifest("shop", port=port, canary={"share": "50%", "for": "1h"}, **fields)
    site.live()
    site.await_settled("shop")
    with under_load(port) as load:
        _program(site, "2")
        answers_of(load, "2")
        eventually(lambda: is_canary(site), 30)
        assert site.cli("promote", "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 30)
        assert load.failed == {}
        _program(site, "3", 500)
        eventually(lambda: kinds(site)[-1:] == ["aborted"], 60)
        eventually(lambda: len(site.instances("shop")) == 1, 30)
        answers_of(load, "2")
    assert "it fails more often" in site.told("shop")["message"]
    assert load.failed.keys() <= {"HTTP/1.0 500 Internal Server Error"}


_PROBED = """
import os

def application(environ, start_response):
    sick = os.path.exists(f"SICK-VERSION-{os.getppid()}")
    is_probe = environ["PATH_INFO"] == "/up"
    start_response("500 No" if is_probe and sick else "200 OK", [("Content-Type", "text/plain")])
    return [b"VERSION"]
"""


def _probed(site: Site, version: str) -> None:
    text = _PROBED.replace("SICK", str(site.root / "sick")).replace("VERSION", version)
    site.save(site.root / "apps/shop/wsgi.py", text)


def test_each_of_both_is_probed_the_canary_goes_and_the_other_is_replaced_when_it_is_unhealthy(site: Site) -> None:
    port = a_port()
    site.source("shop", "0")
    _probed(site, "1")
    health = {"path": "/up", "interval": "1s", "failures": 2}
    canary = {"share": "50%", "for": "1h"}
    site.manifest("shop", port=port, probation="0s", stop_timeout="5s", health=health, canary=canary)
    site.live()
    site.await_settled("shop")
    with under_load(port) as load:
        _probed(site, "2")
        answers_of(load, "2")
        before, canary_master = (master(site, oldest=each) for each in (True, False))
        (site.root / f"sick-1-{before}").touch()
        eventually(lambda: len(found := site.instances("shop")) == 2 and before not in {i.pid for i in found}, 60)
        eventually(lambda: is_canary(site), 30)
        assert canary_master in {i.pid for i in site.instances("shop")}
        assert kinds(site) == ["canary"]
        (site.root / f"sick-2-{canary_master}").touch()
        eventually(lambda: kinds(site) == ["canary", "aborted"], 60)
        eventually(lambda: len(site.instances("shop")) == 1, 30)
        answers_of(load, "1")
    assert load.failed == {}
    assert "GET /up answered 500 No" in site.told("shop")["message"]


_GREEDY = """
import ctypes, socket, struct

once = []

def take_all():
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 0x06, 0, 0, 1))
    for number in range(3, 64):
        try:
            listener = socket.socket(fileno=number)
        except OSError:
            continue
        try:
            if listener.family == socket.AF_INET and listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                listener.setsockopt(socket.SOL_SOCKET, 51, struct.pack("HP", 1, ctypes.addressof(program)))
        except OSError as error:
            return type(error).__name__
        finally:
            listener.detach()
    return "2"

def application(environ, start_response):
    if not once:
        once.append(take_all())
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [once[0].encode()]
"""


def test_an_app_that_gives_itself_every_connection_has_them_for_a_second_at_most(site: Site) -> None:
    port = begun(site, share="20%")
    with under_load(port) as load:
        site.save(site.root / "apps/shop/wsgi.py", _GREEDY)
        answers_of(load, "2", 50)
        answers_of(load, "1", 50)  # again, or for the first time since: its one worker does so once
        seen = load.bodies["2"]
        answers_of(load, "1", 300)
        share = (load.bodies["2"] - seen) / (load.bodies["2"] - seen + 300)
    assert share <= 0.35
    assert load.failed == {}


@pytest.mark.skipif(bool(LACKS), reason=f"no files of its own here: {LACKS}")
def test_an_isolated_app_cannot_change_the_weights(site: Site) -> None:
    port = a_port()
    save(site, "1")
    canary = {"share": "20%", "for": "1h"}
    site.manifest("shop", port=port, probation="0s", stop_timeout="5s", isolation="strict", canary=canary)
    site.live()
    site.await_settled("shop")
    with under_load(port) as load:
        site.save(site.root / "apps/shop/wsgi.py", _GREEDY)
        answers_of(load, "PermissionError", 20)
        assert site.cli("promote", "shop").returncode == 0
        eventually(lambda: len(site.instances("shop")) == 1 and not is_canary(site), 30)
    assert set(load.bodies) == {"1", "PermissionError"}
    assert load.failed == {}
