"""The record of a finished build, of this version and of the ones before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.staging import staged
from reconciler.staging.staged import RECORD, Staged


def a_build(directory: Path) -> Staged:
    return Staged(
        directory=str(directory),
        code=str(directory / "code"),
        environment="/e/1",
        python="/e/1/bin/python",
        python_version="3.12.1",
        gunicorn_version="23.0.0",
        entrypoint="wsgi:application",
        interface="wsgi",
        worker_class="sync",
        pythonpath=("src",),
        because="reused, its requirements did not change",
        reused=True,
    )


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    build = a_build(tmp_path)
    staged.write(build, tmp_path, "boot")
    assert staged.read(tmp_path, "boot") == build


def test_a_record_from_before_reuse_was_recorded_is_read(tmp_path: Path) -> None:
    build = a_build(tmp_path)
    staged.write(build, tmp_path, "boot")
    record = json.loads((tmp_path / RECORD).read_text())
    del record["staged"]["reused"]
    (tmp_path / RECORD).write_text(json.dumps(record))
    assert staged.read(tmp_path, "boot") == replace(build, reused=False)


@pytest.mark.parametrize(
    "change",
    [{"environment": 5}, {"python": None}, {"pythonpath": [1]}, {"notes": "ab", "reported": [[]]}, {"gunicorn": []}],
)
def test_a_record_whose_values_an_app_changed_is_no_record(tmp_path: Path, change: dict[str, object]) -> None:
    staged.write(a_build(tmp_path), tmp_path, "boot")
    record = json.loads((tmp_path / RECORD).read_text())
    (tmp_path / RECORD).write_text(json.dumps({**record, "staged": {**record["staged"], **change}}))
    assert staged.read(tmp_path, "boot") is None


@pytest.mark.parametrize("content", ["[]", '{"staged": []}', '{"staged": 1}', "[" * 100_000, "1" * 5000])
def test_a_record_of_another_shape_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / RECORD).write_text(content)
    assert staged.read(tmp_path, "boot") is None


def test_a_link_in_the_place_of_a_record_is_no_build(tmp_path: Path) -> None:
    for name in ("1", "2", "3"):
        (tmp_path / name).mkdir()
    (tmp_path / "1" / RECORD).symlink_to("/dev/zero")
    (tmp_path / "2" / RECORD).symlink_to("nowhere")
    staged.write(a_build(tmp_path / "3"), tmp_path / "3", "boot")
    assert staged.build_ids(tmp_path) == ("3",)


def test_a_record_too_large_to_be_read_names_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staged, "_MOST_OF_A_RECORD", 2000)
    for number in range(100):
        (tmp_path / f"{number:050}").write_text("x")
    build = a_build(tmp_path)
    staged.write(build, tmp_path, "boot")
    assert staged.read(tmp_path, "boot") == build
    assert staged.read(tmp_path, "after a power cut") is None
