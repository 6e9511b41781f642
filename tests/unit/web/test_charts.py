"""A chart draws what was measured at its time, and tells the same in words."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from reconciler.metrics.load_ring import DAY, HOUR, LoadPoint
from reconciler.web.charts import BOTTOM, LEFT, RIGHT, TOP, Chart, charts

_NOW = 1_000_000_020.0
_POINT = LoadPoint(at=_NOW - 600, requests=2.0, p95_s=0.05, memory=30 * 2.0**20, cpu=0.5)


def _by_name(*points: LoadPoint) -> dict[str, Chart]:
    return {chart.name: chart for chart in charts(points, HOUR, _NOW)}


def _places(chart: Chart) -> list[list[tuple[float, float]]]:
    return [[(float(x), float(y)) for x, y in (at.split(",") for at in piece.split(" "))] for piece in chart.pieces]


def test_without_a_measurement_there_is_no_chart() -> None:
    assert charts((), HOUR, _NOW) == ()


def test_the_axes_are_round_and_the_words_say_what_the_line_does() -> None:
    found = _by_name(_POINT, replace(_POINT, at=_NOW - 540, requests=4.0, memory=20 * 2.0**20))
    assert [tick.text for tick in found["requests"].y_ticks] == ["0.0", "2.5", "5.0"]
    assert [tick.text for tick in found["memory"].y_ticks] == ["0 kB", "25 MB", "50 MB"]
    assert [tick.text for tick in found["p95"].y_ticks] == ["0 ms", "25 ms", "50 ms"]
    assert found["memory"].summary == "Memory over the last 1h: least 20 MB, most 30 MB, last 20 MB"
    assert [tick.at for tick in found["cpu"].x_ticks] == [LEFT, 161.0, 264.0, 367.0, RIGHT]


def test_a_minute_without_a_record_is_one_in_which_nothing_happened() -> None:
    found = _by_name(_POINT, replace(_POINT, at=_NOW - 300))
    (line,) = _places(found["requests"])
    assert [y for _, y in line[1:-1]] == [BOTTOM] * 4
    (line,) = _places(found["memory"])
    assert len({y for _, y in line}) == 1
    assert [len(piece) for piece in _places(found["p95"])] == [2, 2]  # two dots


def test_a_longer_gap_is_left_open() -> None:
    found = _by_name(_POINT, replace(_POINT, at=_NOW - 60))
    assert [len(piece) for piece in _places(found["memory"])] == [2, 2]


_POINTS = st.lists(
    st.builds(
        LoadPoint,
        at=st.floats(_NOW - 2 * DAY.seconds, _NOW + 100),
        requests=st.floats(0, 1e9),
        p95_s=st.none() | st.floats(0, 100),
        memory=st.floats(0, 1e15),
        cpu=st.floats(0, 1000),
    )
)


@given(_POINTS, st.sampled_from((HOUR, DAY)))
def test_every_line_stays_inside_its_axes(points: list[LoadPoint], span: object) -> None:
    assert isinstance(span, type(HOUR))
    for chart in charts(sorted(points, key=lambda point: point.at), span, _NOW):
        assert all(LEFT <= x <= RIGHT and TOP <= y <= BOTTOM + 0.1 for piece in _places(chart) for x, y in piece)
