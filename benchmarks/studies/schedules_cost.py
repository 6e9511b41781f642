"""What schedules cost while none is due: the idle daemon with apps that have four each, beside itself with none.

The apps have served once and sleep; the times of a lazy app that never served do not count. They are measured first
without schedules, then with them, which restarts nothing, and then without them again: what the two rounds without
differ by is how far the figures can be trusted. Exits with 1 when schedules of 500 apps would take more than 0.02% of a
core, or more than 6 MB.
"""

import argparse
import time
from collections.abc import Sequence

from benchmarks.bench import Bench, bench
from benchmarks.machine import described
from benchmarks.processes import cpu_s, memory_mb

_FOR = 500
_AT_MOST_PERCENT = 0.02
_AT_MOST_MB = 6.0
_SETTLE_S = 45.0
_SCHEDULES = """schedules:
  nightly: {command: python nightly.py, at: "30 2 29 2 *", zone: Australia/Lord_Howe}
  weekly: {command: python weekly.py, at: "17 4 1 1 *", zone: Europe/Berlin}
  sync: {command: python sync.py, every: 24h}
  prune: {command: python prune.py, every: 48h}
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks schedules_cost", description=__doc__)
    parser.add_argument("--apps", type=int, default=_FOR)
    parser.add_argument("--seconds", type=int, default=120)
    asked = parser.parse_args(arguments)
    print(described())
    with bench() as here:
        settings = here.directory / "host.yaml"
        # What is compared with its manifest from time to time would be in one round and not in another.
        settings.write_text(f"ports: {{first: 20000, last: {20000 + asked.apps + 100}}}\nresync: 2h\n")
        names = [f"app-{number:03}" for number in range(asked.apps)]
        _drop(here, names, "")
        here.start("--settings", str(settings))
        here.until("sleeping", names, within_s=1800)
        rounds = []
        for what, schedules in (("none", ""), ("four each", _SCHEDULES), ("none again", "")):
            _drop(here, names, schedules)
            rounds.append(_idle(here, asked.seconds))
            print(
                f"{len(names)} apps, schedules: {what:10} {rounds[-1][0]:.4f}% of a core, {rounds[-1][1]:.1f} MB (PSS)"
            )
    before, during, after = rounds
    percent, megabytes = during[0] - (before[0] + after[0]) / 2, during[1] - before[1]
    percent, megabytes = percent * _FOR / asked.apps, megabytes * _FOR / asked.apps
    holds = percent <= _AT_MOST_PERCENT and megabytes <= _AT_MOST_MB
    print(
        f"more with schedules, of {_FOR} apps: {percent:+.4f}% of a core (at most {_AT_MOST_PERCENT}%),"
        f" {megabytes:+.1f} MB (at most {_AT_MOST_MB:g} MB): {'holds' if holds else 'DOES NOT HOLD'}"
    )
    return 0 if holds else 1


def _drop(here: Bench, names: Sequence[str], schedules: str) -> None:
    for name in names:
        here.drop(name, f"path: {here.app}\nidle_after: 5s\nprobation: 1s\n{schedules}")


def _idle(here: Bench, seconds: int) -> tuple[float, float]:
    """Per cent of a core, and megabytes, of the daemon once it is done with what was edited."""
    assert here.daemon is not None
    time.sleep(_SETTLE_S)
    before, began = cpu_s(here.daemon.pid), time.perf_counter()
    time.sleep(seconds)
    percent = (cpu_s(here.daemon.pid) - before) / (time.perf_counter() - began) * 100
    return percent, memory_mb(here.daemon.pid)
