"""How soon the command line answers, beside a Python that does nothing."""

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.bench import ROOT, Bench
from benchmarks.case import OURS, Case, Figures, at_most
from benchmarks.peers.earlier import DAEMONS
from benchmarks.processes import seconds_of
from benchmarks.setting import Setting, in_turn

_PASS = "python -c pass"
_BOUND_MS = 150


def run(setting: Setting) -> Figures:
    figures = Figures()
    names = [f"app-{number}" for number in range(3 if setting.quick else 20)]
    benches = {}
    for daemon in DAEMONS:
        directory = setting.directory / f"command-line-{daemon.name}"
        directory.mkdir()
        benches[daemon.name] = Bench(directory, checkout=daemon.checkout)
    try:
        commands = {("nothing at all", _PASS): [sys.executable, "-c", "pass"]}
        for who, here in benches.items():
            for name in names:
                here.drop(name, f"path: {here.app}\nstate: stopped\n")
            here.start()
            here.until("stopped", names)
            commands[_time_of("status"), who] = here.command("status", "--state", str(here.state))
            commands[_time_of("--help"), who] = here.command("--help")
        for turn in range(3 if setting.quick else 30):
            took = {each: seconds_of(commands[each], _place(each[1], benches)) for each in in_turn([*commands], turn)}
            for (what, who), seconds in took.items():
                figures.add(what, who, "ms", seconds * 1000)
                if who == OURS:
                    figures.add(f"{what}, to `{_PASS}`", who, "times", seconds / took["nothing at all", _PASS])
    finally:
        for here in benches.values():
            here.end()
    return figures


def _place(who: str, benches: Mapping[str, Bench]) -> Path:
    return benches[who].checkout if who in benches else ROOT


def _time_of(words: str) -> str:
    return f"`reconciler {words}`"


CASE = Case(
    name="command_line",
    title="The command line",
    measures=(
        "`status` of a running daemon with 20 apps, and `--help`, from starting the process to its end, 30 times in "
        "turn with a Python that does nothing."
    ),
    bounds=(at_most(_time_of("status"), _BOUND_MS, "ms"), at_most(_time_of("--help"), _BOUND_MS, "ms")),
    run=run,
)
