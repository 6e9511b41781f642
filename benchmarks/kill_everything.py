"""SIGKILL of a random one of {worker, master, daemon} every second under load: what is refused, and what is cut.

A killed daemon is started again at once, as an init system would. Only requests inside a killed worker may be cut.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

from _bench import bench, free_ports, machine
from crash_recovery import Loop


def children_of(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def explain(loop: Loop, killed: list[tuple[float, str]], log: str) -> None:
    """Print what was killed before a connection was refused, and what the daemon said in those seconds."""
    if not loop.refused_at:
        return
    first, last = loop.refused_at[0], loop.refused_at[-1]
    print(f"port {loop.port}: {loop.refused} refused, from {first:.2f} to {last:.2f}; killed before:")
    for at, what in [each for each in killed if first - 6 < each[0] < last]:
        print(f"  {at:.2f} {what}")
    now = datetime.now().astimezone()
    offsets = (first + more - time.monotonic() for more in range(-6, 4))
    seconds = {f"{now + timedelta(seconds=offset):%H:%M:%S}" for offset in offsets}
    print("".join(f"  {line}\n" for line in log.splitlines() if line[11:19] in seconds))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    asked = parser.parse_args()
    chance = random.Random(asked.seed)
    print(machine(), f"seed {asked.seed}")
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
        loops = [Loop(port) for port in ports]
        for loop in loops:
            loop.start()
        kills = dict.fromkeys(("worker", "master", "daemon"), 0)
        killed: list[tuple[float, str]] = []
        until = time.monotonic() + asked.seconds
        while time.monotonic() < until:
            time.sleep(1)
            what = chance.choice(sorted(kills))
            assert here.daemon is not None
            if what == "daemon":
                killed.append((time.monotonic(), f"daemon {here.daemon.pid}"))
                here.daemon.kill()
                here.daemon.wait()
                here.start()
            else:
                masters = [int(str(app["pid"])) for app in here.status().values() if app["pid"]]
                victims = masters if what == "master" else [w for m in masters for w in children_of(m)]
                if not victims:
                    continue
                victim = chance.choice(victims)
                killed.append((time.monotonic(), f"{what} {victim}"))
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
    answered = sum(loop.answered for loop in loops)
    refused = sum(loop.refused for loop in loops)
    cut = sum(loop.cut for loop in loops)
    print(f"killed: {kills}; at the end all run: {pids}")
    print(f"{answered} answered, {refused} refused, {cut} cut off inside a killed worker")
    return 0 if refused == 0 and cut <= 2 * (kills["worker"] + kills["master"]) else 1


if __name__ == "__main__":
    sys.exit(main())
