"""What warm templates give, beside gunicorn started by hand with its defaults, one of each in turn.

Drop → first 200, SIGKILL → first 200, wake → first 200, a hundred apps from cold, memory of a small app, many starts
from one template, hand-over under load. APPS, RUNS and STARTS say how many; names of parts as arguments run only those.
"""

import asyncio
import contextlib
import http.client
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from _bench import ROOT, Bench, bench, free_ports, gunicorn_by_hand, machine, seconds_to_200, summary, verdict

sys.path.insert(0, str(ROOT))
from reconciler.serving.process import STATE_MARK, Command, Orphans, marked, take_in_orphans
from reconciler.serving.template_kind import Kind, NotForked
from reconciler.serving.templates import Templates

APPS = int(os.environ.get("APPS", "100"))
RUNS = int(os.environ.get("RUNS", "20"))
STARTS = int(os.environ.get("STARTS", "10000"))
HANDOVERS = 10


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


def drops() -> bool:
    ours, theirs = [], []
    with bench() as here:
        python = warmed(here)
        for number, (port, other) in enumerate(_pairs(RUNS)):
            time.sleep(random.uniform(0.1, 0.4))
            text = manifest(here, port)
            began = time.perf_counter()
            here.drop(f"drop-{number}", text)
            try:
                ours.append(seconds_to_200(port, began))
            except TimeoutError:
                print(here.status().get(f"drop-{number}"))
                raise
            theirs.append(by_hand(here, python, other))
    return compared("drop → first 200", ours, theirs, 0.6)


def kills() -> bool:
    ours, theirs = [], []
    with bench() as here:
        python = warmed(here)
        ((port, _), *pairs) = _pairs(1 + RUNS)
        crash = "crash: {first: 10ms, cap: 10ms, good_run: 100ms}\n"
        here.drop("steady", manifest(here, port, crash))
        here.until("running", ["steady"])
        for _, other in pairs:
            time.sleep(random.uniform(0.3, 0.6))
            pid = here.status()["steady"]["pid"]
            assert isinstance(pid, int)
            began = time.perf_counter()
            os.killpg(pid, signal.SIGKILL)
            ours.append(seconds_to_200(port, began))
            here.until("running", ["steady"])
            theirs.append(by_hand(here, python, other))
    return compared("SIGKILL → first 200", ours, theirs, 0.5)


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


