"""How long a person waits for `reconciler --help`, `--version` and `status`, beside a Python that does nothing.

All take turns in one run, with their bytecode already compiled, as it is once installed; `status` looks at a state
directory without apps, so that what is measured is the start. Click alone is there to tell what is not ours.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.bench import ROOT
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database

_ROUNDS = 20
_AT_MOST = {"reconciler --help": 9.0, "reconciler --version": 9.0, "reconciler status": 12.0}


def main(_: Sequence[str]) -> int:
    print(described())
    with tempfile.TemporaryDirectory(prefix="reconciler-bench-") as directory:
        taken = _measure(_commands(Path(directory)), Path(directory) / "bytecode")
    for name, seconds in taken.items():
        print(f"{name:22} {summary(seconds)}")
    base = statistics.median(taken["python -c pass"])
    holds = [verdict(name, statistics.median(taken[name]) / base, bound) for name, bound in _AT_MOST.items()]
    return 0 if all(holds) else 1


def _commands(directory: Path) -> dict[str, list[str]]:
    state = directory / "state"
    state.mkdir()
    open_database(StatePaths(state=state).database).close()
    reconciler = [sys.executable, "-m", "reconciler"]
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c import click": [sys.executable, "-c", "import click"],
        "reconciler --help": [*reconciler, "--help"],
        "reconciler --version": [*reconciler, "--version"],
        "reconciler status": [*reconciler, "status", "--state", str(state)],
    }


def _measure(commands: Mapping[str, Sequence[str]], bytecode: Path) -> dict[str, list[float]]:
    """Seconds of each, in turns; the first turn, which compiles, does not count."""
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(_ROUNDS + 1):
        for name, command in commands.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - began)
    return {name: seconds[1:] for name, seconds in taken.items()}
