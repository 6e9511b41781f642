"""What counting requests costs: processor time per request of a trivial app's workers, with the hooks and without.

Two gunicorns run side by side, one worker each, that differ in nothing but the counting; wrk asks them in turn, round
after round. What a pair of rounds differs by on a machine that does other things is several percent either way, far
more than counting is. So counting is also timed by itself, a million times in this process, and held against the
processor time (utime + stime) of the worker's requests without it: that is the verdict.
Exits with 1 when counting costs 2% or more.
"""

import argparse
import asyncio
import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.machine import described
from benchmarks.tools import tool
from reconciler.planning.address import Address
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Server, Source
from reconciler.serving import gate, gate_asgi
from reconciler.serving.programs.gunicorn import Code, InstancePaths, config_text

_TICKS = os.sysconf("SC_CLK_TCK")
_WSGI = """def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "3")])
    return [b"hi\\n"]
"""
_ASGI = """async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"hi\\n"})
"""
_KINDS = {"sync": ("sync", 1, 2), "gthread": ("gthread", 4, 4), "asgi": ("asgi", 1, 4)}
_AT_MOST = 0.02
_TIMES = 50_000
# The very things, which have no types: an app's own Python runs them.
_Gate: Any = gate.Gate
_counted: Any = gate_asgi._counted  # noqa: SLF001


