"""Thousands of lazy apps on one daemon: time to validate, time until all sleep, the daemon's cost, and a wake's."""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.bench import ROOT, bench
from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.gunicorn import gunicorn_by_hand
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from benchmarks.processes import cpu_s, memory_mb

MOST = 1.5


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks many_sleeping", description=__doc__)
    parser.add_argument("--apps", type=int, default=10_000)
    asked = parser.parse_args(arguments)
    print(described())
    with bench() as here:
        settings = here.directory / "host.yaml"
        settings.write_text(f"ports: {{first: 20000, last: {20000 + asked.apps + 100}}}\n")
        names = [f"app-{number:05}" for number in range(asked.apps)]
        for name in names:
            here.drop(name, f"path: {here.app}\nstart: lazy\nidle_after: 10m\n")
        began = time.perf_counter()
        command = [sys.executable, "-m", "reconciler", "validate", "--manifests", str(here.manifests)]
        subprocess.run([*command, "--settings", str(settings)], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        print(f"validate {asked.apps} manifests: {time.perf_counter() - began:.1f} s")
        began = time.perf_counter()
        daemon = here.start("--settings", str(settings))
        here.until("sleeping", names, within_s=1800)
        print(f"from nothing to all sleeping: {time.perf_counter() - began:.1f} s")
        time.sleep(5)
        before = cpu_s(daemon.pid)
        time.sleep(30)
        percent = (cpu_s(daemon.pid) - before) / 30 * 100
        print(f"the daemon then: {percent:.2f}% of one core over 30 s, {memory_mb(daemon.pid):.0f} MB (PSS)")
        status = here.status()
        python = here.environment_python()
        ours, theirs = [], []
        for name, port in zip(names[:: max(1, asked.apps // 20)], free_ports(30), strict=False):
            began = time.perf_counter()
            ours.append(seconds_to_200(int(str(status[name]["port"])), began))
            with gunicorn_by_hand(python, here.app, port) as began:
                theirs.append(seconds_to_200(port, began))
        print(f"a connection to a sleeping app → its 200  {summary(ours)}")
        print(f"gunicorn by hand → first 200              {summary(theirs)}")
        return 0 if verdict("wake", statistics.median(ours) / statistics.median(theirs), MOST) else 1
