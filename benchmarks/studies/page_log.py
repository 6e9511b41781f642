"""The page of a log of 1 GB: how soon it is there, also folded and searched, and whether it makes the process grow."""

import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import bench
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from benchmarks.processes import memory_mb
from benchmarks.studies.page import Client, page_of

SIZE = int(os.environ.get("SIZE", str(2**30)))
LOADS = 20
MOST_MS = 300.0
MOST_GROWTH_MB = 4.0
_START = """\
[2026-11-26 12:50:19 +0000] [{pid}] [INFO] Starting gunicorn 27.0.1
Traceback (most recent call last):
  File "/state/apps/blog/builds/13b417ed3855/code/wsgi.py", line 2, in <module>
    import nope
ModuleNotFoundError: No module named 'nope'
reconciler: not ready: ModuleNotFoundError: No module named 'nope' (wsgi.py:2)
[2026-11-26 12:50:19 +0000] [{pid}] [INFO] Worker exiting (pid: {pid})
"""
_PAGES = {
    "its end": "",
    "every line": "?show=written",
    "an older page": f"?before={SIZE // 2}",
    "a search": "?q=nowhere",
}


def main(_: Sequence[str]) -> int:
    print(described())
    with bench() as here:
        settings = here.directory / "host.yaml"
        settings.write_text("logs: {limit: 8G}\n")  # so that it stays one file
        daemon = here.start("--settings", str(settings)).pid
        here.drop("blog", f"path: {here.app}\nworkers: 1\n")
        here.until("running", ["blog"])
        log = here.state / "logs" / "blog" / "app.log"
        write_log(log)
        place = here.state / "api.sock"
        load(place, "")
        web = page_of(daemon)
        before = memory_mb(web)
        held = []
        for name, query in _PAGES.items():
            taken = [load(place, query) for _ in range(LOADS)]
            print(f"{name:14} {summary(taken)}")
            held.append(name == "a search" or verdict(f"{name}, in ms", statistics.median(taken) * 1000, MOST_MS))
        after = memory_mb(web)
        assert log.stat().st_size >= SIZE, "it was rotated meanwhile"
        print(f"memory: {before:.1f} MB before, {after:.1f} MB after {LOADS * len(_PAGES)} pages (PSS)")
        return 0 if verdict("growth in MB", after - before, MOST_GROWTH_MB) and all(held) else 1


def write_log(file: Path) -> None:
    """Write a log of failed starts and what an app says between them."""
    block = "".join(
        f"[2026-11-26 12:50:{number % 60:02} +0000] [43] [INFO] request {number} took {number % 97} ms\n"
        if number % 20
        else _START.format(pid=number)
        for number in range(10_000)
    ).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as log:
        while log.tell() < SIZE:
            log.write(block)


def load(place: Path, query: str) -> float:
    began = time.perf_counter()
    client = Client(place)
    client.request("GET", f"/apps/blog/logs{query}")
    answer = client.getresponse()
    answer.read()
    client.close()
    assert answer.status == 200
    return time.perf_counter() - began
