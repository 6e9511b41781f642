"""An app's load is kept in a file of a fixed size, and read back as it was written."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from reconciler.metrics.load_ring import DAY, HOUR, LoadPoint, Span, mean, read_points, write_point

_NOW = 1_000_000_020.0
_POINT = LoadPoint(at=_NOW, requests=2.0, p95_s=0.5, memory=4096.0, cpu=0.25)


@pytest.mark.parametrize("span", [HOUR, DAY], ids=["hour", "day"])
def test_what_is_written_is_read_for_as_long_as_the_span_lasts_and_the_file_stays_small(
    tmp_path: Path, span: Span
) -> None:
    file = tmp_path / "load"
    for number in range(3 * span.slots):
        write_point(file, span, replace(_POINT, at=_NOW + number * span.step_s, requests=float(number)))
    last = _NOW + (3 * span.slots - 1) * span.step_s
    found = read_points(file, span, last)
    assert [point.requests for point in found] == [float(n) for n in range(2 * span.slots, 3 * span.slots)]
    assert [later.at - point.at for point, later in pairwise(found)] == [span.step_s] * (span.slots - 1)
    assert (found[0].p95_s, found[0].memory, found[0].cpu) == (0.5, 4096.0, 0.25)
    assert len(read_points(file, span, last + span.seconds - span.step_s)) == 1
    assert read_points(file, span, last + span.seconds) == ()
    assert file.stat().st_size <= 8192


def test_no_answer_has_no_percentile(tmp_path: Path) -> None:
    write_point(tmp_path / "load", HOUR, replace(_POINT, p95_s=None))
    assert [point.p95_s for point in read_points(tmp_path / "load", HOUR, _NOW)] == [None]


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 100_000, os.urandom(7000)], ids=len)
def test_a_file_with_something_else_gives_what_can_be_right(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "load"
    file.write_bytes(content)
    assert all(point.memory >= 0 for point in read_points(file, DAY, _NOW))
    assert read_points(tmp_path / "none", HOUR, _NOW) == ()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "load").symlink_to(tmp_path / "other")
    with pytest.raises(OSError, match="load"):
        write_point(tmp_path / "load", HOUR, _POINT)
    assert not (tmp_path / "other").exists()


def test_several_points_become_their_means_with_the_worst_latency_and_the_most_memory() -> None:
    idle = LoadPoint(at=1.0, requests=0.0, p95_s=None, memory=8192.0, cpu=0.0)
    assert mean((_POINT, idle), 5.0) == LoadPoint(at=5.0, requests=1.0, p95_s=0.5, memory=8192.0, cpu=0.125)
    assert mean((idle,), 5.0).p95_s is None