def crowd() -> bool:
    """A hundred staged apps of which none runs, as after a reboot: until each has answered; and what they hold."""
    with bench() as here, contextlib.ExitStack() as stack:
        python = warmed(here)
        pairs = _pairs(APPS)
        names = [f"app-{number:03}" for number in range(APPS)]
        began = time.perf_counter()
        for name, (port, _) in zip(names, pairs, strict=True):
            here.drop(name, manifest(here, port))
        fresh = _until_all([port for port, _ in pairs], began)
        print(f"{APPS} manifests dropped → each has answered, staging included: {fresh:.2f} s")
        here.until("running", names)
        here.end()
        began = time.perf_counter()
        daemon = here.start()
        ours = _until_all([port for port, _ in pairs], began)
        here.until("running", names)
        (state,) = {_environment(int(str(app["pid"])))[STATE_MARK] for app in here.status().values()}
        instances = [process.pid for process in marked(state)]
        templates = [pid for pid in _children(daemon.pid) if "template_main.py" in _command(pid)]
        spent = sum(map(_cpu_s, [daemon.pid, *instances, *templates]))
        held = sum(map(_pss_mb, [*instances, *templates])) / (len(instances) / 2)
        print(f"templates: {[round(_pss_mb(pid), 1) for pid in templates]} MB (PSS, shared in part)")
        print(f"the daemon: {_pss_mb(daemon.pid):.1f} MB")
        print(f"both times: {_ways(here)}")
        here.end()
        began = time.perf_counter()
        stack.callback(_end_all, by_shell := _shell_loop(here, python, [other for _, other in pairs]))
        theirs = _until_all([other for _, other in pairs], began)
        loose = [pid for master in by_shell for pid in (master, *_children(master))]
        spent_loose = sum(map(_cpu_s, loose))
        held_loose = sum(map(_pss_mb, loose)) / APPS
    print(f"{APPS} apps from cold            {ours:.2f} s, by a shell loop {theirs:.2f} s")
    print(f"processor time of that       {spent:.1f} s, by hand {spent_loose:.1f} s: ratio {spent / spent_loose:.2f}")
    cold = verdict(f"{APPS} apps from cold", ours / theirs, 0.35)
    print(f"memory of a small app        {held:.1f} MB, by hand {held_loose:.1f} MB (PSS)")
    return verdict("memory per small app", held / held_loose, 0.6) and cold


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
    take_in_orphans()
    templates = Templates(log=here.directory / "templates.log", idle_s=900, answer_s=5)
    kind = Kind(
        interpreter=(python, 0, 0), gunicorn=(0, 0), hooks=(), launcher=str(launcher), module="gunicorn.workers.sync"
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
                process = await templates.fork(kind, command, over.set)
            except NotForked:
                refused += 1
                await asyncio.sleep(0.05)
                continue
            took.append(loop.time() - began)
            await over.wait()
            assert process.end == "exited with 7", process.end
            done += 1
            if done in (STARTS // 10, STARTS):
                (pid,) = (each for each in _children(os.getpid()) if "template_main.py" in _command(each))
                sizes.append((_rss_kb(pid), _fds(pid), _fds(os.getpid()), _zombies(pid) + _zombies(os.getpid())))
    Orphans().bury()
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


def handovers() -> bool:
    with bench() as here:
        warmed(here)
        (port,) = free_ports(1)
        here.drop("busy", manifest(here, port))
        here.until("running", ["busy"])
        load = [Load(port) for _ in range(4)]
        for each in load:
            each.start()
        for number in range(HANDOVERS):
            before = here.status()["busy"]["pid"]
            here.drop("busy", manifest(here, port, f"env: {{ROUND: '{number}'}}\n"))
            _until(lambda before=before: here.status()["busy"]["pid"] not in (None, before))
            here.until("running", ["busy"])
        for each in load:
            each.over.set()
            each.join()
    answered, failed = sum(each.answered for each in load), [f for each in load for f in each.failed]
    print(f"{HANDOVERS} hand-overs under load: {answered} answered, {len(failed)} failed {failed[:3]}")
    return not failed


class Load(threading.Thread):
    """Asks again and again, each time on a new connection."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.answered = 0
        self.failed: list[str] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            try:
                connection.request("GET", "/")
                if connection.getresponse().status == 200:
                    self.answered += 1
                else:
                    self.failed.append("status")
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()


def _pairs(count: int) -> list[tuple[int, int]]:
    ports = free_ports(2 * count)
    return list(zip(ports[::2], ports[1::2], strict=True))


def _until(check: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.perf_counter() + within_s
    while not check():
        assert time.perf_counter() < deadline, "not in time"
        time.sleep(0.02)


def _until_all(ports: list[int], since: float) -> float:
    """Seconds from `since` until every port has answered 200; a pause between looks leaves the processors to them."""
    left, deadline = list(ports), time.perf_counter() + 300
    while left:
        assert time.perf_counter() < deadline, f"{len(left)} never answered"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", left[-1], timeout=60)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            left.pop()
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    return time.perf_counter() - since


def _shell_loop(here: Bench, python: str, ports: list[int]) -> list[int]:
    """What people do: each started in the background, one after the other; the masters' pids."""
    start = f"{python} -m gunicorn -b 127.0.0.1:$port wsgi:application >/dev/null 2>&1"
    lines = f"for port in $*; do {start} & echo $!; done"
    env = {"PATH": os.environ["PATH"], "HOME": str(here.directory)}
    said = subprocess.run(
        ["setsid", "sh", "-c", lines, "sh", *map(str, ports)], cwd=here.app, env=env, capture_output=True, check=True
    ).stdout
    return [int(pid) for pid in said.split()]


def _ways(here: Bench) -> str:
    with contextlib.closing(sqlite3.connect(here.state / "reconciler.db")) as database:
        rows = database.execute("SELECT text FROM event WHERE kind = 'started'").fetchall()
    counted = Counter(text.partition(" started ")[2] for (text,) in rows)
    return ", ".join(f"{count} {way}" for way, count in counted.most_common())


def _end_all(masters: list[int]) -> None:
    for pid in [each for master in masters for each in (master, *_children(master))]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _environment(pid: int) -> dict[str, str]:
    block = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(each.split("=", 1) for each in block if "=" in each)


def _cpu_s(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _pss_mb(pid: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _rss_kb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def _fds(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def _zombies(pid: int) -> int:
    def states() -> Iterator[str]:
        for child in _children(pid):
            with contextlib.suppress(OSError):
                yield Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]

    return sum(1 for state in states() if state == "Z")


PARTS = {each.__name__: each for each in (drops, kills, wakes, crowd, handovers, starts)}


def main() -> int:
    print(machine())
    wanted = sys.argv[1:] or list(PARTS)
    return 0 if all([PARTS[name]() for name in wanted]) else 1  # noqa: C419  every part is run, whatever the others say


if __name__ == "__main__":
    sys.exit(main())
