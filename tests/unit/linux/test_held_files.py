"""Files are read beside others that keep their readers waiting."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux import held_files
from reconciler.linux.held_files import contents


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("_held", {}), ("_stuck", [])):
        monkeypatch.setattr(held_files, name, value)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[list[str]]:
    """Files whose readers wait: pipes that are open, and into which nothing is written."""
    paths = [f"{tmp_path}/{number}-held" for number in range(6)]
    for path in paths:
        os.mkfifo(path)
    writing = [os.open(path, os.O_RDWR) for path in paths]
    yield paths
    for each in writing:
        os.close(each)


def _files(place: Path, number: int) -> list[str]:
    for each in range(number):
        (place / f"{each}-file").write_bytes(b"%d" % each)
    return [f"{place}/{each}-file" for each in range(number)]


def test_what_can_be_read_is_read_once_and_what_is_kept_of_it_is_returned(tmp_path: Path) -> None:
    files = _files(tmp_path, 3)
    (tmp_path / "large").write_bytes(b"x" * 100)
    found = contents([*files, f"{tmp_path}/gone", f"{tmp_path}/large"], int, most=99)
    assert found == {path: number for number, path in enumerate(files)}


def test_files_that_keep_readers_waiting_hold_up_no_others(
    tmp_path: Path, held: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = _files(tmp_path, 6)
    (tmp_path / "large").write_bytes(b"x" * (held_files._MOST_BY_PROCESS + 1))
    mixed = [path for pair in zip(files, held, strict=True) for path in pair] + [
        f"{tmp_path}/large",
        f"{tmp_path}/gone",
    ]
    monkeypatch.setattr(held_files, "_AT_A_TIME", 8)
    assert contents(mixed, int) == {path: number for number, path in enumerate(files)}
    assert held_files._held.keys() == set(held)
    assert len(held_files._stuck) == 1

    def none_asked(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(held_files, "_by_process", none_asked)  # they are left alone by now
    assert contents(mixed[:-2], int) == {path: number for number, path in enumerate(files)}


def test_a_file_that_kept_its_reader_waiting_is_read_again_later(tmp_path: Path, held: list[str]) -> None:
    (file,) = _files(tmp_path, 1)
    assert contents([held[0], file], int) == {file: 0}
    Path(held[0]).unlink()
    Path(held[0]).write_bytes(b"7")
    assert contents([held[0], file], int) == {file: 0}
    held_files._held[held[0]] = 0.0
    assert contents([held[0], file], int) == {held[0]: 7, file: 0}


def test_where_threads_are_stuck_a_process_reads_at_once(
    tmp_path: Path, held: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_files, "_MOST_STUCK", 0)
    (file,) = _files(tmp_path, 1)
    assert contents([file, held[0]], int) == {file: 0}
    assert held_files._stuck == []
