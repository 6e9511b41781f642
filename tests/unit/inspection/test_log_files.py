"""Every line of a log is read once, whatever its size, and however it is rotated, cut or emptied meanwhile."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.inspection.log_files import LogFiles
from reconciler.inspection.log_tail import follow, tail
from reconciler.linux.regular_files import UnfitFile
from reconciler.serving import logs


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


def everything(files: LogFiles) -> list[bytes]:
    """All lines that can be read now."""
    return [line for lines in iter(files.read, []) for line in lines]


def append(log: Path, content: bytes) -> None:
    with log.open("ab") as file:
        file.write(content)


def test_the_last_lines_are_read_with_or_without_a_line_break_at_the_end(log: Path) -> None:
    log.write_bytes(b"one\ntwo\nthree")
    assert [tail(log, count) for count in (0, 1, 2, 9)] == [[], ["three"], ["two", "three"], ["one", "two", "three"]]
    log.write_bytes(b"one\ntwo\nthree\n")
    assert [tail(log, count) for count in (0, 1, 2)] == [[], ["three"], ["two", "three"]]


@given(st.lists(st.integers(0, 40)), st.integers(1, 12), st.booleans())
def test_any_number_of_last_lines_is_what_splitting_the_whole_would_give(
    lengths: list[int], count: int, ends: bool
) -> None:
    path = Path("/dev/shm") / f"reconciler-test-{os.getpid()}.log"
    content = b"\n".join(b"x" * (length * 200) for length in lengths) + b"\n" * ends
    path.write_bytes(content)
    found = tail(path, count)
    path.unlink()
    assert found == [line.decode() for line in content.splitlines()[-count:]]


def test_a_missing_log_is_empty_until_it_appears(log: Path) -> None:
    with LogFiles(log) as files:
        assert files.read() == []
        log.write_bytes(b"one\n")
        assert files.read() == [b"one"]
    assert tail(log.with_name("other"), 5) == []


def test_a_line_without_its_end_is_read_once_it_is_whole(log: Path) -> None:
    log.write_bytes(b"one\ntw")
    with LogFiles(log) as files:
        files.skip_to_sizes()
        append(log, b"o\nthree\n")
        assert everything(files) == [b"two", b"three"]


def test_rotated_files_are_part_of_the_log(log: Path) -> None:
    log.with_name("app.log.2").write_bytes(b"one\n")
    log.with_name("app.log.1").write_bytes(b"two\nthree\n")
    log.write_bytes(b"four\n")
    assert tail(log, 3) == ["two", "three", "four"]


def test_no_line_is_lost_when_a_log_is_rotated_several_times_between_two_reads(log: Path) -> None:
    log.write_bytes(b"old\n")
    with LogFiles(log) as files:
        files.skip_to_sizes()
        for number in range(4):
            append(log, b"%d\n" % number)
            logs.rotate(log, 0, 5)
        append(log, b"last\n")
        assert everything(files) == [b"0", b"1", b"2", b"3", b"last"]


def test_what_a_process_still_writes_to_a_rotated_log_is_read(log: Path) -> None:
    log.write_bytes(b"one\n")
    with LogFiles(log) as files, log.open("ab", buffering=0) as late:
        assert everything(files) == [b"one"]
        logs.rotate(log, 0, 5)
        log.write_bytes(b"new\n")
        assert everything(files) == [b"new"]
        late.write(b"late\n")
        assert everything(files) == [b"late"]


def test_a_log_that_was_emptied_is_read_from_its_start(log: Path) -> None:
    log.write_bytes(b"one\ntwo\n")
    with LogFiles(log) as files:
        everything(files)
        log.write_bytes(b"new\n")
        assert everything(files) == [b"new"]


def test_a_log_that_the_daemon_cut_is_read_on_behind_the_cut(log: Path) -> None:
    log.write_bytes(b"".join(b"line %05d\n" % number for number in range(100)))
    with LogFiles(log, limit_bytes=330) as files:
        assert len(everything(files)) == 100
        assert logs.cut(log, 500, 330)
        append(log, b"after\n")
        assert everything(files) == [b"after"]


def test_a_line_that_never_ends_is_cut(log: Path) -> None:
    log.write_bytes(b"x" * 20000 + b"\nend")
    assert [len(line) for line in tail(log, 2)] == [8192, 3]


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="it is a directory, not a file"):
        tail(tmp_path, 5)


@pytest.mark.parametrize("name", ["app.log", "app.log.1"])
def test_a_link_among_the_files_of_a_log_is_refused(log: Path, name: str) -> None:
    (log.with_name("other")).write_text("of another user\n")
    log.write_bytes(b"one\n")
    with LogFiles(log) as files:
        log.rename(log.with_name("app.log.2"))
        log.write_bytes(b"two\n")
        log.with_name(name).unlink(missing_ok=True)
        log.with_name(name).symlink_to("other")
        assert files.read() == [b"one"]
        with pytest.raises(UnfitFile, match="it is a symbolic link, not a file"):
            files.read()
        log.with_name(name).unlink()
        append(log, b"three\n")
        assert everything(files)[-1] == b"three"


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
                append(log, b"ur\n")
            if len(found) == 3:
                break
        return found

    assert asyncio.run(followed()) == [["two"], ["three"], ["four"]]


@dataclass
class Writers:
    """Instances that write numbered lines to one log, and open it again when they come to it."""

    log: Path
    written: list[bytes] = field(default_factory=list)
    _open: dict[int, int] = field(default_factory=dict)

    def write(self, writer: int, in_parts: bool) -> None:
        opened = self._open.get(writer)
        if opened is None:
            opened = self._open[writer] = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        line = b"%d of %d " % (len(self.written), writer) + b"x" * (len(self.written) % 50)
        self.written.append(line)
        for part in (line[:5], line[5:] + b"\n") if in_parts else (line + b"\n",):
            os.write(opened, part)

    def reopen(self, writer: int) -> None:
        """Open the log anew, as after SIGUSR1, or as another instance does after a hand-over."""
        opened = self._open.pop(writer, None)
        if opened is not None:
            os.close(opened)

    def rotate(self) -> None:
        if self.log.exists():
            logs.rotate(self.log, 0, 50)

    def close(self) -> None:
        for opened in self._open.values():
            os.close(opened)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("reopen"), st.integers(0, 1)),
        st.tuples(st.just("rotate")),
        st.tuples(st.just("read")),
    ),
    max_size=60,
)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    numbers = iter(range(10**9))

    def fresh() -> Path:
        directory = tmp_path_factory.getbasetemp() / f"story-{next(numbers)}"
        directory.mkdir()
        return directory / "app.log"

    return fresh


@given(_STEPS)
def test_whatever_rotates_and_hands_over_meanwhile_each_line_is_read_exactly_once(
    scratch: Callable[[], Path], steps: list[tuple[str, int, bool]]
) -> None:
    writers, found = Writers(scratch()), list[bytes]()
    with LogFiles(writers.log) as files:
        for what, *arguments in steps:
            if what == "read":
                found += files.read()
            else:
                getattr(writers, what)(*arguments)
        for _ in range(3):
            found += everything(files)
    writers.close()
    assert sorted(found) == sorted(writers.written)
