"""Limits on a running host: a leak costs no request, and what goes beyond its limit harms nothing beside it."""

import http.client
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from reconciler.isolation.cells import Cells
from reconciler.linux.control_groups import hierarchies
from tests.support.eventually import eventually
from tests.support.load import under_load
from tests.support.ports import a_port
from tests.support.site import Site, get

_LAYOUT = Cells("0" * 16).layout
pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(
        not {"memory", "pids", "cpu"} <= _LAYOUT.limiting.keys(), reason=f"no limits by control groups: {_LAYOUT.lacks}"
    ),
]

_LEAK = """
kept = []
def application(environ, start_response):
    kept.append(b"x" * (MB << 20))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"kept"]
"""
_HOG = "x = b'x' * (300 << 20)"


def _leaking(site: Site, megabytes: int, **limits: Any) -> int:
    port = a_port()
    directory = site.root / "apps/leak"
    directory.mkdir()
    site.save(directory / "wsgi.py", _LEAK.replace("MB", str(megabytes)))
    site.manifest("leak", port=port, probation="1s", limits=limits)
    return port


def _handovers(site: Site) -> list[str]:
    return [text for _, kind, text in site.events("leak") if kind == "limited"]


def test_a_leak_is_answered_by_hand_overs_and_costs_no_request(site: Site) -> None:
    port = _leaking(site, 1, memory="256M", soft="96M")
    site.live(limits_rest_s=0.0)
    site.await_settled("leak")
    with under_load(port, clients=2, pause_s=0.03) as load:
        eventually(lambda: len(_handovers(site)) >= 2, 20)
    assert load.failed == {}
    assert all(" of 256 MB" in text for text in _handovers(site))
    assert not [text for _, kind, text in site.events("leak") if kind == "exceeded"]


def test_a_leak_that_is_too_soon_for_a_hand_over_is_answered_by_the_worker_itself(site: Site) -> None:
    port = _leaking(site, 10, memory="256M")
    site.live()
    site.await_settled("leak")
    seen = Counter[str]()
    _ask(port, seen, iter([0.0] * 100))
    assert seen == {"200": 100}
    assert not [text for _, kind, text in site.events("leak") if kind == "exceeded"]
    assert not _handovers(site)
    log = (site.paths.logs / "leak" / "app.log").read_text()
    assert log.count("MB, and each of the last 4 left 10.0 MB or more") >= 3


def _ask(port: int, seen: Counter[str], dues: Iterator[float]) -> None:
    """Ask at each of these times, monotonic seconds, or as soon after it as the request before is answered."""
    for due in dues:
        time.sleep(max(0.0, due - time.monotonic()))
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            connection.request("GET", "/")
            seen[str(connection.getresponse().status)] += 1
        except (OSError, http.client.HTTPException) as error:
            seen[repr(error)] += 1
        finally:
            connection.close()


@pytest.mark.nightly
@pytest.mark.parametrize("soft", [None, "64M"])
def test_ten_megabytes_a_request_fifty_times_a_second_for_five_minutes_cost_no_request(
    site: Site, soft: str | None
) -> None:
    port = _leaking(site, 10, memory="256M", **({"soft": soft} if soft else {}))
    site.live(limits_rest_s=0.0)
    site.await_settled("leak")
    begin, seen = time.monotonic(), Counter[str]()
    each = [(begin + number / 50 for number in range(client, 300 * 50, 16)) for client in range(16)]
    threads = [threading.Thread(target=_ask, args=(port, seen, dues)) for dues in each]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    most = max(int(text.partition(" it has ")[2].split()[0]) for text in _handovers(site))
    exceeded = [text for _, kind, text in site.events("leak") if kind == "exceeded"]
    took_s = time.monotonic() - begin
    print(f"{seen} in {took_s:.0f} s, {len(_handovers(site))} hand-overs at {most} MB at most, {exceeded}")
    assert seen == {"200": 300 * 50}
    assert exceeded == []
    assert len(_handovers(site)) >= 3


