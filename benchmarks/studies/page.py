"""The page with 500 apps: how soon it is loaded, and what one viewer costs the daemon and the process that answers."""

import http.client
import os
import socket
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from benchmarks.processes import children, command_line, cpu_s, memory_mb

APPS = int(os.environ.get("APPS", "500"))
LOADS = 20
WATCHED_S = 30.0
MOST_MS = 300.0
MOST_PERCENT = 5.0


class Client(http.client.HTTPConnection):
    def __init__(self, place: Path) -> None:
        super().__init__("localhost", timeout=30)
        self.place = place

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(str(self.place))


def fill(here: Bench, count: int) -> None:
    """Have a daemon serve so many apps; one of ten is awake, so that there is something to weigh."""
    names = [f"app-{number:03}" for number in range(count)]
    for name in names:
        here.drop(name, f"path: {here.app}\nstart: lazy\nworkers: 1\n")
    here.until("sleeping", names)
    ports = {name: app["port"] for name, app in here.status().items()}
    for name in names[::10]:
        client = http.client.HTTPConnection("127.0.0.1", int(str(ports[name])), timeout=60)
        client.request("GET", "/")
        client.getresponse().read()


def page_of(daemon: int) -> int:
    """The process that answers for a daemon."""
    return next(pid for pid in children(daemon) if "reconciler.web" in command_line(pid))


def load(place: Path) -> tuple[float, int]:
    began = time.perf_counter()
    client = Client(place)
    client.request("GET", "/")
    answer = client.getresponse()
    size = len(answer.read())
    client.close()
    assert answer.status == 200
    return time.perf_counter() - began, size


def main(_arguments: Sequence[str]) -> int:
    print(described())
    with bench() as here:
        daemon = here.start().pid
        fill(here, APPS)
        place = here.state / "api.sock"
        first, size = load(place)
        print(f"the first page, with the start of the process: {first * 1000:.0f} ms, {size / 1024:.0f} kB")
        taken = []
        for _ in range(LOADS):
            time.sleep(0.6)  # so that none is answered from the look before
            taken.append(load(place)[0])
        print(f"the page: {summary(taken)}")
        viewer = Client(place)
        viewer.request("GET", "/live", headers={"Accept": "text/event-stream"})
        stream = viewer.getresponse()
        for _ in range(4):
            stream.readline()
        web = page_of(daemon)
        time.sleep(5)
        before = cpu_s(daemon), cpu_s(web)
        time.sleep(WATCHED_S)
        shares = [(cpu_s(pid) - b) / WATCHED_S * 100 for pid, b in zip((daemon, web), before, strict=True)]
        print(f"with one viewer, over {WATCHED_S:.0f} s: daemon {shares[0]:.2f}%, page {shares[1]:.2f}% of one core")
        print(f"memory: daemon {memory_mb(daemon):.1f} MB, page {memory_mb(web):.1f} MB (PSS)")
        viewer.close()
        good = verdict("page in ms, median", statistics.median(taken) * 1000, MOST_MS)
        return 0 if verdict("processor with one viewer, in percent", sum(shares), MOST_PERCENT) and good else 1
