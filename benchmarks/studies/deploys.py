"""100 deploys under a steady load: failed requests, and the 99th percentile of latency beside the one without deploys.

Code, environment, workers and requirements (already staged) change in turn, for sync, gthread and asgi workers, on
kept and on closed connections. `wrk` asks at a fixed pace per connection. With --broken, a third of the deploys is bad:
none may answer a request before it passed its gate, and none may cost one while the release before serves. One that
exits after it took over takes along what its worker has accepted, one request for each connection at most.
"""

import argparse
import re
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.clients import free_ports
from benchmarks.machine import described
from benchmarks.printed import verdict
from benchmarks.tools import tool

KINDS = {"sync": "worker_class: sync", "gthread": "worker_class: gthread\nthreads: 4", "asgi": ""}
CONNECTIONS = 16
MOST_P99 = 2.0
BROKEN = ("import", "health", "hang", "exit", "release")

WSGI = """
import time
VERSION = "{version}"
BAD = "{bad}"
if BAD == "import":
    raise RuntimeError("this release does not import")
if BAD == "exit":
    import os, threading
    threading.Timer(3.0, lambda: os._exit(7)).start()
def application(environ, start_response):
    if BAD == "health" and environ["PATH_INFO"] == "/healthz":
        start_response("500 Oops", [("Content-Length", "0")])
        return [b""]
    if BAD == "hang" and environ["PATH_INFO"] == "/healthz":
        time.sleep(60)
    body = ("GATED-BAD" if BAD in ("health", "hang", "import") else VERSION).encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""

ASGI = """
import asyncio
VERSION = "{version}"
BAD = "{bad}"
if BAD == "import":
    raise RuntimeError("this release does not import")
if BAD == "exit":
    import os, threading
    threading.Timer(3.0, lambda: os._exit(7)).start()
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise RuntimeError("only http")
    status = 200
    if BAD == "health" and scope["path"] == "/healthz":
        status = 500
    if BAD == "hang" and scope["path"] == "/healthz":
        await asyncio.sleep(60)
    body = ("GATED-BAD" if BAD in ("health", "hang", "import") else VERSION).encode()
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({{"type": "http.response.start", "status": status, "headers": headers}})
    await send({{"type": "http.response.body", "body": body}})
"""

SCRIPT = """
function delay() return {delay_ms} end
local counter = 0
bad = 0
function setup(thread) threads = threads or {{}}; table.insert(threads, thread) end
function response(status, headers, body) if body:find("GATED") then bad = bad + 1 end end
function done(summary, latency, requests)
  local total = 0
  for _, thread in ipairs(threads) do total = total + thread:get("bad") end
  io.write(string.format("P99 %d us\\nBAD %d\\nERRORS %d %d %d %d %d\\nREQUESTS %d\\n", latency:percentile(99), total,
    summary.errors.connect, summary.errors.read, summary.errors.write, summary.errors.status, summary.errors.timeout,
    summary.requests))
