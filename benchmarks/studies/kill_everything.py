"""SIGKILL of a random one of {worker, master, daemon} every second under load: what is refused, and what is cut.

A killed daemon is started again at once, as an init system would. Only requests inside a killed worker may be cut.
"""

import argparse
import contextlib
import os
import random
import signal
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from benchmarks.bench import bench
from benchmarks.clients import Asker, free_ports
from benchmarks.machine import described
from benchmarks.processes import children


def explain(loop: Asker, killed: list[tuple[float, str]], log: str) -> None:
    """Print what was killed before a connection was refused, and what the daemon said in those seconds."""
    refused = [each.at for each in loop.heard if each.failure == "refused"]
    if not refused:
        return
    first, last = refused[0], refused[-1]
    print(f"port {loop.port}: {len(refused)} refused, from {first:.2f} to {last:.2f}; killed before:")
    for at, what in [each for each in killed if first - 6 < each[0] < last]:
        print(f"  {at:.2f} {what}")
    now = datetime.now().astimezone()
    offsets = (first + more - time.perf_counter() for more in range(-6, 4))
    seconds = {f"{now + timedelta(seconds=offset):%H:%M:%S}" for offset in offsets}
    print("".join(f"  {line}\n" for line in log.splitlines() if line[11:19] in seconds))


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks kill_everything", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    asked = parser.parse_args(arguments)
    chance = random.Random(asked.seed)
    print(described(), f"seed {asked.seed}")
    ports = free_ports(3)
    names = [f"app-{number}" for number in range(len(ports))]
    with bench() as here:
        here.start()
        for name, port in zip(names, ports, strict=True):
            here.drop(
                name,
                f"path: {here.app}\nport: {port}\nworkers: 2\nprobation: 0s\n"
                "health: {path: /, interval: 5s}\ncrash: {first: 50ms, cap: 1s, good_run: 5s}\n",
            )
        here.until("running", names)
        loops = [Asker(port) for port in ports]
        for loop in loops:
            loop.start()
        kills = dict.fromkeys(("worker", "master", "daemon"), 0)
        killed: list[tuple[float, str]] = []
        until = time.perf_counter() + asked.seconds
        while time.perf_counter() < until:
            time.sleep(1)
            what = chance.choice(sorted(kills))
            assert here.daemon is not None
            if what == "daemon":
                killed.append((time.perf_counter(), f"daemon {here.daemon.pid}"))
                here.daemon.kill()
                here.daemon.wait()
                here.start()
            else:
                masters = [int(str(app["pid"])) for app in here.status().values() if app["pid"]]
                victims = masters if what == "master" else [w for m in masters for w in children(m)]
                if not victims:
                    continue
                victim = chance.choice(victims)
                killed.append((time.perf_counter(), f"{what} {victim}"))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            kills[what] += 1
        here.until("running", names, within_s=60)
        for loop in loops:
            loop.over.set()
        for loop in loops:
            loop.join()
        for loop in loops:
            explain(loop, killed, (here.directory / "daemon.log").read_text())
        pids = {name: app["pid"] for name, app in here.status().items()}
    answered = sum(loop.count("") for loop in loops)
    refused = sum(loop.count("refused") for loop in loops)
    cut = sum(len(loop.heard) for loop in loops) - answered - refused
    print(f"killed: {kills}; at the end all run: {pids}")
    print(f"{answered} answered, {refused} refused, {cut} cut off inside a killed worker")
    return 0 if refused == 0 and cut <= 2 * (kills["worker"] + kills["master"]) else 1