def test_a_task_and_a_process_that_need_too_much_say_so(site: Site) -> None:
    site.app(
        "shop",
        limits={"memory": "128M"},
        processes={"hog": {"command": ["python", "-c", _HOG], "limits": {"memory": "64M"}, "required": False}},
    )
    site.start()
    eventually(lambda: site.told("shop")["pid"] is not None, 30)
    words = ["task", "--state", str(site.state), "shop", "--", "python", "-c", _HOG]
    done = subprocess.run([sys.executable, "-m", "reconciler", *words], capture_output=True, timeout=60, check=False)
    assert done.returncode == 137, done.stderr
    (ending,) = eventually(lambda: [text for _, kind, text in site.events("shop") if kind == "task"])
    assert "killed by SIGKILL: it needed more than 128M" in ending

    def told() -> bool:
        (row,) = site.told("shop")["processes"]
        return "it needed more than 64M" in str(row["message"])

    eventually(told, 20)
    assert site.cli("down").returncode == 0
    tree = f"reconciler-{site.state_id()}"
    assert not [each for each in hierarchies() if (each.group.path / tree).exists()]


_BOMBS: dict[str, tuple[dict[str, Any], str]] = {
    "forks": (
        {"processes": 40},
        "while True:\n    try:\n        os.fork()\n    except OSError:\n        time.sleep(0.1)",
    ),
    "threads": (
        {"processes": 40},
        """while True:
    try:
        threading.Thread(target=time.sleep, args=(600,)).start()
    except RuntimeError:
        time.sleep(0.1)""",
    ),
    "files": (
        {"files": 128},
        "while True:\n    try:\n        kept.append(open('/dev/null'))\n    except OSError:\n        time.sleep(0.1)",
    ),
    "disk": (
        {"disk": "8M"},
        "with open(os.environ['TMPDIR'] + '/big', 'wb') as file:\n    file.write(b'x' * (32 << 20))\ntime.sleep(600)",
    ),
}


@pytest.mark.nightly
def test_bombs_of_every_kind_leave_the_daemon_and_the_others_answering(site: Site) -> None:
    """Forks, threads, descriptors, disk, and all of the processor in 20 apps, beside an app that must not notice."""
    port = site.app("innocent")
    site.start()
    site.await_settled("innocent")
    alone = _p99(port)
    for name, (limits, text) in _BOMBS.items():
        _bomb(site, name, limits, text)
    for number in range(20):
        _bomb(site, f"cpu-{number}", {"cpu": 0.05}, "while True:\n    pass")
    eventually(lambda: len(site.instances()) >= 25, 120)
    with under_load(port, clients=1, pause_s=0.02) as load:
        beside = _p99(port)
        began = time.monotonic()
        told = site.cli("status", "--json")
        took_s = time.monotonic() - began
        assert told.returncode == 0, told.stderr
        eventually(partial(_has_exceeded, site, "disk"), 90)
        for name in ("forks", "threads"):
            eventually(partial(_has_exceeded, site, name), 30)
    print(f"p99 alone {alone * 1000:.1f} ms, beside {beside * 1000:.1f} ms; status took {took_s:.2f} s; {load.failed}")
    assert load.failed == {}
    assert site.cli("stop", "forks", "threads", "--json", timeout_s=60).returncode == 0
    eventually(lambda: not site.instances("forks"), 60)


def _has_exceeded(site: Site, name: str) -> bool:
    return str(site.told(name)["reason"]) == "limit-exceeded"


def _bomb(site: Site, name: str, limits: dict[str, Any], text: str) -> None:
    """An app that serves, and does this beside it."""
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    program = f"import os, threading, time\nkept = []\ndef bomb():\n    time.sleep(1)\n{indented}\n"
    port = site.app(name, limits=limits)
    file = site.root / "apps" / name / "wsgi.py"
    site.save(file, f"{program}threading.Thread(target=bomb, daemon=True).start()\n{file.read_text()}")
    assert port


def _p99(port: int) -> float:
    took = []
    for _ in range(200):
        began = time.monotonic()
        get(port)
        took.append(time.monotonic() - began)
    return statistics.quantiles(took, n=100)[98]