@dataclass
class Running:
    """One gunicorn, its only worker, and what each round gave."""

    port: int
    worker: int
    cpu_us: list[float]
    per_second: list[float]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks metrics_cost", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=3)
    asked = parser.parse_args(arguments)
    if tool("wrk").missing:
        print(tool("wrk").missing, file=sys.stderr)
        return 2
    print(described())
    holds = [_tell(kind, compare(kind, asked.rounds, asked.seconds)) for kind in _KINDS]
    return 0 if all(holds) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both gunicorns after their rounds, and the microseconds of CPU that counting takes by itself."""

    without: Running
    counting: Running
    itself_us: float

    @property
    def share(self) -> float:
        """Of the processor time of a request without it."""
        return self.itself_us / statistics.median(self.without.cpu_us)


def compare(kind: str, rounds: int, seconds: int) -> Compared:
    connections = _KINDS[kind][2]
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        pair = [
            stack.enter_context(_gunicorn(Path(directory) / str(counting), kind, counting=counting))
            for counting in (False, True)
        ]
        for number in range(rounds + 1):
            for each in pair if number % 2 else reversed(pair):
                _round(each, connections, seconds, counts=number > 0)  # the first one only warms up
    return Compared(without=pair[0], counting=pair[1], itself_us=_itself_us(kind))


def _tell(kind: str, compared: Compared) -> bool:
    without, with_ = compared.without, compared.counting
    pairs = [b / a - 1 for a, b in zip(without.cpu_us, with_.cpu_us, strict=True)]
    low, median, high = statistics.quantiles(pairs, n=4)
    print(
        f"{kind:8} {statistics.median(without.cpu_us):5.1f} us of CPU a request,"
        f" counting by itself {compared.itself_us:.2f} us:"
        f" {compared.share:.1%}; pairs of rounds differ by {median:+.1%} (quartiles {low:+.1%}, {high:+.1%});"
        f" {statistics.median(without.per_second):.0f} -> {statistics.median(with_.per_second):.0f} requests/s"
    )
    return compared.share < _AT_MOST


def _itself_us(kind: str) -> float:
    """Microseconds of CPU that counting adds to one request; the best of several goes, as nothing makes it quicker."""
    with tempfile.TemporaryDirectory() as directory:
        counting: Any = _Gate(passed=directory, doorbell="/nowhere", path=None, host="host", timeout_s=1)
        counting.let_in()
        if kind == "asgi":
            counted = _counted(counting, _answer)
            return _best_us(lambda: asyncio.run(_call(counted))) - _best_us(lambda: asyncio.run(_call(_answer)))
        answer = SimpleNamespace(status="200 OK", headers_sent=True)
        return _best_us(lambda: _hooks(counting.begin, counting.end, answer)) - _best_us(
            lambda: _hooks(lambda _: None, lambda _, __: None, answer)
        )


def _best_us(run: Callable[[], None]) -> float:
    return min(timeit.repeat(run, number=1, repeat=20, timer=time.process_time)) / _TIMES * 1e6


def _hooks(begin: Callable[[Any], None], end: Callable[[Any, Any], None], answer: Any) -> None:
    for _ in range(_TIMES):
        request = SimpleNamespace(uri="/")
        begin(request)
        end(request, answer)


async def _call(app: Any) -> None:
    scope = {"type": "http", "path": "/", "headers": []}
    for _ in range(_TIMES):
        await app(scope, None, _swallow)


async def _answer(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001  as ASGI calls it
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hi"})


async def _swallow(message: Any) -> None: ...


def _round(running: Running, connections: int, seconds: int, *, counts: bool) -> None:
    before = _ticks(running.worker)
    command = [tool("wrk").path, "-t1", f"-c{connections}", f"-d{seconds}s", f"http://127.0.0.1:{running.port}/"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = (_ticks(running.worker) - before) / _TICKS
    requests = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    if counts:
        running.cpu_us.append(used / requests * 1e6)
        running.per_second.append(float(re.search(r"Requests/sec:\s+([\d.]+)", told)[1]))  # type: ignore[index]


@contextlib.contextmanager
def _gunicorn(directory: Path, kind: str, *, counting: bool) -> Iterator[Running]:
    worker_class, threads, _ = _KINDS[kind]
    (port,) = free_ports(1)
    passed = directory / "passed"
    (passed / "one").mkdir(parents=True)
    (directory / "wsgi.py").write_text(_ASGI if kind == "asgi" else _WSGI)
    config = directory / "gunicorn.config"
    config.write_text(_config(directory, port, Server(worker_class=worker_class, threads=threads, access_log=False)))
    if not counting:
        config.write_text(config.read_text() + _WITHOUT)
    env = {"PATH": os.environ["PATH"], "RECONCILER_APP": "bench", "RECONCILER_INSTANCE": "one"}
    command = [sys.executable, "-c", _GUNICORN, "-c", str(config), "-b", f"127.0.0.1:{port}", "wsgi:application"]
    process = subprocess.Popen(command, cwd=directory, env=env, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        seconds_to_200(port, time.perf_counter())
        (worker,) = (int(path.name) for path in (passed / "one").iterdir() if path.name.isdecimal())
        yield Running(port=port, worker=worker, cpu_us=[], per_second=[])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


# gunicorn with a listener of its own, which reads our configuration as one that inherits it does.
_GUNICORN = """
import os
from gunicorn.app.base import Application
from gunicorn.app.wsgiapp import run
from reconciler.serving import launcher

cell = launcher.take_on(os.environ)
Application.get_config_from_filename = lambda _, name: launcher.read_config(name, {}, cell)
run()
"""
# The default hooks, which gunicorn leaves uncalled or calls for nothing; and no wrapping of the ASGI app.
_WITHOUT = """
del pre_request, post_request
_gate.let_in.__globals__["_FIGURES"] = "class Figures(object):\\n    def __new__(cls, *_):\\n        raise OSError\\n"
"""


def _config(directory: Path, port: int, server: Server) -> str:
    source = Source(path=str(directory))
    address = Address(host="127.0.0.1", port=port)
    revision = App(name="bench", manifest="", source=source, address=address, server=server).revision("0")
    nowhere = directory / "nowhere"
    places = InstancePaths(
        revisions=directory, readiness=directory / "passed", home=directory, scratch=directory, log=directory / "log",
        access_log=nowhere, wakeup_file=nowhere,
    )  # fmt: skip
    python, target = sys.executable, "wsgi:application"
    code = Code(directory=str(directory), python=python, target=target, worker_class="sync", runtime="")
    return config_text(revision, code, places, server.workers)


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
