"""The logs of an app stay within their limit, however fast it writes; what that costs is told."""

import asyncio
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar, cast

import pytest

from reconciler.daemon import log_rotation
from reconciler.daemon.log_rotation import Apart, LogRotation
from reconciler.linux.next_changes import NextChanges
from reconciler.planning.subject import Subject
from reconciler.serving import logs
from reconciler.serving.instances import Instances
from reconciler.serving.log_times import LogTimes
from reconciler.state.paths import StatePaths
from tests.simulation.clock import run

P = ParamSpec("P")
T = TypeVar("T")

_LIMIT = 1000
_KEEP = 3


@dataclass
class Writers:
    """Instances that write to their logs, and open them again when they are told to, or do not listen."""

    listening: bool = True
    starting: int = 0
    told: int = 0
    files: dict[str, Path] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    workers: list[Path] = field(default_factory=list)

    def apps(self) -> frozenset[str]:
        return frozenset(self.files)

    def apps_of_processes(self) -> frozenset[str]:
        return frozenset({"blog"} if self.workers else ())

    def process_keys(self, name: str) -> list[str]:
        return [f"{name}/worker"] if self.workers else []

    def lives(self, key: str) -> list[Any]:
        return [SimpleNamespace(log=log) for log in self.workers] if "/" in key else []

    def take_ended(self) -> frozenset[str]:
        ended, self.ended = frozenset(self.ended), set()
        return ended

    def processes(self, name: str) -> list[tuple[None, Any]]:
        return [(None, self)]

    def signal_if_caught(self, number: int) -> bool:
        """A process that still starts would end by the signal."""
        self.starting -= 1
        self.told += self.starting < 0
        return self.starting < 0


@dataclass
class Changes:
    """Tells of the changes that a story says there were; where `watches` is not, no directory can be watched."""

    watches: bool = False
    asked: dict[str, str] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    happened: asyncio.Event = field(default_factory=asyncio.Event)

    def ask(self, name: str, directory: str) -> bool:
        if self.watches:
            self.asked[name] = directory
        return self.watches

    def tell(self, name: str) -> None:
        self.asked.pop(name, None)
        self.told.add(name)
        self.happened.set()

    def take(self) -> frozenset[str]:
        told, self.told = frozenset(self.told), set()
        self.happened.clear()
        return told

    def forget(self, names: set[str]) -> None:
        for name in names:
            self.asked.pop(name, None)


@pytest.fixture
def paths(tmp_path: Path) -> StatePaths:
    (tmp_path / "logs" / "blog").mkdir(parents=True)
    return StatePaths(state=tmp_path)


