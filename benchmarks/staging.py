"""Staging beside pip, and beside uv alone: a 7-package app and one with 200+ distributions; cold, warm, and same key.

cold: empty caches; beside `virtualenv` and `uv pip install` alone, each with a cold cache of its own.
warm: caches filled, no such environment; beside `virtualenv` and `pip install` with pip's cache filled.
same key: a new build of the same app, whose environment is in the store; without the time its snapshot takes. The first
of a daemon's life looks at every file of the environment, and is told apart.

usage: staging.py [7 | 200]     RUNS (3) and PYTHON_VERSION (3.12) in the environment
"""

import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uv
from _bench import machine, verdict

from reconciler.desired import Build, Recipe, Source
from reconciler.staging.runtimes import choose, discover
from reconciler.staging.source import snapshot
from reconciler.staging.stager import Stager
from reconciler.staging.surroundings import for_installers

PYTHON = os.environ.get("PYTHON_VERSION", "3.12")
RUNS = int(os.environ.get("RUNS", "3"))
SEVEN = "flask\ndjango\nrequests\nsqlalchemy\ncelery\nnumpy\npandas\n"
MANY = (Path(__file__).parent / "many.txt").read_text()
WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hi']\n"
UV = os.fsdecode(uv.find_uv_bin())
INTERPRETER = choose(discover(()), PYTHON).path
# Both sides ask the same index for the same packages.
ENVIRONMENT = for_installers(os.environ)
COLD_MOST, WARM_LEAST, SAME_MOST_S = 1.25, 10.0, 0.1


@dataclass
class Place:
    """A directory with an app whose requirements are measured, and what staging it makes."""

    root: Path
    requirements: str
    edits: int = 0

    @property
    def app(self) -> Path:
        return self.root / "app"

    def plant(self) -> None:
        self.app.mkdir(parents=True)
        (self.app / "wsgi.py").write_text(WSGI)
        (self.app / "requirements.txt").write_text(self.requirements)

    def stage(self, state: Path, times: int = 1) -> list[float]:
        """Seconds to stage an app that was just edited, `times` in one life of the daemon, without its snapshots."""

        async def story() -> list[float]:
            stager = Stager(
                builds=lambda app: state / "apps" / app,
                environments=state / "environments",
                cache=state / "cache",
                interpreters=(),
                timeout_s=900,
                slots=asyncio.Semaphore(2),
                uv=UV,
                environ=lambda: os.environ,
            )
            await stager.warm_up()  # as the daemon does when it starts
            seconds = []
            for _ in range(times):
                copying, build = self.edit()
                began = time.perf_counter()
                await stager.stage("app", build, state / "staging.log", lambda _: None)
                seconds.append(time.perf_counter() - began - copying)
            return seconds

        return asyncio.run(story())

    def edit(self) -> tuple[float, Build]:
        """Change the app; seconds that a snapshot of it takes, and the build it asks for."""
        self.edits += 1
        (self.app / "wsgi.py").write_text(f"{WSGI}# {self.edits}\n")
        copy = self.root / "copy"
        began = time.perf_counter()
        content = snapshot(str(self.app), copy)
        copying = time.perf_counter() - began
        shutil.rmtree(copy)
        return copying, Build(source=Source(path=str(self.app)), recipe=Recipe(runtime=PYTHON), content=content)

    def by_hand(self, *install: str) -> float:
        """Seconds for an environment and the installer, started as one would in a shell."""
        environment = self.root / "by-hand"
        shutil.rmtree(environment, ignore_errors=True)
        seeds = [] if "pip" in install[1:3] and install[0] != UV else ["--no-seed"]
        began = time.perf_counter()
        make = [sys.executable, "-m", "virtualenv", "-q", "-p", INTERPRETER, *seeds, str(environment)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
        command = [word.format(python=environment / "bin/python") for word in install]
        subprocess.run([*command, "-r", str(self.app / "requirements.txt"), "gunicorn"], check=True, env=ENVIRONMENT)
        return time.perf_counter() - began


def uv_alone(cache: Path) -> tuple[str, ...]:
    return (UV, "pip", "install", "-q", "--python", "{python}", "--cache-dir", str(cache))


def pip(cache: Path) -> tuple[str, ...]:
    quiet = ("-q", "--disable-pip-version-check", "--no-input")
    return ("{python}", "-m", "pip", "install", *quiet, "--cache-dir", str(cache))


def alternately(*measures: Callable[[], float], runs: int) -> tuple[list[float], ...]:
    """Each in turn, so that what else happens on the machine and the network meets all of them."""
    found: tuple[list[float], ...] = tuple([] for _ in measures)
    for _ in range(runs):
        for seconds, measure in zip(found, measures, strict=True):
            seconds.append(measure())
    return found


def told(what: str, seconds: list[float]) -> float:
    median = statistics.median(seconds)
    spread = f"min {min(seconds):7.2f}   max {max(seconds):7.2f}   ({len(seconds)} runs)"
    print(f"  {what:<46} median {median:7.2f} s   {spread}")
    return median


def measure(title: str, requirements: str, root: Path) -> bool:
    place = Place(root, requirements)
    place.plant()
    state = root / "state"

    def cold() -> float:
        shutil.rmtree(state, ignore_errors=True)
        return place.stage(state)[0]

    def cold_uv() -> float:
        shutil.rmtree(root / "uv", ignore_errors=True)
        return place.by_hand(*uv_alone(root / "uv"))

    def warm() -> float:
        shutil.rmtree(state / "environments")
        return place.stage(state)[0]

    print(f"{title}, Python {PYTHON}")
    cold()  # what else is cold, name resolution and the index's own caches, is so for the first of all only
    colds, uvs = alternately(cold, cold_uv, runs=RUNS)
    place.by_hand(*pip(root / "pip"))
    warms, pips = alternately(warm, lambda: place.by_hand(*pip(root / "pip")), runs=RUNS)
    first, *sames = place.stage(state, 1 + max(RUNS, 5))
    names = len(list((state / "environments").glob("*/lib/*/site-packages/*.dist-info")))
    print(f"  {names} distributions")
    ours, alone = told("cold: staged", colds), told("cold: virtualenv and uv pip install", uvs)
    quick, slow = told("warm: staged", warms), told("warm: virtualenv and pip install", pips)
    told("same key: the first of a daemon's life", [first])
    again = told("same key: staged, without the snapshot", sames)
    held = [
        verdict(f"{title}, cold, to uv alone", ours / alone, COLD_MOST),
        verdict(f"{title}, warm, a tenth of pip's time", quick / slow * WARM_LEAST, 1.0),
        verdict(f"{title}, same key, to 100 ms", again / SAME_MOST_S, 1.0),
    ]
    return all(held)


def main() -> int:
    print(machine())
    held = True
    for title, requirements in (("7 packages", SEVEN), ("200+ distributions", MANY)):
        if not title.startswith(tuple(sys.argv[1:]) or title):
            continue
        directory = tempfile.mkdtemp(prefix="reconciler-staging-")
        try:
            held = measure(title, requirements, Path(directory)) and held
        finally:
            with suppress(OSError):
                shutil.rmtree(directory)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
