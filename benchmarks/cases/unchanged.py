"""What it costs to look at apps of which nothing has changed, and to read ten thousand manifests."""

import time

from benchmarks.bench import Bench
from benchmarks.case import Case, Figures, at_most
from benchmarks.peers.earlier import DAEMONS
from benchmarks.processes import cpu_s, has_work, seconds_of
from benchmarks.setting import Setting

_SIZES = (100, 1_000, 10_000)
_ROUNDS = 3
_RESYNC_S = 20
_PAUSE_S = 0.25


def per_app(size: int) -> str:
    return f"wake-up of all of {size:,} apps, per app"


def command_of(name: str, size: int) -> str:
    return f"`{name}` of {size:,} manifests"


def run(setting: Setting) -> Figures:
    figures = Figures()
    for size in (50, 200) if setting.quick else _SIZES:
        for daemon in DAEMONS:
            directory = setting.directory / f"unchanged-{size}-{daemon.name}"
            directory.mkdir()
            here = Bench(directory, checkout=daemon.checkout)
            try:
                _measure(here, daemon.name, size, figures)
            finally:
                here.end()
    return figures


def _measure(here: Bench, who: str, size: int, figures: Figures) -> None:
    settings = here.directory / "host.yaml"
    settings.write_text(f"ports: {{first: 20000, last: {20000 + size + 100}}}\nresync: {_RESYNC_S}s\n")
    names = [f"app-{number:05}" for number in range(size)]
    for name in names:
        here.drop(name, f"path: {here.app}\nstart: lazy\nidle_after: 10m\nworkers: 1\n")
    daemon = here.start("--settings", str(settings))
    here.until("sleeping", names, within_s=1800)
    time.sleep(_RESYNC_S)  # whatever staging left to do
    for _ in range(_ROUNDS):
        before = cpu_s(daemon.pid)
        time.sleep(_RESYNC_S)
        figures.add(per_app(size), who, "µs", (cpu_s(daemon.pid) - before) / size * 1e6)
    asked = ["--manifests", str(here.manifests), "--settings", str(settings)]
    for command, more in (("validate", []), ("plan", ["--state", str(here.state)])):
        line = here.command(command, *asked, *more)
        figures.add(command_of(command, size), who, "s", seconds_of(line, here.checkout))


def at_rest(pid: int, within_s: float = 120) -> None:
    """Wait until the daemon takes next to no processor time, and waits for none."""
    before, deadline = cpu_s(pid), time.monotonic() + within_s
    while True:
        time.sleep(_PAUSE_S)
        worked, now = has_work(pid), cpu_s(pid)
        if not worked and now - before < 0.002:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("the daemon does not come to rest")
        before = now


CASE = Case(
    name="unchanged",
    title="Observing apps of which nothing has changed",
    measures=(
        "100, 1,000 and 10,000 lazy apps are staged and sleeping. With `resync: 20s`, all are looked at within 20 s; "
        "measured is the daemon's processor time in such a time, divided by the number of apps, three times. Then "
        "`validate` and `plan` of the same manifests, start of the command included. Other "
        "managers are not compared: each app costs them at least a process."
    ),
    bounds=(
        at_most(per_app(10_000), 20, "µs"),
        at_most(per_app(1_000), 20, "µs"),
        at_most(command_of("validate", 10_000), 10, "s"),
    ),
    because=(
        "According to cProfile, seven tenths of a wake-up go into observing the app; its task is woken only if that "
        "finds a change. New objects are collected after every 200 apps, so that no collection of all objects falls "
        "into a round. With 10,000 apps, what is observed exceeds any processor cache."
    ),
    run=run,
)
