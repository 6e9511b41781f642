"""The load of running apps is recorded at each look, and of an idle one only now and then."""

from collections.abc import Collection
from pathlib import Path

import pytest

from reconciler.metrics import load_recorder
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
        self._recorder = LoadRecorder(self.paths, lambda: self.workers(self.requests), self._sample)
        self.sampled: list[str] = []
        self.worker = self.paths.readiness("blog") / "one" / "4711"
        self.worker.parent.mkdir(parents=True)
        self.worker.write_bytes(b"0")

    def _sample(self, names: Collection[str]) -> dict[str, AppSample]:
        self.sampled += sorted(names)
        return {
            app: AppSample(figures=Figures(classes=(0, count, 0, 0, 0)), memory=4096, cpu={"one": self.cpu_s})
            for app, count in self.requests.items()
            if app in names
        }

    def answered(self, count: int) -> None:
        """Have the app answer, as its worker writes down."""
        self.requests["blog"] += count
        self.worker.write_bytes(str(self.requests["blog"]).encode())

    def add(self, count: int) -> None:
        """Have so many more apps run, whose workers have answered nothing."""
        for number in range(count):
            worker = self.paths.readiness(f"app{number}") / "one" / "4711"
            worker.parent.mkdir(parents=True)
            worker.write_bytes(b"0")
            self.requests[f"app{number}"] = 0

    def workers(self, running: Collection[str]) -> dict[str, list[str]]:
        return {name: [*map(str, sorted(self.paths.readiness(name).glob("*/*")))] for name in running}

    def look(self, minutes: int = 1) -> None:
        for _ in range(minutes):
            self.look_at(self.requests)

    def look_at(self, running: Collection[str]) -> None:
        self._recorder.record(self.workers(running), _NOW + self.at, self.at + 1)
        self.at += 60

    def recorded(self, span: Span = HOUR) -> list[tuple[float, float]]:
        points = read_points(self.paths.load_history("blog"), span, _NOW + self.at)
        return [(point.at - _NOW, point.requests) for point in points]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> _Host:
    """Return a host on which measuring takes no time."""
    monkeypatch.setattr(load_recorder, "_SHARE_AT_REST", 1.0)
    monkeypatch.setattr(load_recorder, "_FIRST_S", 0.0)
    return _Host(tmp_path)


def test_what_an_app_did_since_the_look_before_is_recorded(host: _Host) -> None:
    host.look()
    host.answered(120)
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
        host.answered(300)
        host.look()
    assert host.recorded(DAY) == [(300.0, 5.0)]


def test_an_app_that_was_removed_gets_no_file(host: _Host) -> None:
    host.requests["gone"] = 0
    host.look()
    host.requests["gone"] = 60
    host.look(10)
    assert not host.paths.app("gone").exists()


def test_an_app_at_rest_is_measured_once_in_half_an_hour_and_at_once_when_it_answers_again(host: _Host) -> None:
    host.look(32)
    assert len(host.sampled) == 3  # the first two looks, and half an hour later
    host.cpu_s = 0.5
    host.answered(60)
    host.look()
    (*_, last) = read_points(host.paths.load_history("blog"), HOUR, _NOW + host.at)
    assert (last.at - _NOW, last.requests) == (1920.0, 1.0)
    assert last.cpu == pytest.approx(0.5 / 60, rel=0.1)


def test_apps_that_have_answered_nothing_yet_are_measured_a_few_at_a_time(host: _Host) -> None:
    host.add(20)
    host.look()
    assert len(host.sampled) == 2
    host.look()
    assert len(host.sampled) == 4  # the same again, for their rate
    host.look(20)
    assert set(host.sampled) == set(host.requests)


def test_apps_that_have_answered_nothing_yet_wait_while_measuring_them_takes_too_much(
    host: _Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_recorder, "_SHARE_AT_REST", 1e-9)
    host.add(20)
    host.look(10)
    assert len(host.sampled) == 2
    host.answered(60)
    host.look()
    assert "blog" in host.sampled


def test_apps_that_have_answered_nothing_yet_are_left_alone_while_the_daemon_is_young(
    host: _Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_recorder, "_FIRST_S", 120.0)
    host.add(20)
    host.look(2)
    assert not host.sampled
    host.look()
    assert len(host.sampled) == 2


def test_a_new_app_that_answers_waits_for_no_other(host: _Host) -> None:
    host.requests = {f"app{number}": 0 for number in range(20)} | host.requests
    host.look()
    assert "blog" not in host.sampled
    host.answered(60)
    host.look()
    assert host.sampled.count("blog") == 1


def test_a_new_app_whose_worker_had_written_nothing_when_it_was_first_seen_waits_for_no_other(host: _Host) -> None:
    host.requests = {f"app{number}": 0 for number in range(20)} | host.requests
    host.worker.write_bytes(b"")
    host.look()
    host.worker.write_bytes(b"0")
    host.look()
    assert "blog" not in host.sampled
    host.answered(60)
    host.look()
    assert host.sampled.count("blog") == 1


def test_an_app_that_cannot_be_measured_keeps_no_other_waiting(host: _Host) -> None:
    names = {*host.requests, *(f"app{number}" for number in range(6))}
    for _ in range(4):
        host.look_at(names)
    assert "blog" in host.sampled


@pytest.mark.parametrize("gone", [True, False])
def test_a_worker_that_was_replaced_is_no_sign_of_rest(host: _Host, *, gone: bool) -> None:
    host.look(3)
    before = len(host.sampled)
    host.worker.rename(host.worker.with_name("done-4711")) if gone else host.worker.write_bytes(b"")
    host.look()
    assert len(host.sampled) == before + 1


def test_a_worker_that_joins_others_at_rest_is_no_sign_of_rest(host: _Host) -> None:
    host.answered(10)
    host.look(4)
    host.sampled.clear()
    host.look(2)
    assert host.sampled == []
    (host.worker.parent / "4712").write_bytes(b"0")
    host.look()
    assert host.sampled == ["blog"]


def test_an_app_whose_worker_counts_nothing_is_measured_at_each_look(host: _Host) -> None:
    host.worker.write_bytes(b"")
    host.look(5)
    assert len(host.sampled) == 5
