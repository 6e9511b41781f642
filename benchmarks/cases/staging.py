"""Staging beside pip, and beside uv alone: cold, warm, and with an environment that is there already.

RUNS (3) and PYTHON_VERSION (3.12) may be given in the environment.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import uv

from benchmarks.case import OURS, Bound, Case, Figures, at_most, ratio_at_most
from benchmarks.peers.earlier import DAEMONS
from benchmarks.setting import Setting
from reconciler.convergence.slots import Slots
from reconciler.planning.apps.revision import Build, Recipe, Source
from reconciler.staging.detection.runtimes import choose, discover
from reconciler.staging.environments.installer_env import for_installers
from reconciler.staging.source.snapshot import snapshot
from reconciler.staging.stager import Stager

_PYTHON = os.environ.get("PYTHON_VERSION", "3.12")
_RUNS = int(os.environ.get("RUNS", "3"))
_SEVEN = "flask\ndjango\nrequests\nsqlalchemy\ncelery\nnumpy\npandas\n"
_MANY = (Path(__file__).parent / "many.txt").read_text()
_WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hi']\n"
_UV = os.fsdecode(uv.find_uv_bin())
_INTERPRETER = choose(discover(()), _PYTHON).path
# Both sides ask the same index for the same packages.
_ENVIRONMENT = for_installers(os.environ)
_UV_ALONE, _PIP = "virtualenv and uv pip install", "virtualenv and pip install"
_COLD, _WARM = "cold: nothing is cached", "warm: caches are filled"
_SAME, _FIRST = "the environment is there", "the same, the first of a daemon's life"
# Run in another checkout. It stages something else first, as a daemon has: what it loads for that is not measured.
_ELSEWHERE = """\
import json, shutil, sys
from pathlib import Path
from benchmarks.cases.staging import Place
root, state, times, edits = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
loading = Place(root / "loading", "")
loading.plant()
loading.stage(root / "loading-state")
shutil.rmtree(loading.root)
shutil.rmtree(root / "loading-state")
print(json.dumps(Place(root, "", edits).stage(state, times)))
"""


@dataclass
class Place:
    """A directory with an app whose requirements are measured, and what staging it makes."""

    root: Path
    requirements: str
    edits: int = 0
    aside: int = 0

    @property
    def app(self) -> Path:
        return self.root / "app"

    def plant(self) -> None:
        self.app.mkdir(parents=True)
        (self.app / "wsgi.py").write_text(_WSGI)
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
                slots=Slots(2, 60),
                uv=_UV,
                environ=lambda: os.environ,
            )
            await stager.warm_up()  # as the daemon does when it starts
            seconds = []
            for _ in range(times):
                copying, build = self.edit()
                began = time.perf_counter()
                await stager.stage("app", build, state / "staging.log", lambda _: None, kept=state / "kept")
                seconds.append(time.perf_counter() - began - copying)
            return seconds

        return asyncio.run(story())

    def stage_anew(self, checkout: Path, without: str = "") -> float:
        """Seconds that the stager of another checkout takes with nothing, or `without` a part of what it has made."""
        self.set_aside(self.root / "earlier" / without)
        return self.stage_by(checkout)[0]

    def stage_by(self, checkout: Path, times: int = 1) -> list[float]:
        """Seconds that the stager of another checkout takes, with what it has made before."""
        self.edits += times
        arguments = [str(self.root), str(self.root / "earlier"), str(times), str(self.edits)]
        command = [str(checkout / ".venv/bin/python"), "-c", _ELSEWHERE, *arguments]
        told = subprocess.run(command, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True).stdout
        found: list[float] = json.loads(told.splitlines()[-1])
        self.edits += times
        return found

    def edit(self) -> tuple[float, Build]:
        """Change the app; seconds that a snapshot of it takes, and the build it asks for."""
        self.edits += 1
        (self.app / "wsgi.py").write_text(f"{_WSGI}# {self.edits}\n")
        copy = self.root / "copy"
        began = time.perf_counter()
        content = snapshot(str(self.app), copy)
        copying = time.perf_counter() - began
        shutil.rmtree(copy)
        return copying, Build(source=Source(path=str(self.app)), recipe=Recipe(runtime=_PYTHON), content=content)

    def set_aside(self, directory: Path) -> None:
        """Move what an earlier run has made out of the way: to remove it now would be measured with the next.

        A file system that discards what it frees is slow to write for as long as it does that.
        """
        if directory.exists():
            self.aside += 1
            directory.rename(self.root / f"aside-{self.aside}")

    def by_hand(self, *install: str) -> float:
        """Seconds for an environment and the installer, started as one would in a shell."""
        environment = self.root / "by-hand"
        self.set_aside(environment)
        seeds = [] if "pip" in install[1:3] and install[0] != _UV else ["--no-seed"]
        began = time.perf_counter()
        make = [sys.executable, "-m", "virtualenv", "-q", "-p", _INTERPRETER, *seeds, str(environment)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, env=_ENVIRONMENT)
        command = [word.format(python=environment / "bin/python") for word in install]
        subprocess.run([*command, "-r", str(self.app / "requirements.txt"), "gunicorn"], check=True, env=_ENVIRONMENT)
        return time.perf_counter() - began


def uv_alone(cache: Path) -> tuple[str, ...]:
    return (_UV, "pip", "install", "-q", "--python", "{python}", "--cache-dir", str(cache))


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


def measure(setting: Setting, requirements: str, runs: int) -> Figures:
    figures = Figures()
    place = Place(setting.directory / "staging", requirements)
    place.plant()
    state, uv_cache, pip_cache = place.root / "state", place.root / "uv", place.root / "pip"
    earlier = [each for each in DAEMONS[1:] if not setting.wanted or each.name in setting.wanted]

    def cold() -> float:
        place.set_aside(state)
        return place.stage(state)[0]

    def cold_uv() -> float:
        place.set_aside(uv_cache)
        return warm_uv()

    def warm() -> float:
        place.set_aside(state / "environments")
        return place.stage(state)[0]

    def warm_uv() -> float:
        return place.by_hand(*uv_alone(uv_cache))

    def warm_pip() -> float:
        return place.by_hand(*pip(pip_cache))

    cold()  # what else is cold, name resolution and the index's own caches, is so for the first of all only
    names = (OURS, _UV_ALONE, *(each.name for each in earlier))
    measures: list[Callable[[], float]] = [cold, cold_uv]
    measures += [partial(place.stage_anew, each.checkout) for each in earlier]
    for who, seconds in zip(names, alternately(*measures, runs=runs), strict=True):
        figures.add(_COLD, who, "s", seconds)
    warm_pip()
    names = (OURS, _UV_ALONE, _PIP, *(each.name for each in earlier))
    measures = [warm, warm_uv, warm_pip]
    measures += [partial(place.stage_anew, each.checkout, "environments") for each in earlier]
    for who, seconds in zip(names, alternately(*measures, runs=runs), strict=True):
        figures.add(_WARM, who, "s", seconds)
    times = 1 + max(runs, 5)
    found = {OURS: place.stage(state, times)}
    found |= {each.name: place.stage_by(each.checkout, times) for each in earlier}
    for who, (first, *sames) in found.items():
        figures.add(_FIRST, who, "s", first)
        figures.add(_SAME, who, "s", sames)
    shutil.rmtree(place.root, ignore_errors=True)
    return figures


def _of_seven(setting: Setting) -> Figures:
    return measure(setting, "flask\n" if setting.quick else _SEVEN, 1 if setting.quick else _RUNS)


def _of_many(setting: Setting) -> Figures:
    return measure(setting, _MANY, 1 if setting.quick else _RUNS)


_BOUNDS: tuple[Bound, ...] = (
    ratio_at_most(_COLD, _UV_ALONE, 1.25),
    ratio_at_most(_WARM, _PIP, 0.1),
    at_most(_SAME, 0.1, "s"),
)
_MEASURES = (
    f"An edited app is staged, without the copy of its source, on Python {_PYTHON}: with empty caches, with full "
    "caches but no such environment, and with the environment in the store. Beside it, the same interpreter and "
    "requirements by `virtualenv` (without seed packages, for uv) and the installer, each with its own cache, in "
    "turn."
)
_BECAUSE = (
    "Each environment has files of its own, unless the file system has reflinks: uv alone makes hard links into its "
    "cache, through which an app could change what the environments of other apps hold. Here uv links, and a program "
    "then puts copies in their place. To create 7,440 files of 174 MB takes 0.35 s of processor time in the kernel, "
    "most of it for inodes and pages, shared by two processors. uv's own copies took half as long again: it opens each "
    "twice and truncates it, and ext4 then writes it out as it is closed."
)

SEVEN = Case(
    name="staging",
    title="Staging an app with seven requirements",
    measures=f"flask, django, requests, sqlalchemy, celery, numpy and pandas. {_MEASURES}",
    bounds=_BOUNDS,
    plotted=(_COLD, _WARM),
    because=_BECAUSE,
    run=_of_seven,
)
MANY = Case(
    name="staging_many",
    title="Staging an app with more than 200 distributions",
    measures=_MEASURES,
    bounds=_BOUNDS,
    plotted=(_COLD, _WARM),
    because=_BECAUSE,
    run=_of_many,
)
