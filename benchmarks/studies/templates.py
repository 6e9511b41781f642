"""What warm templates give: a sleeping app woken, beside gunicorn by hand, and many starts from one template.

RUNS and STARTS in the environment say how many; names of parts as arguments run only those.
"""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.bench import Bench, bench
from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.gunicorn import gunicorn_by_hand
from benchmarks.machine import described
from benchmarks.printed import summary, verdict
from benchmarks.processes import children, command_line
from reconciler.linux.processes import Command, Orphans, adopt_orphans
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.state.paths import StatePaths

RUNS = int(os.environ.get("RUNS", "20"))
STARTS = int(os.environ.get("STARTS", "10000"))


def manifest(here: Bench, port: int, more: str = "") -> str:
    return f"path: {here.app}\nport: {port}\n{more}"


def warmed(here: Bench) -> str:
    """Start the daemon and an app or two, so that the environment and its template are there; its interpreter."""
    here.start()
    names = ["warm-1", "warm-2"]
    for name, port in zip(names, free_ports(2), strict=True):
        here.drop(name, manifest(here, port))
        here.until("running", [name])
    return here.environment_python()


def by_hand(here: Bench, python: str, port: int) -> float:
    with gunicorn_by_hand(python, here.app, port) as began:
        return seconds_to_200(port, began)


def compared(what: str, ours: list[float], theirs: list[float], at_most: float) -> bool:
    print(f"{what:<28} {summary(ours)}")
    print(f"{'gunicorn by hand':<28} {summary(theirs)}")
    return verdict(what, statistics.median(ours) / statistics.median(theirs), at_most)


def wakes() -> bool:
    ours, theirs = [], []
    with bench() as here:
        python = warmed(here)
        pairs = _pairs(RUNS)
        for number, (port, _) in enumerate(pairs):
            here.drop(f"sleepy-{number}", manifest(here, port, "idle_after: 1s\n"))
        try:
            here.until("sleeping", [f"sleepy-{number}" for number in range(RUNS)], within_s=30)
        except TimeoutError:
            said = here.status().get("sleepy-0", {}).get("message")
            print(f"wake → first 200             skipped: idle_after does not let apps sleep yet: {said}")
            return True
        for port, other in pairs:
            ours.append(seconds_to_200(port, time.perf_counter()))
            theirs.append(by_hand(here, python, other))
    return compared("wake → first 200", ours, theirs, 0.5)


def starts() -> bool:
    """Many instances that end at once, from one template: nothing grows."""
    with bench() as here:
        warmed(here)
        python = here.environment_python()
        here.end()
        launcher = here.directory / "ends_at_once.py"
        launcher.write_text("import os\nos._exit(7)\n")
        return asyncio.run(_many(here, python, launcher))


async def _many(here: Bench, python: str, launcher: Path) -> bool:
    adopt_orphans()
    templates = ForkServerPool(StatePaths(state=here.directory), idle_s=900, answer_s=5)
    kind = ForkKind(
        interpreter=(python, 0, 0), gunicorn="", hooks=(), launcher=str(launcher), module="gunicorn.workers.sync"
    )
    loop = asyncio.get_running_loop()
    env = {"LANG": os.environ.get("LANG", "C.UTF-8"), "NAME": "x" * 500}
    sizes: list[tuple[int, int, int, int]] = []
    took: list[float] = []
    refused = 0
    with Path(os.devnull).open() as nothing:  # noqa: ASYNC230  nothing else runs on this loop
        argv = (python, str(launcher), str(here.app), "-c", "x", "y")
        command = Command(argv=argv, env=env, listener=nothing.fileno(), output=here.directory / "out.log")
        done = 0
        while done < STARTS:
            over = asyncio.Event()
            began = loop.time()
            try:
                process = (await templates.fork(kind, command, over.set)).process
            except NotForkable:
                refused += 1
                await asyncio.sleep(0.05)
                continue
            took.append(loop.time() - began)
            await over.wait()
            assert process.end == "exited with 7", process.end
            done += 1
            if done in (STARTS // 10, STARTS):
                (pid,) = (each for each in children(os.getpid()) if "forkserver/main.py" in command_line(each))
                sizes.append((_rss_kb(pid), _fds(pid), _fds(os.getpid()), _zombies(pid) + _zombies(os.getpid())))
    Orphans().reap()
    templates.close()
    (rss, fds, own, _), (rss_after, fds_after, own_after, zombies) = sizes
    print(f"{STARTS} starts from one template: fork to answer {summary(took)}; {refused} refused while it got ready")
    print(
        f"its memory {rss} → {rss_after} kB, its descriptors {fds} → {fds_after}, ours {own} → {own_after},"
        f" zombies {zombies}"
    )
    held = rss_after <= rss * 1.02 and fds_after == fds and own_after <= own + 1 and zombies == 0
    print(f"no growth: {'holds' if held else 'DOES NOT HOLD'}")
    return held


def _pairs(count: int) -> list[tuple[int, int]]:
    ports = free_ports(2 * count)
    return list(zip(ports[::2], ports[1::2], strict=True))


def _rss_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _fds(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _zombies(pid: int) -> int:
    def states() -> Iterator[str]:
        for child in children(pid):
            with contextlib.suppress(OSError):
                yield Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]

    return sum(1 for state in states() if state == "Z")


PARTS = {each.__name__: each for each in (wakes, starts)}


def main(arguments: Sequence[str]) -> int:
    print(described())
    wanted = arguments or list(PARTS)
    return 0 if all([PARTS[name]() for name in wanted]) else 1  # noqa: C419  every part is run, whatever the others say
