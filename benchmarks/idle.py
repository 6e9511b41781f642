"""What 50 idle apps cost the daemon: its processor time over a minute, and its memory."""

import os
import sys
import time
from pathlib import Path

from _bench import bench, machine, verdict

APPS = int(os.environ.get("APPS", "50"))
SECONDS = 60.0
MOST_PERCENT = 0.5


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss")


def main() -> int:
    print(machine())
    with bench() as here:
        daemon = here.start()
        names = [f"app-{number:03}" for number in range(APPS)]
        for name in names:
            here.drop(name, f"path: {here.app}\n")
        began = time.perf_counter()
        here.until("running", names)
        print(f"{APPS} apps from cold to all running: {time.perf_counter() - began:.1f} s")
        time.sleep(10)
        before = cpu_seconds(daemon.pid)
        time.sleep(SECONDS)
        percent = (cpu_seconds(daemon.pid) - before) / SECONDS * 100
        print(f"the daemon with {APPS} idle apps: {percent:.2f}% of one core over {SECONDS:.0f} s")
        print(f"its memory: {memory_mb(daemon.pid):.1f} MB (PSS)")
        return 0 if verdict("idle, in percent of one core", percent, MOST_PERCENT) else 1


if __name__ == "__main__":
    sys.exit(main())
