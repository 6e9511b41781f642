"""How long collections of garbage hold up the daemon with thousands of lazy apps, and what a look at each takes.

The daemon runs as ever, but that it times each collection and its looks at names by the clock of its thread, which
stands still while other processes have the processor. Exits with 1 when a look takes more than 20 µs in the median, or
a collection more than 50 ms.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import ROOT, Bench, bench
from benchmarks.cases.unchanged import at_rest
from benchmarks.machine import described
from benchmarks.printed import verdict
from benchmarks.processes import cpu_s, memory_mb

_LOOK_US = 20.0
_PAUSE_MS = 50.0
_WITHIN_S = 300.0
_RESYNC_S = 20
_TIMED = """
import gc, os, sys, time
from reconciler.convergence.wake_queue import WakeQueue
told = os.open(sys.argv.pop(1), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
began = 0.0
def time_it(phase, info):
    global began
    if phase == "start":
        began = time.thread_time()
    elif (took := time.thread_time() - began) > 0.001:
        os.write(told, b"collection %d %.3f\\n" % (info["generation"], took * 1000))
def pass_on(queue, pass_on=WakeQueue._pass_on):
    before, began = len(queue._woken), time.thread_time()
    pass_on(queue)
    os.write(told, b"looks %d %.3f\\n" % (before - len(queue._woken), (time.thread_time() - began) * 1000))
WakeQueue._pass_on = pass_on
gc.callbacks.append(time_it)
from reconciler.cli.main import main
main(sys.argv[1:])
"""


@dataclass(frozen=True, slots=True)
class _Told:
    """The file to which the daemon tells its looks, and its collections of more than a millisecond."""

    file: Path

    def length(self) -> int:
        return len(self._lines())

    def collections_since(self, mark: int) -> dict[str, list[float]]:
        """Milliseconds by generation, since the file was as long as that."""
        found: dict[str, list[float]] = {}
        for what, generation, took in self._lines()[mark:]:
            if what == "collection":
                found.setdefault(generation, []).append(float(took))
        return found

    def looks_since(self, mark: int) -> tuple[int, float]:
        """How many, and their milliseconds together, since the file was as long as that."""
        looks = [(int(many), float(took)) for what, many, took in self._lines()[mark:] if what == "looks"]
        return sum(many for many, _ in looks), sum(took for _, took in looks)

    def _lines(self) -> list[list[str]]:
        return [line.split() for line in self.file.read_text().splitlines()]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks garbage", description=__doc__)
    parser.add_argument("--apps", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args(arguments)
    print(described())
    with bench() as here:
        return _measure(here, asked.apps, asked.rounds)


def _measure(here: Bench, size: int, rounds: int) -> int:
    settings = here.directory / "host.yaml"
    settings.write_text(f"ports: {{first: 20000, last: {20000 + size + 100}}}\nresync: {_RESYNC_S}s\n")
    names = [f"app-{number:05}" for number in range(size)]
    for name in names:
        here.drop(name, f"path: {here.app}\nstart: lazy\nidle_after: 10m\nworkers: 1\n")
    told = _Told(here.directory / "told")
    began = time.perf_counter()
    daemon = _start(here, told.file, settings)
    here.until("sleeping", names, within_s=3600)
    at_rest(daemon.pid)
    took_s, processor_s = time.perf_counter() - began, cpu_s(daemon.pid)
    print(f"{size:,} apps asleep after {took_s:.0f} s, {processor_s:.1f} s of processor time")
    print(f"the daemon: {memory_mb(daemon.pid):.0f} MB (PSS)")
    starting = told.collections_since(0)
    _tell("collections until all sleep", starting)
    mark = told.length()
    looks = [_look(told, names) for _ in range(rounds)]
    looking = told.collections_since(mark)
    _tell("collections while all are looked at", looking)
    print("µs a look: " + ", ".join(f"{each:.1f}" for each in looks))
    longest = max((each for some in (*starting.values(), *looking.values()) for each in some), default=0.0)
    held = verdict(f"a look in the median, to {_LOOK_US:.0f} µs", statistics.median(looks) / _LOOK_US, 1.0)
    return 0 if verdict(f"the longest collection, to {_PAUSE_MS:.0f} ms", longest / _PAUSE_MS, 1.0) and held else 1


def _look(told: _Told, names: Sequence[str]) -> float:
    """Return microseconds a look, once the daemon has looked at as many."""
    mark, deadline = told.length(), time.monotonic() + _WITHIN_S
    while (looks := told.looks_since(mark))[0] < len(names):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the daemon looked at {looks[0]:,} of {len(names):,} apps")
        time.sleep(0.1)
    many, took_ms = looks
    return took_ms / many * 1000


def _start(here: Bench, told: Path, settings: Path) -> subprocess.Popen[bytes]:
    """Start the daemon as a bench does, its collections timed."""
    command = [sys.executable, "-X", "utf8", "-c", _TIMED, str(told), "run", "--settings", str(settings)]
    with (here.directory / "daemon.log").open("ab") as log:
        places = ["--manifests", str(here.manifests), "--state", str(here.state)]
        here.daemon = subprocess.Popen([*command, *places], cwd=ROOT, stdout=log, stderr=log)
    return here.daemon


def _tell(when: str, found: dict[str, list[float]]) -> None:
    for generation, took in sorted(found.items()):
        most = ", ".join(f"{each:.1f}" for each in sorted(took)[-3:])
        print(f"{when}, generation {generation}: {len(took)} of more than 1 ms, the longest {most} ms")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
