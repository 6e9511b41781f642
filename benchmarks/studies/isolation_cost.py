"""What isolation costs: as many apps with `isolation: strict` as without, on one daemon, in one run.

Each kind in turn, a master is killed, a new app is dropped, a sleeping app is woken. Told are the time until the first
answer, the processor time of master and worker until then, and the memory of all.
"""

import argparse
import contextlib
import http.client
import os
import random
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.bench import Bench, bench
from benchmarks.clients import ask, free_ports
from benchmarks.machine import described
from benchmarks.processes import children, command_line, cpu_s, memory_kib, parent, with_descendants

_KINDS = ("none", "strict")
_FIELDS = ("Pss", "Private_Dirty")
_CRASH = "crash: {first: 10ms, cap: 10ms, good_run: 100ms}"
_SETTLE_S = 5.0
_WITHIN_S = 30.0

_Apps = dict[str, int]  # the port of each, by its name
_Took = tuple[float, float]  # seconds until an answer, and of the processor


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks isolation_cost", description=__doc__)
    parser.add_argument("--apps", type=int, default=200, help="of each kind")
    parser.add_argument("--rounds", type=int, default=40, help="of what is timed, for each kind")
    asked = parser.parse_args(arguments)
    print(described(), flush=True)
    with bench() as here:
        ports = iter(free_ports(2 * (asked.apps + 2 * asked.rounds)))
        steady = _asked_for(here, "steady", asked.apps, ports)
        for _ in ("staged", "started"):
            here.end()
            here.start()
            here.until("running", [name for apps in steady.values() for name in apps], within_s=600)
        time.sleep(_SETTLE_S)
        _tell_memory(here, steady)
        killed = {kind: list(apps.values()) for kind, apps in steady.items()}
        _in_turn("a killed master", asked.rounds, lambda kind, turn: _killed(killed[kind][turn % asked.apps]))
        _in_turn("a dropped app", asked.rounds, lambda kind, turn: _dropped(here, kind, turn, next(ports)))
        sleepy = _asked_for(here, "sleepy", asked.rounds, ports, "idle_after: 1s\n")
        here.until("sleeping", [name for apps in sleepy.values() for name in apps], within_s=120)
        woken = {kind: list(apps.values()) for kind, apps in sleepy.items()}
        _in_turn("a woken app", asked.rounds, lambda kind, turn: _answered(woken[kind][turn], time.perf_counter()))
    return 0


def _manifest(here: Bench, kind: str, port: int, more: str = "") -> str:
    return f"path: {here.app}\nport: {port}\nworkers: 1\nisolation: {kind}\n{_CRASH}\n{more}"


def _asked_for(here: Bench, what: str, count: int, ports: Iterator[int], more: str = "") -> dict[str, _Apps]:
    """Drop so many apps of each kind, mixed in the alphabet; return them."""
    apps: dict[str, _Apps] = {kind: {} for kind in _KINDS}
    for number in range(count):
        for kind in _KINDS:
            name, port = f"{what}-{number:03}-{kind}", next(ports)
            here.drop(name, _manifest(here, kind, port, more))
            apps[kind][name] = port
    return apps


def _in_turn(what: str, rounds: int, once: Callable[[str, int], _Took]) -> None:
    """Measure each kind so often, in turn, and tell what it took."""
    found: dict[str, list[_Took]] = {kind: [] for kind in _KINDS}
    for turn in range(rounds):
        for kind in _KINDS if turn % 2 else reversed(_KINDS):
            time.sleep(random.uniform(0.1, 0.3))
            found[kind].append(once(kind, turn))
    for kind, took in found.items():
        answer, processor = (statistics.quantiles(each, n=4) for each in zip(*took, strict=True))
        print(
            f"{what:<16} {kind:<7} answers after {_ms(answer)}, processor time {_ms(processor)}"
            f"   ({len(took)} times; median, quartiles)",
            flush=True,
        )


def _ms(quartiles: Sequence[float]) -> str:
    low, median, high = (each * 1000 for each in quartiles)
    return f"{median:6.1f} ms ({low:.1f} to {high:.1f})"


def _killed(port: int) -> _Took:
    before = _worker(ask(port))
    began = time.perf_counter()
    os.kill(parent(before), signal.SIGKILL)
    return _answered(port, began, earlier=before)


def _dropped(here: Bench, kind: str, turn: int, port: int) -> _Took:
    began = time.perf_counter()
    here.drop(f"added-{turn:03}-{kind}", _manifest(here, kind, port))
    return _answered(port, began)


def _answered(port: int, since: float, earlier: int = 0) -> _Took:
    """Wait for an answer, of another worker than an earlier one that may go on as an orphan."""
    while time.perf_counter() - since < _WITHIN_S:
        with contextlib.suppress(OSError, http.client.HTTPException):
            worker = _worker(ask(port))
            if worker != earlier:
                return time.perf_counter() - since, cpu_s(worker) + cpu_s(parent(worker))
        time.sleep(0.0005)
    raise TimeoutError(f"port {port} did not answer within {_WITHIN_S:g} s")


def _worker(answer: str) -> int:
    """The process that gave an answer."""
    return int(answer.split()[1])


def _tell_memory(here: Bench, apps: Mapping[str, _Apps]) -> None:
    """Print what master and worker of an app have, and what makes them."""
    for kind in _KINDS:
        workers = [_worker(ask(port)) for port in apps[kind].values()]
        pairs = [[worker, parent(worker)] for worker in workers]
        told = ", ".join(
            f"{field} {statistics.median(sum(memory_kib(pid, field) for pid in pair) for pair in pairs):.0f} KiB"
            for field in _FIELDS
        )
        print(f"{len(pairs)} apps, {kind}: {told} each (median of master and worker)", flush=True)
    assert here.daemon is not None
    for pid in with_descendants(children(here.daemon.pid)):
        if "forkserver/main.py" in command_line(pid):
            told = ", ".join(f"{field} {memory_kib(pid, field)} KiB" for field in _FIELDS)
            print(f"fork server or view maker {pid}: {told}, processor time {cpu_s(pid):.2f} s", flush=True)
