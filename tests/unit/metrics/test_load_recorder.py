"""The load of running apps is recorded at each look, and of an idle one only now and then."""

from pathlib import Path

import pytest

from reconciler.metrics.load_recorder import LoadRecorder
from reconciler.metrics.load_ring import DAY, HOUR, Span, read_points
from reconciler.metrics.sample import AppSample
from reconciler.serving.gate_figures_reader import Figures
from reconciler.state.paths import StatePaths

_NOW = 1_000_000_200.0  # at the beginning of five minutes


class _Host:
    """A host whose apps have answered and used so much, and a recorder that looks at it every minute."""

    def __init__(self, directory: Path) -> None:
        self.paths = StatePaths(state=directory)
        self.requests = {"blog": 0}
        self.cpu_s = 0.0
        self.at = 0.0
        self._recorder = LoadRecorder(self.paths, self._sample)
        self.paths.app("blog").mkdir(parents=True)

    def _sample(self) -> dict[str, AppSample]:
        return {
            app: AppSample(figures=Figures(classes=(0, count, 0, 0, 0)), memory=4096, cpu={"one": self.cpu_s})
            for app, count in self.requests.items()
        }

    def look(self, minutes: int = 1) -> None:
        for _ in range(minutes):
            self._recorder.record(_NOW + self.at, self.at + 1)
            self.at += 60

    def recorded(self, span: Span = HOUR) -> list[tuple[float, float]]:
        points = read_points(self.paths.load_history("blog"), span, _NOW + self.at)
        return [(point.at - _NOW, point.requests) for point in points]


@pytest.fixture
def host(tmp_path: Path) -> _Host:
    return _Host(tmp_path)


def test_what_an_app_did_since_the_look_before_is_recorded(host: _Host) -> None:
    host.look()
    host.requests["blog"] = 120
    host.look()
    host.cpu_s = 6.0
    host.look()
    assert host.recorded() == [(60.0, 2.0), (120.0, 0.0)]
    (_, busy) = read_points(host.paths.load_history("blog"), HOUR, _NOW + host.at)
    assert busy.cpu == pytest.approx(0.1)
    assert busy.memory == 4096


def test_an_idle_app_has_one_record_in_five_minutes(host: _Host) -> None:
    host.look(11)
    assert host.recorded() == [(300.0, 0.0), (600.0, 0.0)]


def test_five_minutes_become_one_point_of_the_day(host: _Host) -> None:
    host.look()
    for _ in range(5):
        host.requests["blog"] += 300
        host.look()
    assert host.recorded(DAY) == [(300.0, 5.0)]


def test_an_app_that_was_removed_gets_no_file(host: _Host) -> None:
    host.requests["gone"] = 0
    host.look()
    host.requests["gone"] = 60
    host.look(10)
    assert not host.paths.app("gone").exists()