end
"""


@dataclass
class Load:
    """What one run of wrk saw. `errors` are connect, read, write, status, timeout."""

    p99_ms: float
    errors: tuple[int, ...]
    requests: int
    from_bad: int


def start_wrk(port: int, seconds: float, close: bool, script: Path) -> "subprocess.Popen[str]":
    command = [tool("wrk").path, "-t1", f"-c{CONNECTIONS}", f"-d{seconds:.0f}s", "--timeout", "30s", "-s", str(script)]
    if close:
        command += ["-H", "Connection: close"]
    return subprocess.Popen([*command, f"http://127.0.0.1:{port}/"], stdout=subprocess.PIPE, text=True)


def result_of(wrk: "subprocess.Popen[str]") -> Load:
    told = wrk.communicate()[0]
    errors = re.search(r"ERRORS (\d+) (\d+) (\d+) (\d+) (\d+)", told)
    assert errors, told
    return Load(
        p99_ms=int(re.search(r"P99 (\d+)", told)[1]) / 1000,  # type: ignore[index]
        errors=tuple(int(e) for e in errors.groups()),
        requests=int(re.search(r"REQUESTS (\d+)", told)[1]),  # type: ignore[index]
        from_bad=int(re.search(r"BAD (\d+)", told)[1]),  # type: ignore[index]
    )


class Deploys:
    """One app that is changed again and again."""

    def __init__(self, here: Bench, kind: str, port: int) -> None:
        self.here, self.kind, self.port = here, kind, port
        self.number = self.exits = 0
        self.workers, self.env, self.bad, self.requirements = 1, 0, "", 0
        self.code = here.directory / f"code-{kind}-{port}"
        self.code.mkdir()
        self.name = f"{kind}-{port}"

    def write(self) -> None:
        text = (ASGI if self.kind == "asgi" else WSGI).format(version=f"v{self.number}", bad=self.bad)
        target = self.code / ("asgi.py" if self.kind == "asgi" else "wsgi.py")
        draft = Path(tempfile.mkstemp(dir=self.here.directory)[1])
        draft.write_text(text)
        (self.code / "requirements.txt").write_text(["", "six\n"][self.requirements])
        draft.rename(target)

    def manifest(self) -> None:
        self.here.drop(
            self.name,
            f"path: {self.code}\nport: {self.port}\nworkers: {self.workers}\n{KINDS[self.kind]}\n"
            f"env: {{N: '{self.env}'}}\nprobation: 5s\nhealth: {{path: /healthz, interval: 60s, timeout: 1s}}\n"
            + ("release: python -c 'raise SystemExit(3)'\n" if self.bad == "release" else ""),
        )

    def events(self, kind: str) -> int:
        query = "SELECT count(*) FROM event WHERE name = ? AND kind = ?"
        try:
            with closing(sqlite3.connect(f"file:{self.here.state}/reconciler.db?mode=ro", uri=True)) as database:
                return int(database.execute(query, (self.name, kind)).fetchone()[0])
        except sqlite3.OperationalError:  # the daemon has not made it yet
            return 0

    def wait_for(self, kind: str, count: int, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while self.events(kind) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name}: no {kind} event number {count}")
            time.sleep(0.05)

    def deploy(self) -> None:
        """One good change, of the next kind in turn, until the instance before it is gone."""
        self.number += 1
        self.bad = ""
        ready, stopped = self.events("ready"), self.events("stopped")
        match self.number % 4:
            case 0:
                self.write()
            case 1:
                self.env += 1
                self.manifest()
            case 2:
                self.workers = 3 - self.workers
                self.manifest()
            case 3:
                self.requirements = 1 - self.requirements
                self.write()
        self.wait_for("ready", ready + 1)
        self.wait_for("stopped", stopped + 1)

    def break_it(self, how: str) -> None:
        """One bad change, until it was refused, or has died and been replaced; then the fix."""
        self.number += 1
        before = self.events("failed") + self.events("exited")
        self.bad = how
        self.exits += how == "exit"
        change = self.manifest if how == "release" else self.write
        change()
        deadline = time.monotonic() + 60
        while self.events("failed") + self.events("exited") == before and time.monotonic() < deadline:
            time.sleep(0.05)
        ready = self.events("ready")
        self.bad = ""
        self.number += 1
        if how == "release":  # without it all is as it was, and serves already
            self.manifest()
        else:
            self.write()
            self.wait_for("ready", ready + 1)
        time.sleep(0.5)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks deploys", description=__doc__)
    parser.add_argument("--deploys", type=int, default=102)
    parser.add_argument("--seconds", type=float, default=45.0, help="of each of the six loads")
    parser.add_argument("--rate", type=int, default=2000, help="requests a second")
    parser.add_argument("--kinds", default=",".join(KINDS), help="worker classes to load")
    parser.add_argument("--broken", action="store_true")
    asked = parser.parse_args(arguments)
    print(described())
    held, total, failed, from_bad = True, 0, 0, 0
    with bench() as here:
        script = here.directory / "load.lua"
        script.write_text(SCRIPT.format(delay_ms=round(CONNECTIONS / asked.rate * 1000)))
        here.start()
        for kind in asked.kinds.split(","):
            for close in (False, True):
                (port,) = free_ports(1)
                app = Deploys(here, kind, port)
                app.write()
                app.manifest()
                app.wait_for("ready", 1)
                for _ in range(4):  # both sets of requirements are in the store from here on
                    app.deploy()
                quiet = result_of(start_wrk(port, 10, close, script))
                wrk = start_wrk(port, asked.seconds, close, script)
                began, done = time.monotonic(), 0
                each = asked.deploys / 6
                while time.monotonic() - began < asked.seconds - 8 and done < each:
                    if asked.broken and done % 3 == 2:
                        app.break_it(BROKEN[(done // 3) % len(BROKEN)])
                    else:
                        app.deploy()
                    done += 1
                busy = result_of(wrk)
                total += busy.requests
                failed += sum(busy.errors)
                from_bad += busy.from_bad
                ratio = busy.p99_ms / quiet.p99_ms
                print(
                    f"{kind:8} {'close' if close else 'keep-alive':10}  {done:3} deploys  {busy.requests:7} requests  "
                    f"errors (connect, read, write, status, timeout) {busy.errors}  from a refused release "
                    f"{busy.from_bad}  p99 {quiet.p99_ms:.1f} → {busy.p99_ms:.1f} ms ({ratio:.2f})"
                )
                here.drop(app.name, f"path: {app.code}\nport: {port}\nstate: stopped\n")
                time.sleep(1)
                held &= sum(busy.errors) <= app.exits * CONNECTIONS and busy.from_bad == 0
                if app.exits:
                    print(f"  {app.exits} of them exited while they served")
                if not asked.broken:
                    held &= verdict("p99 during deploys", ratio, MOST_P99)
        print(f"in all: {total} requests, {failed} failed, {from_bad} answered by a release that failed its gate")
    return 0 if held else 1
