"""The number of workers by load: a step, its end, and a wave, beside uWSGI's cheaper and fixed numbers of workers.

Every request takes 200 ms in which its worker only waits, so that the load needs no processors; it comes at a rate,
whatever became of the requests before. What is told of each: how long requests waited for a worker, how soon after the
step nine of ten waited for less than 50 ms, how many failed, and for how many seconds workers were there, beside what
the load needs at 70% busy. Exits with 1 where ours fails a request or is late.
"""

import argparse
import asyncio
import contextlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import tools
from benchmarks.bench import bench
from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.gunicorn import gunicorn_by_hand
from benchmarks.machine import described
from benchmarks.processes import children

_TAKES_S = 0.2
_BUSY = 0.7
_LATE_S = 0.05
_MOST = 8
_APP = f"""import time
def application(environ, start_response):
    if environ["PATH_INFO"] == "/work":
        time.sleep({_TAKES_S})
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
# cheaper-busyness looks every cheaper-overload seconds; its multiplier of ten would take half an hour to let one go.
_UWSGI = {
    "uWSGI busyness": (
        "cheaper-algo = busyness", "cheaper-overload = 1", "cheaper-busyness-multiplier = 10",
        "cheaper-busyness-backlog-alert = 33", "cheaper-busyness-backlog-step = 2",
    ),
    "uWSGI backlog": ("cheaper-algo = backlog", "cheaper-overload = 1"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A load: how many requests come each second at a time, for how long; and when its step is, if it has one."""

    name: str
    seconds: float
    rate: Callable[[float], float]
    step_at: float | None = None


@dataclass
class Run:
    """What became of a load: each request's time and wait, those that failed, and the workers at each look."""

    waits: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0
    looks: list[tuple[float, int]] = field(default_factory=list)

    def waited_s(self, share: float, begin: float = 0.0) -> float:
        known = sorted(wait for at, wait in self.waits if at >= begin)
        return known[min(len(known) - 1, int(share * len(known)))] if known else math.inf

    def met_s(self, step_at: float) -> float:
        """Return the seconds from the step until nine of ten requests wait for next to nothing, three seconds long."""
        seconds = dict[int, list[bool]]()
        for at, wait in self.waits:
            seconds.setdefault(int(at - step_at), []).append(wait <= _LATE_S)
        good = {second for second, soon in seconds.items() if sum(soon) >= 0.9 * len(soon)}
        return min((each for each in good if each >= 0 and {each + 1, each + 2} <= good), default=math.inf)

    def worker_seconds(self) -> float:
        pairs = zip(self.looks, self.looks[1:], strict=False)
        return sum((later - at) * workers for (at, workers), (later, _) in pairs)

    def changes(self) -> int:
        return sum(a != b for (_, a), (_, b) in zip(self.looks, self.looks[1:], strict=False))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scaling", description=__doc__)
    parser.add_argument("--peers", default="", help="names, by commas; all of them by default")
    parser.add_argument("--wave", action="store_true", help="twenty minutes of a wave of ten minutes as well")
    asked = parser.parse_args(arguments)
    print(described())
    scenarios = [Scenario(name="step", seconds=60.0, rate=lambda at: 4.0 if at < 15 else 30.0, step_at=15.0)]
    if asked.wave:
        scenarios.append(Scenario(name="wave", seconds=1200.0, rate=lambda at: 17 + 13 * math.sin(at / 600 * math.tau)))
    wanted = [name for name in asked.peers.split(",") if name]
    held = True
    with bench() as here:
        (here.app / "wsgi.py").write_text(_APP)
        for scenario in scenarios:
            print(
                f"\n| {scenario.name} | waits 50 % | 99 % | met after | failed | worker seconds |"
                " of what is needed | changes |"
            )
            print("|---|---|---|---|---|---|---|---|")
            for name, serving in _peers(here.directory, here.app).items():
                if wanted and name not in wanted:
                    continue
                with serving() as (port, workers):
                    run = asyncio.run(_load(port, scenario, workers))
                _tell(name, scenario, run)
        if not wanted or "reconciler" in wanted:
            here.drop("app", f"path: {here.app}\nprobation: 1s\nworkers: {{min: 1, max: {_MOST}, calm: 1m}}\n")
            settings = here.directory / "host.yaml"
            settings.write_text("scaling: {pressure: 100%}\n")
            here.start("--settings", str(settings))
            here.until("running", ["app"])
            told = here.status()["app"]
            port, master = int(str(told["port"])), int(str(told["pid"]))
            for scenario in scenarios:
                run = asyncio.run(_load(port, scenario, lambda: len(children(master))))
                _tell(f"reconciler, {scenario.name}", scenario, run)
                held &= run.failed == 0
    return 0 if held else 1


