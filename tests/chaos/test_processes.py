"""Processes of apps through 200 SIGKILLs, crashes of every kind, and jobs that are longer than many deploys."""

import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.site import Site, is_gone

KILLS = 200
# Writes down its pid all the time; a child of it does so as well, a moment longer than it.
BEAT = """
import os, signal, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent = os.getppid()
    until = None
    while until is None or time.monotonic() < until:
        print(f"{time.monotonic():.6f} {parent}", flush=True)
        time.sleep(0.01)
        if until is None and os.getppid() != parent:
            until = time.monotonic() + 0.3
    os._exit(0)
ends = []
signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
while not ends:
    print(f"{time.monotonic():.6f} {os.getpid()}", flush=True)
    time.sleep(0.01)
# {version}
"""


def told(site: Site) -> dict[str, Any]:
    rows: list[dict[str, Any]] = site.told("blog")["processes"]
    return rows[0] if rows else {"pids": [], "running": 0}


def logged(site: Site) -> list[tuple[float, int]]:
    """Each moment at which one of them wrote, and the leader that it belongs to."""
    files = sorted(site.paths.log("blog", "beat.1").parent.glob("beat.1.log*"), reverse=True)
    found = []
    for line in (line for file in files for line in file.read_text(errors="replace").splitlines()):
        at, _, pid = line.partition(" ")
        if pid.isdecimal() and at.replace(".", "", 1).isdecimal():
            found.append((float(at), int(pid)))
    return sorted(found)


def drains(site: Site, count: int) -> bool:
    return bool(told(site)["draining"] == count)


def is_told(site: Site, words: str) -> bool:
    return any(words in text for _, _, text in site.events("blog"))


@pytest.mark.nightly
def test_two_of_a_single_process_never_run_at_once_whatever_is_killed(site: Site) -> None:
    chance = random.Random(4)
    beat = {"command": "python beat.py", "single": True, "ready": {"after": "50ms"}, "stop_timeout": "2s"}
    fields: dict[str, Any] = {"probation": "1s", "processes": {"beat": beat}, "crash": {"cap": "1s"}}
    port = site.app("blog", **fields)
    site.source("blog", beat=BEAT.replace("{version}", "0"))
    daemon = site.start()
    eventually(lambda: told(site)["running"] == 1)
    for kill in range(KILLS):
        if chance.random() < 0.9:
            eventually(lambda: told(site)["running"] == 1)
        if kill % 10 == 9:  # a deploy
            site.source("blog", beat=BEAT.replace("{version}", str(kill)))
        victims = [daemon.pid] if kill % 4 == 0 else list(told(site)["pids"])
        if victims and chance.random() < 0.3 and victims[0] != daemon.pid:
            victims = [int(pid) for pid in _children(victims[0])] or victims
        for pid in victims:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)
        if kill % 4 == 0:
            daemon.wait()
            daemon = site.start()
        time.sleep(chance.uniform(0.0, 0.2))
    eventually(lambda: told(site)["running"] == 1, within=60)
    assert port
    moments = logged(site)
    last: dict[int, float] = {}
    first: dict[int, float] = {}
    for at, pid in moments:
        first.setdefault(pid, at)
        last[pid] = at
    order = sorted(first, key=lambda pid: first[pid])
    assert len(order) > KILLS // 3
    overlaps = [(a, b) for a, b in pairwise(order) if first[b] < last[a]]
    assert overlaps == []


def _children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


LONG = """
import os, signal, time
ends = []
signal.signal(signal.SIGTERM, lambda *_: ends.append(1))
home = os.environ["HOME"]
open(f"{home}/began.{version}", "w").write(str(os.getpid()))
while not ends or os.path.exists(f"{home}/job"):
    time.sleep(0.02)
open(f"{home}/done.{version}", "w").close()
"""


@pytest.mark.nightly
def test_a_job_longer_than_three_deploys_is_finished_while_new_work_is_done_by_new_code(site: Site) -> None:
    home = site.paths.home("blog")
    home.mkdir(parents=True, exist_ok=True)
    (home / "job").touch()
    worker = {"command": "python worker.py", "ready": {"after": "100ms"}, "stop_timeout": "1h"}
    site.app("blog", probation="1s", processes={"worker": worker})
    site.source("blog", worker=LONG.replace("{version}", "1"))
    site.start()
    eventually(lambda: (home / "began.1").exists() and told(site)["running"] == 1)
    for version in ("2", "3", "4"):
        site.source("blog", worker=LONG.replace("{version}", version))
        eventually((home / f"began.{version}").exists)
        eventually(partial(drains, site, int(version) - 1))
        assert not (home / "done.1").exists()
    (home / "job").unlink()
    eventually(lambda: all((home / f"done.{version}").exists() for version in "123"))
    eventually(lambda: told(site)["draining"] == 0)


@pytest.fixture
def small() -> Iterator[Path | None]:
    """A control group with little memory, None where none can be made."""
    group = Path("/sys/fs/cgroup/memory") / f"reconciler-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        yield None
        return
    (group / "memory.limit_in_bytes").write_text(str(64 * 2**20))
    yield group
    eventually(partial(is_removed, group))


def is_removed(group: Path) -> bool:
    group.rmdir()
    return True


@pytest.mark.nightly
def test_every_way_to_end_is_told_in_words_and_repaired(site: Site, small: Path | None) -> None:
    code = """
import os, signal, socket, sys, time
def say(text):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.sendto(text, os.environ["NOTIFY_SOCKET"])
say(b"READY=1")
while True:
    time.sleep(0.1)
    say(b"WATCHDOG=1")
    order = os.path.join(os.environ["HOME"], "order")
    if os.path.exists(order):
        what = open(order).read()
        os.unlink(order)
        if what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif what.startswith("/"):
            open(what, "w").write(str(os.getpid()))
            much = b"x" * 400_000_000
        elif what == "fork":
            if os.fork() == 0:
                os.setsid()
                open(os.path.join(os.environ["HOME"], "stray"), "w").write(str(os.getpid()))
                time.sleep(600)
        else:
            sys.exit(int(what))
"""
    worker = {"command": "python worker.py", "ready": "notify", "watchdog": "1s", "stop_timeout": "1s"}
    site.app("blog", probation="0", processes={"worker": worker}, crash={"cap": "1s"})
    site.source("blog", worker=code)
    site.start()
    home = site.paths.home("blog")
    stray = 0
    ways = {"0": "exited with 0", "7": "exited with 7", "stop": "WATCHDOG=1 for 1 s", "fork": "SIGKILL"}
    if small is not None:
        ways[str(small / "cgroup.procs")] = "was ended by SIGKILL, most likely by the kernel, which was out of memory"
    for order, words in ways.items():
        eventually(lambda: told(site)["running"] == 1 and len(told(site)["pids"]) == 1)
        (before,) = told(site)["pids"]
        (home / "order.draft").write_text(order)
        (home / "order.draft").rename(home / "order")
        if order == "fork":
            eventually(lambda: (home / "stray").exists() and (home / "stray").read_text() != "")
            stray = int((home / "stray").read_text())
            os.kill(before, signal.SIGKILL)
        eventually(partial(is_gone, before))
        eventually(partial(is_told, site, words))
    eventually(lambda: is_gone(stray))
    eventually(lambda: told(site)["running"] == 1)
