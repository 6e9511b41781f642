"""One meter for every seat: the page and `top` show the same numbers for the same sample."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from reconciler.linux import process_table
from reconciler.metrics import sample
from reconciler.metrics.load_history import Loads
from reconciler.metrics.rates import Rates
from reconciler.metrics.sample import AppSample, MemoryMeter
from reconciler.serving.gate_figures_reader import Figures
from reconciler.state.paths import StatePaths

EARLIER = {"blog": AppSample(figures=Figures(), memory=4096, cpu={"i1": 1.0})}
LATER = {
    "blog": AppSample(figures=Figures(classes=(0, 20, 0, 0, 0)), memory=8192, cpu={"i1": 1.5, "i2": 0.5}),
    "shop": AppSample(figures=Figures(), memory=1024, cpu={"i3": 0.1}),
}


@pytest.fixture
def child() -> Iterator[int]:
    """A process with much memory of its own, beside which what it shares hardly counts, until its input ends."""
    code = "memory = b'x' * 2**26; print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout
        program.stdout.readline()
        yield program.pid
        program.communicate(b"\n")


def test_the_page_and_top_show_the_same_numbers_for_the_same_samples(tmp_path: Path) -> None:
    top, page = Rates(), Loads(StatePaths(state=tmp_path))
    assert (top.follow(EARLIER, 10.0), page.follow(EARLIER, 10.0)["blog"].cpu) == ({}, None)
    rates, loads = top.follow(LATER, 20.0), page.follow(LATER, 20.0)
    shown = {field: asdict(loads["blog"])[field] for field in ("memory", "cpu", "requests")}
    assert shown == {field: asdict(rates["blog"])[field] for field in shown}
    assert shown == {"memory": 8192, "cpu": 0.1, "requests": 2.0}
    assert (loads["blog"].memory_history, loads["blog"].cpu_history) == ((4096, 8192), (0.1,))
    assert (loads["shop"].memory, loads["shop"].cpu, loads["shop"].requests) == (1024, None, None)
    assert page.follow({}, 30.0) == {}


def test_two_meters_measure_a_process_alike_and_count_shared_pages_in_part(child: int) -> None:
    one, other = (MemoryMeter().measure({child: 0}, now=0.0)[child] for _ in range(2))
    assert one == pytest.approx(other, rel=0.05)
    assert one == pytest.approx(process_table.proportional(child), rel=0.05)


def test_of_too_many_processes_only_their_own_pages_are_counted(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "_PSS_PROCESSES", 0)
    assert MemoryMeter().measure({child: 0}, now=0.0)[child] == pytest.approx(process_table.own(child), rel=0.05)


def test_an_expensive_reading_is_used_again_for_a_while(child: int) -> None:
    meter = MemoryMeter()
    first = meter.measure({child: 0}, now=0.0)
    child_reads = process_table.proportional(child)
    assert meter.measure({child: 0}, now=19.0) == first
    assert meter.measure({child: 0}, now=21.0)[child] == pytest.approx(child_reads, rel=0.05)
    assert meter.measure({}, now=22.0) == {}


def test_the_reading_of_a_process_at_rest_is_used_for_longer(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    meter, sizes = MemoryMeter(at_rest_s=1800.0), iter((1, 2, 3, 4))
    monkeypatch.setattr(process_table, "shares", lambda pids: {pid: next(sizes) for pid in pids})
    used = [(0, 0.0), (5, 300.0), (5, 1800.0), (5, 1801.0), (6, 1820.0), (11, 1900.0), (20, 1901.0), (20, 1921.0)]
    assert [meter.measure({child: ticks}, now)[child] for ticks, now in used] == [1, 1, 1, 2, 2, 3, 3, 4]
