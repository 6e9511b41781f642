"""How soon the command line answers, beside a Python that does nothing."""

import sys

from benchmarks.bench import ROOT, Bench
from benchmarks.case import OURS, Case, Figures, at_most
from benchmarks.processes import seconds_of
from benchmarks.setting import Setting, in_turn

_PASS = "python -c pass"
_BOUND_MS = 150


def run(setting: Setting) -> Figures:
    figures = Figures()
    directory = setting.directory / "command-line"
    directory.mkdir()
    here = Bench(directory)
    names = [f"app-{number}" for number in range(3 if setting.quick else 20)]
    for name in names:
        here.drop(name, f"path: {here.app}\nstate: stopped\n")
    here.start()
    try:
        here.until("stopped", names)
        reconciler = [sys.executable, "-m", "reconciler"]
        commands = {
            (_time_of("status"), OURS): [*reconciler, "status", "--state", str(here.state)],
            (_time_of("--help"), OURS): [*reconciler, "--help"],
            ("nothing at all", _PASS): [sys.executable, "-c", "pass"],
        }
        for turn in range(3 if setting.quick else 30):
            took = {each: seconds_of(commands[each], ROOT) for each in in_turn(list(commands), turn)}
            for (what, who), seconds in took.items():
                figures.add(what, who, "ms", seconds * 1000)
                if who == OURS:
                    figures.add(f"{what}, to `{_PASS}`", who, "times", seconds / took["nothing at all", _PASS])
    finally:
        here.end()
    return figures


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
