"""An instance is looked at each time its app is: that stays cheap, whatever the app puts beside its workers' files."""

from dataclasses import replace
from pathlib import Path

from reconciler.serving import gate_figures_reader
from reconciler.serving.live_instance import LiveInstance
from reconciler.state.records import NO_ADDRESS, InstanceRecord

_RECORD = InstanceRecord(
    id="a" * 12,
    app="blog",
    revision="b" * 12,
    build="c" * 12,
    address=NO_ADDRESS,
    boot="1",
    started_at=1.0,
    stop_timeout_s=1.0,
    workers=2,
)


def test_a_program_passes_its_gate_as_a_whole(tmp_path: Path) -> None:
    live = LiveInstance(record=_RECORD, readiness=tmp_path, log=tmp_path / "app.log", link=tmp_path / "code")
    (tmp_path / "7").touch()
    assert live.workers_ready() == 1
    (tmp_path / "program").write_text("puma")
    live.update_from_workers()
    assert live.workers_ready() == live.workers_passed == 2
    (tmp_path / "7").unlink()
    assert live.workers_ready() == 0


def test_no_more_files_are_read_than_there_can_be_workers(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / str(number)).touch()
    live = LiveInstance(record=_RECORD, readiness=tmp_path, log=tmp_path / "app.log", link=tmp_path / "code")
    assert 2 < len(live._of_workers()) < 50
    live.record = replace(_RECORD, workers=1000)
    assert len(live._of_workers()) > 2000


def test_the_figures_of_an_app_are_those_of_a_bounded_number_of_files(tmp_path: Path) -> None:
    for number in range(200):
        (tmp_path / f"i{number}").mkdir()
        (tmp_path / f"i{number}" / "1").touch()
    for number in range(5000):
        (tmp_path / "i7" / str(number)).touch()
    assert gate_figures_reader.of_app(tmp_path).workers <= 2100
    assert gate_figures_reader.of_instance(tmp_path / "i7").workers <= 2000


def test_what_was_set_aside_is_counted_no_more(tmp_path: Path) -> None:
    (tmp_path / ".gone-i1-ab").mkdir()
    (tmp_path / ".gone-i1-ab" / "1").touch()
    assert gate_figures_reader.of_app(tmp_path).workers == 0
