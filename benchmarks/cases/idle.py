"""What a manager costs while nothing happens: its processor time over a minute, and its memory."""

import time
from collections.abc import Iterator, Sequence

from benchmarks import machine
from benchmarks.case import OURS, Bound, Case, Figures, at_most, told
from benchmarks.peers.known import ALL
from benchmarks.peers.peer import Peer
from benchmarks.peers.supervisord import Supervisord
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.setting import Setting, in_turn

_SIZES = (10, 50, 200)
_SETTLE_S = 15.0  # an app of ours is on probation for 10 s, and its end is work that belongs to the start
_APP_MB = 25.0


def cpu(size: int) -> str:
    return f"processor, {size} apps"


def memory(size: int) -> str:
    return f"memory, {size} apps"


def run(setting: Setting) -> Figures:
    figures = Figures()
    for turn, size in enumerate((5,) if setting.quick else _SIZES):
        for kinds in _groups(in_turn(ALL, turn), size):
            with setting.contenders(needs=("idle",), absent=figures.cannot, of=kinds) as peers:
                _watch(setting, peers, size, figures)
    return figures


def _groups(kinds: Sequence[type[Peer]], size: int) -> Iterator[Sequence[type[Peer]]]:
    """As many side by side as there is memory for, with some to spare."""
    at_once = max(1, int(machine.available_mb() * 0.7 / (size * _APP_MB)))
    for start in range(0, len(kinds), at_once):
        yield kinds[start : start + at_once]


def _watch(setting: Setting, peers: Sequence[Peer], size: int, figures: Figures) -> None:
    peers = [peer for peer in peers if setting.bring_up(peer, setting.apps("idle", size), figures.cannot)]
    time.sleep(2.0 if setting.quick else _SETTLE_S)
    seconds = 5.0 if setting.quick else 60.0
    managers = {peer.name: peer.of_manager() for peer in peers}
    before = {name: sum(map(cpu_s, pids)) for name, pids in managers.items()}
    began = time.perf_counter()
    time.sleep(seconds)
    for name, pids in managers.items():
        share = (sum(map(cpu_s, pids)) - before[name]) / (time.perf_counter() - began) * 100
        figures.add(cpu(size), name, "% of a core", share)
        figures.add(memory(size), name, "MB", sum(map(memory_mb, pids)))


def _below_supervisord(size: int) -> Bound:
    def check(figures: Figures) -> tuple[str, bool]:
        found = figures.of(cpu(size))
        ours, theirs = found[OURS], found[Supervisord.name]
        return f"{told(ours)}; supervisord {told(theirs)}", ours.median < theirs.median

    return Bound(says=f"{cpu(size)}: ahead of supervisord", check=check)


CASE = Case(
    name="idle",
    title="The idle manager",
    measures=(
        "10, 50 and 200 apps serve, and no request arrives. Processor time over 60 s and memory (PSS) of all "
        "processes that only manage; with runit and s6 that is one per app. As many managers are measured at the same"
        " time as fit into memory. Here the Emperor reads its directory every second, three times as often as by "
        "default."
    ),
    bounds=(*(_below_supervisord(size) for size in _SIZES), at_most(memory(200), 40, "MB")),
    plotted=(cpu(200), memory(200)),
    because=(
        "A Python with asyncio, ssl, SQLite and YAML takes 13 MB, the daemon's code, of which each capability is a "
        "part, 14 MB, and the keeper, a process of its own, 4 MB: 31 MB before the first app. runit and s6 are written "
        "in C and do not handle sources, environments or health."
    ),
    run=run,
)