async def at_once(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return work(*args, **kwargs)


def rotated(
    paths: StatePaths,
    write: Callable[[int], None],
    seconds: int,
    writers: Writers | None = None,
    changes: Changes | None = None,
    apart: Apart = at_once,
    every_s: float = 1,
    reported_at: int | None = None,
) -> tuple[Writers, list[tuple[str, str]]]:
    """Rotate for so long; `write` is called each second, or as often as it says, and gets its number."""
    writers, told = writers or Writers(files={"blog": paths.log("blog", "app")}), list[tuple[str, str]]()

    async def story() -> None:
        rotation = LogRotation(
            paths,
            cast("Instances", writers),
            limit_bytes=_LIMIT,
            keep=_KEEP,
            changes=cast("NextChanges[str]", changes or Changes()),
            record=lambda *what: told.append(what),
            apart=apart,
        )
        running = [asyncio.get_running_loop().create_task(each()) for each in (rotation.run, rotation.cut)]
        for number in range(int(seconds / every_s)):
            if number == reported_at:
                rotation.on_report(Subject("app", "blog"), None)
            write(number)
            await asyncio.sleep(every_s)
        for each in running:
            each.cancel()

    run(story())
    return writers, told


def append(file: Path, count: int) -> None:
    with file.open("ab") as opened:
        opened.write(b"x" * count)


def sizes(paths: StatePaths) -> list[int]:
    return [file.stat().st_size for file in sorted(paths.log("blog", "app").parent.glob("*.log*"))]


def test_a_log_that_grows_is_rotated_and_no_line_is_lost(paths: StatePaths) -> None:
    writers, told = rotated(paths, lambda _: append(paths.log("blog", "app"), 300), 90)
    assert _KEEP <= len(sizes(paths)) <= _KEEP + 1
    assert max(sizes(paths)) <= 2 * _LIMIT
    assert writers.told > 0
    assert told == []


def test_what_is_written_faster_than_it_is_rotated_is_cut_and_told_once(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    _, told = rotated(paths, lambda _: append(paths.log("blog", "app"), 100_000), 60)
    assert max(sizes(paths)[1:]) <= 2 * _LIMIT
    assert told == [("blog", "its log grows faster than it is rotated: lines were dropped beyond 0.000954 MiB a file")]


@pytest.mark.parametrize("file", ["app.log", "worker.log"])
def test_a_log_that_is_flooded_is_cut_several_times_a_second(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """Be it renamed, or copied and emptied as one that no signal has opened again."""
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    free, largest, log = [10**9], list[int](), paths.logs / "blog" / file
    monkeypatch.setattr(LogRotation, "_free", lambda _: free[0])
    writers = Writers(files={"blog": paths.log("blog", "app")}, workers=[log] if file == "worker.log" else [])

    def flood(number: int) -> None:
        """1 MB a second, from the sixth on."""
        if number >= 50:
            append(log, 100_000)
            free[0] -= 100_000
            largest.append(max(each.stat().st_size for each in log.parent.iterdir()))

    _, told = rotated(paths, flood, 20, writers, every_s=0.1)
    assert max(largest) <= 5_100_000  # within the first five seconds
    assert max(largest[60:]) <= 2 * 100_000 + 2 * _LIMIT
    assert len(told) == 1


def test_a_log_that_is_flooded_from_the_start_is_cut_within_a_second_and_whatever_a_rotation_waits_for(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    largest, log = list[int](), paths.logs / "blog" / "worker.log"
    writers = Writers(files={"blog": paths.log("blog", "app")}, workers=[log])

    async def slowly(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        if function.__name__ == "_brought_within":
            await asyncio.sleep(5)
        return function(*args, **kwargs)

    def flood(number: int) -> None:
        """1 MB a second, from the sixth on."""
        if number >= 50:
            append(log, 100_000)
            largest.append(max(each.stat().st_size for each in log.parent.iterdir()))

    rotated(paths, flood, 20, writers, every_s=0.1, apart=slowly, reported_at=50)
    assert max(largest) <= 1_100_000
    assert max(largest[12:]) <= 2 * 100_000 + 2 * _LIMIT


def test_a_log_that_was_renamed_is_cut_as_often_as_long_as_it_is_written_to(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    free, largest, log = [10**9], list[int](), paths.log("blog", "app")
    monkeypatch.setattr(LogRotation, "_free", lambda _: free[0])

    def flood(number: int) -> None:
        """1 MB a second, to what the log was renamed to once it was, as a process that opens none again."""
        renamed = log.with_name("app.log.1")
        append(renamed if renamed.exists() else log, 100_000)
        free[0] -= 100_000
        if number >= 60:
            largest.append(max(each.stat().st_size for each in log.parent.iterdir()))

    rotated(paths, flood, 20, every_s=0.1)
    assert max(largest) <= 2 * 100_000 + 2 * _LIMIT


def test_a_process_that_still_starts_is_told_to_open_its_log_again_once_it_listens(paths: StatePaths) -> None:
    """Before, the signal would end it."""
    writers = Writers(files={"blog": paths.log("blog", "app")}, starting=5)
    rotated(paths, lambda second: append(paths.log("blog", "app"), 2000) if second == 5 else None, 60, writers)
    assert writers.told == 1


def test_a_process_that_never_listens_is_told_no_more_after_half_a_minute(paths: StatePaths) -> None:
    writers = Writers(files={"blog": paths.log("blog", "app")}, starting=10_000)
    rotated(paths, lambda second: append(paths.log("blog", "app"), 2000) if second == 5 else None, 600, writers)
    assert writers.told == 0
    assert 10_000 - writers.starting <= 2 * log_rotation._QUIET_FOR


def test_a_writer_that_does_not_open_its_log_again_fills_no_disk(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    log = paths.log("blog", "app")
    with log.open("ab", buffering=0) as opened:
        rotated(paths, lambda _: append_to(opened.fileno(), 10_000), 60)
    assert sum(sizes(paths)) <= 10_000 + 2 * _LIMIT


def append_to(number: int, count: int) -> None:
    os.write(number, b"x" * count)


def test_a_burst_is_noticed_by_what_the_disk_has_left(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when it is time to look at all logs."""
    free = [10**9]
    monkeypatch.setattr(LogRotation, "_free", lambda _: free[0])

    def write(second: int) -> None:
        if second == 5:
            append(paths.log("blog", "app"), 5000)
            free[0] -= 5000
        if second == 11:
            assert paths.log("blog", "app").with_name("app.log.1").exists()

    rotated(paths, write, 13)


def test_an_app_that_floods_its_log_and_ends_between_any_two_looks_fills_no_disk(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    writers = Writers()

    def crash(_: int) -> None:
        append(paths.log("blog", "app"), 5000)
        writers.ended.add("blog")

    _, told = rotated(paths, crash, 60, writers)
    assert max(sizes(paths)) <= 5000
    assert sum(sizes(paths)) <= 5000 + _KEEP * 2 * _LIMIT
    assert len(told) == 1


def test_logs_of_many_apps_that_were_removed_are_brought_to_their_limit_once(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    for number in range(120):
        log = paths.log(f"gone-{number}", "app")
        log.parent.mkdir()
        append(log, 50_000)
    looks, look = list[str](), LogRotation._look

    async def counted(self: LogRotation, name: str) -> None:
        looks.append(name)
        await look(self, name)

    monkeypatch.setattr(LogRotation, "_look", counted)
    rotated(paths, lambda _: None, 600, Writers())
    assert max(file.stat().st_size for file in paths.logs.glob("*/*")) <= 2 * _LIMIT
    assert looks.count("gone-7") <= log_rotation._QUIET_FOR + 1


def test_logs_within_their_limit_are_only_measured(paths: StatePaths, monkeypatch: pytest.MonkeyPatch) -> None:
    append(paths.log("blog", "app"), _LIMIT)
    monkeypatch.setattr(LogRotation, "_disk_shrank", lambda _: True)
    monkeypatch.setattr(LogRotation, "_look", lambda _, name: pytest.fail(f"looked at the logs of {name}"))
    rotated(paths, lambda _: None, 60)


def test_what_is_copied_or_cut_is_so_apart_from_the_rest_of_the_daemon(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SLACK_BYTES", 1000)
    is_apart, touched = False, list[bool]()

    async def apart(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        nonlocal is_apart
        is_apart = True
        await asyncio.sleep(0.1)
        try:
            return work(*args, **kwargs)
        finally:
            is_apart = False

    def noting(done: Callable[..., int]) -> Callable[..., int]:
        def noted(*given: Any, **named: Any) -> int:
            touched.append(is_apart)
            return done(*given, **named)

        return noted

    monkeypatch.setattr(logs, "rotate", noting(logs.rotate))
    monkeypatch.setattr(logs, "cut", noting(logs.cut))
    worker = paths.log("blog", "worker.1")
    writers = Writers(files={"blog": paths.log("blog", "app")}, workers=[worker])
    rotated(paths, lambda _: append(worker, 50_000), 40, writers, apart=apart)
    assert touched
    assert all(touched)


def test_a_link_in_the_place_of_a_log_is_not_cut(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_bytes(b"x" * 5000)
    link = tmp_path / "app.log.1"
    link.symlink_to(precious)
    assert logs.cut(link, 1000, 10) == 0
    assert logs.cut(precious, 1000, 10) == 4990


def test_the_log_of_a_process_is_copied_and_emptied_as_it_cannot_be_opened_again(paths: StatePaths) -> None:
    log = paths.log("blog", "worker.1")
    writer = log.open("a")

    def write(second: int) -> None:
        writer.write(f"{second:09d} {'x' * 389}\n")
        writer.flush()

    with writer:
        writers, _ = rotated(paths, write, 60, Writers(workers=[log]))
    assert writers.told == 0
    kept = [log, *(log.with_name(f"{log.name}.{number}") for number in range(1, _KEEP + 1))]
    assert all(0 < file.stat().st_size <= _LIMIT + 400 for file in kept[1:])
    assert not log.with_name(f"{log.name}.{_KEEP + 1}").exists()
    lines = [line[:9] for file in reversed(kept) for line in file.read_text().splitlines()]
    assert lines == sorted(lines)
    assert lines[-1] == f"{59:09d}"


def test_an_app_that_writes_nothing_is_not_looked_at_and_the_disk_is_not_asked(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(paths.log("blog", "app"), 100)
    looks, asked = list[str](), list[None]()
    take, free = LogTimes.take, LogRotation._free

    def counted(self: LogTimes, directory: str, files: Iterable[str]) -> tuple[int, float]:
        looks.append(directory)
        return take(self, directory, files)

    def counted_free(self: LogRotation) -> int:
        asked.append(None)
        return free(self)

    monkeypatch.setattr(LogTimes, "take", counted)
    monkeypatch.setattr(LogRotation, "_free", counted_free)
    changes = Changes(watches=True)
    rotated(paths, lambda _: None, 600, changes=changes)
    assert changes.asked == {"blog": str(paths.log("blog", "app").parent)}
    assert len(looks) <= 3
    assert len(asked) <= 10


def test_an_app_that_wrote_some_time_before_a_look_is_quiet_from_that_look_on(
    paths: StatePaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, changes, looks = paths.log("blog", "app"), Changes(watches=True), list[str]()
    append(log, 100)
    take = LogTimes.take

    def counted(self: LogTimes, directory: str, files: Iterable[str]) -> tuple[int, float]:
        looks.append(directory)
        return take(self, directory, files)

    def write(second: int) -> None:
        if second == 100:
            looks.clear()
            append(log, 100)
            os.utime(log, (1000, 1000))
            changes.tell("blog")

    monkeypatch.setattr(LogTimes, "take", counted)
    rotated(paths, write, 600, changes=changes)
    assert len(looks) == 2  # once more after the kernel was asked
    assert "blog" in changes.asked
    assert (log.parent / "times").read_bytes()


def test_a_quiet_app_that_writes_again_is_rotated_and_its_times_are_known(paths: StatePaths) -> None:
    log, changes = paths.log("blog", "app"), Changes(watches=True)

    def write(second: int) -> None:
        if second == 100:
            assert "blog" in changes.asked
        if 100 <= second < 160:
            append(log, 300)
            if "blog" in changes.asked:  # as the kernel does
                changes.tell("blog")

    rotated(paths, write, 240, changes=changes)
    assert _KEEP <= len(sizes(paths)) <= _KEEP + 1
    assert max(sizes(paths)) <= 2 * _LIMIT
    assert (log.parent / "times").exists()
    assert "blog" in changes.asked


def test_an_app_that_is_not_known_yet_and_reports_is_noticed_within_seconds(paths: StatePaths) -> None:
    writers, changes = Writers(), Changes(watches=True)

    async def story() -> None:
        rotation = LogRotation(
            paths,
            cast("Instances", writers),
            limit_bytes=_LIMIT,
            keep=_KEEP,
            changes=cast("NextChanges[str]", changes),
            record=lambda *_: None,
            apart=at_once,
        )
        running = asyncio.get_running_loop().create_task(rotation.run())
        await asyncio.sleep(300)
        append(paths.log("blog", "app"), 5000)
        writers.ended.add("blog")
        rotation.on_report(Subject("app", "blog"), None)
        await asyncio.sleep(6)
        assert paths.log("blog", "app").with_name("app.log.1").exists()
        running.cancel()

    run(story())


def test_the_logs_of_an_app_that_is_gone_are_not_remembered(tmp_path: Path) -> None:
    times = LogTimes()
    for number in range(100):
        (tmp_path / f"app-{number}").mkdir()
        append(tmp_path / f"app-{number}" / "app.log", 100)
        times.take(str(tmp_path / f"app-{number}"), ["app.log"])
    times.keep({str(tmp_path / "app-7")})
    assert times._last.keys() == {str(tmp_path / "app-7")}
