"""A queue's worker while its code is deployed: which jobs are lost, how long none begins; and commands out of turn."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

from benchmarks.case import OURS, Bound, Case, Figures
from benchmarks.peers.earlier import DAEMONS
from benchmarks.setting import Setting
from benchmarks.workers import CONTENDERS, ByHand, Contender, first_line, memory
from tests.servers.redis import RedisServer, redis_server

_LOST = "jobs lost in all deploys"
_AGAIN = "jobs begun again"
_PAUSE = "longest time without a beginning"
_LINE = "asked → first line of a command"
_MEMORY = "memory of a worker (PSS)"
_EVERY_S = 1.0
_LONG_S = 14.0
_PAUSE_BETWEEN_S = 2.0


def run(setting: Setting) -> Figures:
    figures = Figures()
    figures.cannot("cron", "it runs no worker, and can only be asked to look at its table once a minute")
    for earlier in DAEMONS[1:]:
        if '"processes"' not in (earlier.checkout / "schemas/app.schema.json").read_text():
            figures.cannot(earlier.name, "it runs web servers only")
    with redis_server() as server:
        _open(server)
        kinds: tuple[type[Contender], ...] = (*CONTENDERS, ByHand)
        for database, kind in enumerate(kinds):
            if setting.wanted and kind.name not in setting.wanted:
                continue
            contender = kind(setting.directory / f"workers-{database}", f"redis://127.0.0.1:{server.port}/{database}")
            try:
                contender.start()
                for _ in range(3 if setting.quick else 15) if contender.can_trigger else ():
                    figures.add(_LINE, contender.name, "ms", first_line(contender) * 1000)
                if kind is not ByHand:
                    figures.add(_MEMORY, contender.name, "MB", memory(contender))
                    _deploys(contender, figures, 3 if setting.quick else 20)
            finally:
                contender.stop()
    return figures


def _open(server: RedisServer) -> None:
    """Ask for no password: it is no part of this."""
    with server.connect() as admin:
        admin.execute_command("ACL", "SETUSER", "default", "nopass")


def _deploys(contender: Contender, figures: Figures, deploys: int) -> None:
    """Deploy again and again while jobs come in; one in ten is longer than supervisord waits by itself."""
    ending = Event()
    names: list[str] = []
    enqueuer = contender.enqueuer()

    def enqueue() -> None:
        assert enqueuer.stdin is not None
        while not ending.wait(_EVERY_S):
            number = len(names)
            names.append(f"job-{number}")
            seconds = _LONG_S if number % 10 == 5 else 1 + number * 7 % 41 / 10
            enqueuer.stdin.write(f"{names[-1]} {seconds}\n")

    thread = Thread(target=enqueue)
    thread.start()
    try:
        _until(lambda: any(_beginnings(contender.results)))
        for version in range(2, deploys + 2):
            contender.deploy(str(version))
            _until(lambda version=version: _begun_by(contender.results, str(version)))  # type: ignore[misc]
            time.sleep(_PAUSE_BETWEEN_S)
    finally:
        ending.set()
        thread.join()
        enqueuer.communicate()
    _settle(contender.results, names)
    said = list(_said(contender.results))
    begun = Counter(name for what, name, _, _ in said if what == "began")
    finished = {name for what, name, _, _ in said if what == "finished"}
    moments = sorted(at for what, _, _, at in said if what == "began")
    figures.add(_LOST, contender.name, f"of {len(names)}", sum(name not in finished for name in names), contender.how)
    figures.add(_AGAIN, contender.name, f"of {len(names)}", sum(times > 1 for times in begun.values()))
    figures.add(_PAUSE, contender.name, "s", max(after - before for before, after in pairwise(moments)))


def _settle(results: Path, names: list[str]) -> None:
    """Wait until all is finished, or nothing has been said for longer than the longest job takes."""
    last, since = -1, time.monotonic()
    while time.monotonic() - since < _LONG_S + 6:
        said = list(_said(results))
        if {name for what, name, _, _ in said if what == "finished"} >= set(names):
            return
        if len(said) != last:
            last, since = len(said), time.monotonic()
        time.sleep(0.2)


def _said(results: Path) -> Iterator[tuple[str, str, str, float]]:
    if results.exists():
        for line in results.read_text().splitlines():
            what, name, version, at = line.split()
            yield what, name, version, float(at)


def _beginnings(results: Path) -> Iterator[str]:
    return (version for what, _, version, _ in _said(results) if what == "began")


def _begun_by(results: Path, version: str) -> bool:
    return version in set(_beginnings(results))


def _until(check: Callable[[], bool], within_s: float = 120.0) -> None:
    deadline = time.monotonic() + within_s
    while not check():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {within_s:g} s")
        time.sleep(0.1)


def _none_lost(figures: Figures) -> tuple[str, bool]:
    lost, again = figures.of(_LOST)[OURS], figures.of(_AGAIN)[OURS]
    return f"{lost.median:.0f} lost, {again.median:.0f} again, {lost.unit}", lost.median == again.median == 0


CASE = Case(
    name="workers",
    title="Deploys of a queue's worker",
    measures=(
        "A celery worker (six processes, Redis) gets a job each second; nine in ten take one to five seconds, the "
        "tenth takes fourteen. Its code is deployed twenty times, each time once the code before has begun a job. A "
        "job is lost when it has not finished and nothing has happened for 20 s. supervisord is measured with its "
        "defaults, and with the configuration that celery ships for it; the shell loop stands for a unit of systemd, "
        "which tells all processes of a unit to end. All run on the same Python. Memory is that of all processes of "
        "the idle worker after one deploy: the first worker in a new environment compiles what it imports, unless the "
        "daemon has done so by then, and takes 22 MB more. The last figure is the time from asking for a command "
        "(`reconciler trigger`, `supervisorctl start`, or starting it by hand) until it wrote its first line."
    ),
    bounds=(Bound(says="no job of ours is lost or begun again", check=_none_lost),),
    plotted=(_LOST, _PAUSE, _LINE),
    because=(
        "A new worker starts while the old one finishes. supervisord waits for the old one first, and celery's sample "
        "tells its jobs to stop as well. `reconciler trigger` starts a Python that asks the daemon. Workers are "
        "started by exec, not forked from a process that has the environment's libraries loaded: one of celery "
        "takes 52 MB so and 65 MB forked, four 212 and 143, ten 529 and 283 (`python -m benchmarks worker_memory`). "
        "Most sites have one, and those who need more get them for less from `celery -c`."
    ),
    run=run,
)
