"""What schedules cost while none is due: the idle daemon with 500 apps and four schedules each, beside it with none.

Exits with 1 when schedules take more than 0.02% of a core, or more than 6 MB.
"""

import argparse
import time
from collections.abc import Sequence

from benchmarks.bench import bench
from benchmarks.machine import described
from benchmarks.processes import cpu_s, memory_mb

_AT_MOST_PERCENT = 0.02
_AT_MOST_MB = 6.0
_SETTLE_S = 15.0
# None comes due while it is measured, whatever the time is: they are on a day that is months away, or far apart.
_SCHEDULES = """schedules:
  nightly: {command: python nightly.py, at: "30 3 {day} {month} *", zone: Europe/Berlin}
  weekly: {command: python weekly.py, at: "0 4 {day} {month} *"}
  sync: {command: python sync.py, every: 24h}
  prune: {command: python prune.py, every: 48h, spread: 10m}
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks schedules_cost", description=__doc__)
    parser.add_argument("--apps", type=int, default=500)
    parser.add_argument("--seconds", type=int, default=120)
    asked = parser.parse_args(arguments)
    print(described())
    without = _idle(asked.apps, asked.seconds, "")
    with_ = _idle(asked.apps, asked.seconds, _SCHEDULES)
    for what, (percent, megabytes) in (("none", without), ("four each", with_)):
        print(f"{asked.apps} apps, schedules: {what:10} {percent:.3f}% of a core, {megabytes:.1f} MB (PSS)")
    percent, megabytes = with_[0] - without[0], with_[1] - without[1]
    holds = percent <= _AT_MOST_PERCENT and megabytes <= _AT_MOST_MB
    print(
        f"more with schedules: {percent:+.3f}% of a core (at most {_AT_MOST_PERCENT}%), {megabytes:+.1f} MB"
        f" (at most {_AT_MOST_MB:g} MB): {'holds' if holds else 'DOES NOT HOLD'}"
    )
    return 0 if holds else 1


def _idle(apps: int, seconds: int, schedules: str) -> tuple[float, float]:
    """Per cent of a core, and megabytes, of a daemon whose apps all sleep."""
    with bench() as here:
        settings = here.directory / "host.yaml"
        settings.write_text(f"ports: {{first: 20000, last: {20000 + apps + 100}}}\n")
        far = time.gmtime(time.clock_gettime(time.CLOCK_REALTIME) + 90 * 86400)
        names = [f"app-{number:03}" for number in range(apps)]
        for number, name in enumerate(names):
            due = schedules.format(day=1 + number % 28, month=far.tm_mon) if schedules else ""
            here.drop(name, f"path: {here.app}\nstart: lazy\nidle_after: 10m\n{due}")
        daemon = here.start("--settings", str(settings))
        here.until("sleeping", names, within_s=600)
        time.sleep(_SETTLE_S)
        before = cpu_s(daemon.pid)
        time.sleep(seconds)
        return (cpu_s(daemon.pid) - before) / seconds * 100, memory_mb(daemon.pid)