Workers = Callable[[], int]


def _peers(
    directory: Path, app: Path
) -> dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, Workers]]]]:
    peers: dict[str, Callable[[], contextlib.AbstractContextManager[tuple[int, Workers]]]] = {}
    for number in (1, _MOST):
        peers[f"gunicorn with {number}"] = lambda number=number: _gunicorn(app, number)  # type: ignore[misc]
    for name, options in _UWSGI.items():
        peers[name] = lambda options=options: _uwsgi(directory, app, options)  # type: ignore[misc]
    return peers


@contextlib.contextmanager
def _gunicorn(app: Path, number: int) -> Iterator[tuple[int, Workers]]:
    (port,) = free_ports(1)
    with gunicorn_by_hand(sys.executable, app, port, "-w", str(number)) as began:
        seconds_to_200(port, began)
        yield port, lambda: number


@contextlib.contextmanager
def _uwsgi(directory: Path, app: Path, options: Sequence[str]) -> Iterator[tuple[int, Workers]]:
    (port,) = free_ports(1)
    file = directory / "uwsgi.ini"
    lines = (
        "[uwsgi]", f"http-socket = 127.0.0.1:{port}", f"chdir = {app}", "module = wsgi:application", "master = true",
        f"processes = {_MOST}", "cheaper = 1", "cheaper-initial = 1", "disable-logging = true", "listen = 100",
        *options,
    )  # fmt: skip
    file.write_text("\n".join(lines) + "\n")
    process = subprocess.Popen(
        [tools.tool("uwsgi").path, "--ini", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)},
    )  # fmt: skip
    try:
        seconds_to_200(port, time.perf_counter())
        yield port, lambda: len(children(process.pid))
    finally:
        process.send_signal(2)
        process.wait(30)


async def _load(port: int, scenario: Scenario, workers: Workers) -> Run:
    run, began = Run(), time.perf_counter()
    asked: set[asyncio.Task[None]] = set()
    looking = asyncio.create_task(_look(run, began, workers))
    next_at = 0.0
    while next_at < scenario.seconds:
        await asyncio.sleep(max(0.0, next_at - (time.perf_counter() - began)))
        task = asyncio.create_task(_ask(port, run, next_at))
        asked.add(task)
        task.add_done_callback(asked.discard)
        next_at += 1 / scenario.rate(next_at)
    if asked:
        await asyncio.wait(asked, timeout=60)
    looking.cancel()
    return run


async def _ask(port: int, run: Run, at: float) -> None:
    sent = time.perf_counter()
    try:
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answered = (await reader.read()).startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))
            writer.close()
    except (OSError, TimeoutError):
        answered = False
    if answered:
        run.waits.append((at, max(0.0, time.perf_counter() - sent - _TAKES_S)))
    else:
        run.failed += 1


async def _look(run: Run, began: float, workers: Workers) -> None:
    while True:
        run.looks.append((time.perf_counter() - began, workers()))
        await asyncio.sleep(0.25)


def _tell(name: str, scenario: Scenario, run: Run) -> None:
    needed = sum(_TAKES_S / _BUSY for _ in run.waits) or math.inf
    met = "-" if scenario.step_at is None else f"{run.met_s(scenario.step_at):g} s"
    print(
        f"| {name} | {run.waited_s(0.5) * 1000:.0f} ms | {run.waited_s(0.99) * 1000:.0f} ms | {met} | {run.failed} |"
        f" {run.worker_seconds():.0f} | {run.worker_seconds() / needed:.2f} | {run.changes()} |",
        flush=True,
    )
