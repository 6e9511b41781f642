"""The last lines of a log and what is appended to it, read whatever its size and its rotation."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inspection.log_files import LogReader, follow, tail


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def read(log: Path, lines: int) -> bytes:
    with LogReader(log, lines) as reader:
        return reader.read_all()


def test_the_last_lines_are_read_with_or_without_a_line_break_at_the_end(log: Path) -> None:
    log.write_bytes(b"one\ntwo\nthree")
    assert [read(log, count) for count in (0, 1, 2, 9)] == [b"", b"three", b"two\nthree", b"one\ntwo\nthree"]
    log.write_bytes(b"one\ntwo\nthree\n")
    assert [read(log, count) for count in (0, 1, 2)] == [b"", b"three\n", b"two\nthree\n"]


@given(st.lists(st.integers(0, 40)), st.integers(0, 12), st.booleans())
def test_any_number_of_last_lines_is_what_splitting_the_whole_would_give(
    lengths: list[int], count: int, ends: bool
) -> None:
    path = Path("/dev/shm") / f"reconciler-test-{os.getpid()}.log"
    content = b"\n".join(b"x" * (length * 5000) for length in lengths) + b"\n" * ends
    path.write_bytes(content)
    found = read(path, count)
    path.unlink()
    lines = content.splitlines(keepends=True)
    assert found == b"".join(lines[len(lines) - min(count, len(lines)) :])


def test_a_missing_log_is_empty_until_it_appears(log: Path) -> None:
    with LogReader(log, 10) as reader:
        assert reader.read() == b""
        log.write_bytes(b"one\n")
        assert reader.read() == b"one\n"
    assert tail(log.with_name("other"), 5) == []


def test_a_rotated_log_is_read_to_its_end_and_then_its_successor_from_the_start(log: Path) -> None:
    log.write_bytes(b"one\n")
    with LogReader(log, 1) as reader:
        assert reader.read_all() == b"one\n"
        with log.open("ab") as file:
            file.write(b"two\n")
        log.rename(log.with_name("app.log.1"))
        log.write_bytes(b"three\nfour\n")
        assert reader.read_all() == b"two\nthree\nfour\n"


def test_a_log_that_was_emptied_is_read_from_its_start(log: Path) -> None:
    log.write_bytes(b"one\ntwo\n")
    with LogReader(log, 9) as reader:
        reader.read_all()
        log.write_bytes(b"new\n")
        assert reader.read_all() == b"new\n"


def test_a_tail_is_bounded_in_bytes_and_begins_with_a_whole_line(log: Path) -> None:
    def bounded(most_bytes: int) -> bytes:
        with LogReader(log, 100, most_bytes) as reader:
            return reader.read_all()

    log.write_bytes(b"a long first line\nshort\nend\n")
    assert bounded(12) == b"short\nend\n"
    log.write_bytes(b"no line break at all")
    assert bounded(12) == b""


def test_a_line_that_never_ends_is_cut(log: Path) -> None:
    log.write_bytes(b"x" * 20000 + b"\nend")
    assert [len(line) for line in tail(log, 2)] == [8192, 3]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is a directory, not a file"):
        tail(tmp_path, 5)


def test_following_yields_the_last_lines_then_new_ones_across_a_rotation(log: Path) -> None:
    log.write_bytes(b"one\ntwo\n")

    async def followed() -> list[list[str]]:
        found: list[list[str]] = []
        async for lines in follow(log, 1):
            if lines is not None:
                found.append(lines)
            elif len(found) == 1:
                log.rename(log.with_name("app.log.1"))
                log.write_bytes(b"three\nfo")
            elif len(found) == 2:
                with log.open("ab") as file:
                    file.write(b"ur\n")
            if len(found) == 3:
                break
        return found

    assert asyncio.run(followed()) == [["two"], ["three"], ["four"]]
