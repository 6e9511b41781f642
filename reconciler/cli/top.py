"""Show the load and resource use of every app.

Shows requests, errors, latency, busy workers, how many connections wait for a worker and how long, memory and its
limit, CPU, and what the processes of an app wait for, the busiest app first. For an app in a cluster, shows how
many pods there are, and what they use, where the cluster measures that.
"""

import contextlib
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reconciler.cli.live.terminal import live
from reconciler.cli.options import DURATION, examples, json_option, paths_in_use, reading, state_option
from reconciler.cli.table import is_terminal, lines, show_json, width
from reconciler.inspection.printable import megabytes, plain, short

if TYPE_CHECKING:
    from reconciler.metrics.rates import HostRates, Rate
    from reconciler.state.paths import StatePaths

_COLUMNS = (
    "APP", "REQ/S", "4XX/S", "5XX/S", "P50", "P95", "IN FLIGHT", "BUSY", "QUEUE", "WAIT", "MEMORY", "CPU", "WAITS",
)  # fmt: skip
_SPARE = ("WAITS", "IN FLIGHT", "WAIT", "P50", "4XX/S", "5XX/S")

_LEAST_SHARE = 0.01


@click.command(
    help=__doc__, epilog=examples("reconciler top", "reconciler top --once", "reconciler top --interval 10s --json")
)
@click.option("--once", is_flag=True, help="Measure once, print and exit (the default in a pipe).")
@click.option(
    "--interval", type=DURATION, default="2s", show_default=True, metavar="TIME", help="The time to measure over."
)
@json_option
@state_option
def command(once: bool, interval: float, as_json: bool, state: Path | None) -> None:
    from reconciler.metrics.rates import HostRates

    if interval < 0.1:
        raise click.UsageError("--interval must be at least 100ms")
    paths = paths_in_use(state)
    rates = HostRates(paths)
    _measure(paths, rates)
    if as_json or once or not is_terminal():
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(interval)
            found = _measure(paths, rates)
            if as_json:
                show_json({name: asdict(rate) for name, rate in found.items()})
            else:
                click.echo("\n".join([*_table(found, width()), *_placed(paths)]))
        return
    live(lambda columns: [*_table(_measure(paths, rates), columns), *_placed(paths)], interval)


def _measure(paths: "StatePaths", rates: "HostRates") -> "dict[str, Rate]":
    with reading(paths):
        return rates.measure()


def _placed(paths: "StatePaths") -> list[str]:
    """Return what apps in clusters use, as these measure it; nothing on a host without a cluster."""
    if not paths.clusters.is_dir():
        return []
    from reconciler.cli.placed_use import use_lines  # most hosts have none

    return use_lines(paths)


def _table(rates: "Mapping[str, Rate]", limit: int | None) -> list[str]:
    busiest = sorted(rates.items(), key=lambda item: (-item[1].requests, -item[1].cpu, item[0]))
    rows = [[plain(cell) for cell in (name, *_cells(rate))] for name, rate in busiest]
    return lines(_COLUMNS, rows, limit, _SPARE) if rows else ["no apps"]


def _cells(rate: "Rate") -> tuple[str, ...]:
    """Return the columns of an app; of one without a worker, nothing counts requests: it sleeps, or has no web."""
    counts = bool(rate.workers or rate.requests)
    return (
        f"{rate.requests:.1f}" if counts else "-",
        f"{rate.client_errors:.1f}" if rate.client_errors else "-",
        f"{rate.errors:.1f}" if rate.errors else "-",
        short(rate.p50_s),
        short(rate.p95_s),
        str(rate.in_flight) if counts else "-",
        f"{rate.busy}/{rate.workers}" if rate.workers else "-",
        "-" if rate.queue is None else str(rate.queue),
        short(rate.wait_s or None),
        megabytes(rate.memory) + (f"/{megabytes(rate.memory_limit)}" if rate.memory_limit is not None else ""),
        f"{rate.cpu * 100:.0f}%",
        _waits(rate),
    )


def _waits(rate: "Rate") -> str:
    """Return for what processes of an app wait most, and how much of the time; "-" if for nothing."""
    resource, share = max(rate.pressure.items(), key=lambda item: item[1], default=("", 0.0))
    return f"{share:.0%} {resource}" if share >= _LEAST_SHARE else "-"
