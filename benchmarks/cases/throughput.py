"""Requests a second through us and of the same gunicorn by hand; and what counting requests takes of one."""

import contextlib
import re
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence

from benchmarks import gunicorn
from benchmarks.case import BY_HAND, OURS, Bound, Case, Figures
from benchmarks.clients import free_ports, seconds_to_200
from benchmarks.peers.earlier import DAEMONS
from benchmarks.setting import Setting, in_turn
from benchmarks.studies import metrics_cost
from benchmarks.tools import tool

_AGAIN = f"{BY_HAND}, another one"
_COUNTING, _NOT_COUNTING = "the same configuration, counting", "the same configuration, not counting"
_RATE = "requests a second"
_DIFFERENCE = "less than gunicorn by hand in the same round"
_SHARE = "processor time of a request that counting it takes"
_KINDS = ("sync", "gthread", "asgi")


def run(setting: Setting) -> Figures:
    figures = Figures()
    wrk = tool("wrk")
    if wrk.missing:
        figures.cannot("wrk", wrk.missing)
        return figures
    rounds, seconds = (3, 1) if setting.quick else (10, 4)
    _through_us(setting, rounds, seconds, figures)
    for kind in _KINDS:
        _counting(kind, 2 if setting.quick else 4, 1 if setting.quick else 3, figures)
    return figures


def _through_us(setting: Setting, rounds: int, seconds: int, figures: Figures) -> None:
    daemons = [kind(setting.room()) for kind in DAEMONS if not setting.wanted or kind.name in setting.wanted]
    names = [*(name for each in daemons for name in (each.name, _logged(each.name))), BY_HAND, _AGAIN]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    code = setting.apps("plain", 1)[0].code
    with contextlib.ExitStack() as stack:
        for each in daemons:
            stack.callback(each.stop)
            fields = f"path: {code}\nworkers: 1\n"
            each.bench.drop("plain", f"{fields}port: {ports[each.name]}\naccess_log: false\n")
            each.bench.drop("logged", f"{fields}port: {ports[_logged(each.name)]}\n")
            each.start()
        with (
            gunicorn.gunicorn_by_hand(setting.python, code, ports[BY_HAND]),
            gunicorn.gunicorn_by_hand(setting.python, code, ports[_AGAIN]),
        ):
            for port in ports.values():
                seconds_to_200(port, time.perf_counter())
            for turn in range(rounds + 1):
                found = {who: _rate(ports[who], seconds) for who in in_turn(list(ports), turn)}
                if turn:  # the first round only warms up
                    _note(found, figures)


def _logged(who: str) -> str:
    return f"{who}, with its access log"


def _note(found: Mapping[str, float], figures: Figures) -> None:
    for who, rate in found.items():
        figures.add(_RATE, who, "requests/s", rate)
        if who != BY_HAND:
            figures.add(_DIFFERENCE, who, "%", (1 - rate / found[BY_HAND]) * 100)


def _rate(port: int, seconds: int) -> float:
    command = [tool("wrk").path, "-t1", "-c2", f"-d{seconds}s", f"http://127.0.0.1:{port}/"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", told)
    assert found, told
    return float(found[1])


def _counting(kind: str, rounds: int, seconds: int, figures: Figures) -> None:
    compared = metrics_cost.compare(kind, rounds, seconds)
    for who, running in ((_NOT_COUNTING, compared.without), (_COUNTING, compared.counting)):
        figures.add(f"{_RATE}, {kind}", who, "requests/s", running.per_second)
    figures.add(f"{_SHARE}, {kind}", OURS, "%", compared.share * 100)


def _within_noise(figures: Figures) -> tuple[str, bool]:
    found = figures.of(_DIFFERENCE)
    ours, noise = found[OURS].median, _quartile(found[_AGAIN].samples)
    return f"{ours:+.1f}% less; two by hand differ by up to {noise:.1f}% in most rounds", ours <= noise


def _quartile(samples: Sequence[float]) -> float:
    """Three of four samples are at most this far from nothing."""
    return statistics.quantiles(map(abs, samples), n=4)[2]


def _counting_is_cheap(figures: Figures) -> tuple[str, bool]:
    shares = {kind: figures.of(f"{_SHARE}, {kind}")[OURS].median for kind in _KINDS}
    return ", ".join(f"{kind} {share:.1f}%" for kind, share in shares.items()), max(shares.values()) < 2


CASE = Case(
    name="throughput",
    title="Throughput",
    measures=(
        "`wrk` with two kept-alive connections requests an app with one sync worker: under reconciler, under "
        "reconciler with the access log that is on by default, and under two gunicorns started by hand (the second "
        "shows how much identical setups differ), in turn. Then, for three worker classes, gunicorn with our "
        "configuration, with and without counting requests. Counting is also timed by itself, beside the processor "
        "time of a request."
    ),
    bounds=(
        Bound(says="no measurable loss to gunicorn by hand, with requests counted", check=_within_noise),
        Bound(says="counting takes less than 2% of a request's processor time", check=_counting_is_cheap),
    ),
    plotted=(_RATE,),
    more_is_better=(_RATE,),
    run=run,
)
