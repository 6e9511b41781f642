"""Hundreds of apps in one git repository, and a commit that touches one: what the daemon does, and what that costs.

The manifests name the repository (`source:`), or come from it (`origins:`). Counted are fetches, sources that were read
and builds; measured is the processor time of the daemon and of every git that it ran, less what it takes in as long
without a commit, and less that with one app alone: that is the cost of all the others, and the verdict.
"""

import argparse
import os
import re
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.machine import described
from benchmarks.printed import verdict
from benchmarks.repository import Repository

_TICKS = os.sysconf("SC_CLK_TCK")
_MOST_S = 0.05
_IDLE_S = 5.0
_WSGI = 'def application(environ, start_response):\n    start_response("200 OK", [])\n    return [b"{number}"]\n'


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks one_of_many", description=__doc__)
    parser.add_argument("--apps", type=int, default=500)
    parser.add_argument("--commits", type=int, default=7)
    parser.add_argument("--way", choices=("source", "origins"), nargs="*", default=("source", "origins"))
    asked = parser.parse_args(arguments)
    print(described())
    held = []
    for way in asked.way:
        alone = _measured(way, 1, asked.commits)
        all_of_them = _measured(way, asked.apps, asked.commits)
        rest_s = statistics.median(all_of_them) - statistics.median(alone)
        print(f"{way}: the other {asked.apps - 1} apps cost {rest_s * 1000:.0f} ms of processor time a commit")
        held.append(verdict(f"{way}: cost of the others", rest_s / _MOST_S, 1.0))
    return 0 if all(held) else 1


def _measured(way: str, apps: int, commits: int) -> list[float]:
    """Return the seconds of processor time of each commit that touches one of so many apps."""
    with bench() as here:
        repository = Repository(here.directory)
        names = [f"app-{number:04}" for number in range(apps)]
        daemon = here.start("--settings", str(_settings(here, repository, way, names)))
        here.until("sleeping", names, within_s=1800)
        time.sleep(5)
        took = []
        for number in range(commits):
            before, began_s = _actions(here), _cpu_s(daemon.pid)
            time.sleep(_IDLE_S)
            idle = (_cpu_s(daemon.pid) - began_s) / _IDLE_S
            repository.push({f"{names[0]}/wsgi.py": _WSGI.format(number=f"new {number}")})
            began, began_s = time.perf_counter(), _cpu_s(daemon.pid)
            _pull(here, "code@main" if way == "source" else "code")
            time.sleep(2)
            passed_s = time.perf_counter() - began
            took.append(_cpu_s(daemon.pid) - began_s - idle * passed_s)
            done = _actions(here) - before
            assert (done["fetch"], done["read_source"], done["stage"]) == (1, 1, 1), done
        told = "  ".join(f"{seconds * 1000:.0f}" for seconds in took)
        print(f"{way}, {apps} apps: 1 fetch, 1 source read, 1 build a commit; processor time in ms: {told}")
        return took


def _settings(here: Bench, repository: Repository, way: str, names: Sequence[str]) -> Path:
    """Push the apps, and return the settings of a host that has them."""
    files = {f"{name}/wsgi.py": _WSGI.format(number=name) for name in names}
    text = f"ports: {{first: 20000, last: {20000 + len(names) + 100}}}\n"
    text += f"git: {{repositories: {{code: {{url: {repository.bare}, signed: no, every: 1h}}}}}}\n"
    if way == "origins":
        files |= {f"manifests/{name}.yaml": f"path: ../{name}\nstart: lazy\n" for name in names}
        text += "origins: {code: {repository: code, branch: main, path: manifests}}\n"
    else:
        for name in names:
            here.drop(name, f"source: {{repository: code, branch: main, path: {name}}}\nstart: lazy\n")
    repository.push(files)
    settings = here.directory / "host.yaml"
    settings.write_text(text)
    return settings


def _pull(here: Bench, name: str) -> None:
    command = here.command("git", "pull", name, "--wait", "--state", str(here.state))
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _actions(here: Bench) -> Counter[str]:
    """Return how often the daemon has fetched, read sources and staged."""
    command = here.command("metrics", "--state", str(here.state))
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: Counter[str] = Counter()
    for action, count in re.findall(r'^reconciler_actions_total\{action="(\w+)".*\} (\d+)$', text, re.MULTILINE):
        found[action] += int(count)
    for count in re.findall(r"^reconciler_origin_fetch_duration_seconds_count\{.*\} (\d+)$", text, re.MULTILINE):
        found["fetch"] += int(count)
    return found


def _cpu_s(pid: int) -> float:
    """Return the seconds of processor time of a process and of all its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS
