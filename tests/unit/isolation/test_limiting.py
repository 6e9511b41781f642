"""What is written into control groups of either version for a limit, and what is read back of its use."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.isolation.cells import ENDING, Cell
from reconciler.isolation.limiting import (
    hold,
    in_force,
    is_held,
    memory_kills,
    memory_pressure,
    refused_processes,
    seen,
    used_memory,
)
from reconciler.linux.control_groups import Group, Version
from reconciler.planning.isolation.limits import NO_LIMITS, Limits

M = 1 << 20
FILES = (1024, 4096)
_OF_VERSION: dict[Version, dict[str, str]] = {
    2: {
        "memory.max": "max", "memory.current": "0", "memory.stat": "", "memory.events": "", "pids.max": "max",
        "pids.events": "max 0", "cpu.max": "max 100000", "cpu.weight": "100", "memory.pressure": "",
    },
    1: {
        "memory.limit_in_bytes": "9223372036854771712", "memory.usage_in_bytes": "0", "memory.stat": "",
        "memory.oom_control": "", "pids.max": "max", "pids.events": "max 0", "cpu.cfs_quota_us": "-1",
        "cpu.shares": "1024",
    },
}  # fmt: skip


def a_cell(root: Path, version: Version) -> Cell:
    """A cell whose group is a directory of plain files."""
    root.mkdir()
    for name, text in _OF_VERSION[version].items():
        (root / name).write_text(text)
    group = Group(root, version)
    return Cell(groups=dict.fromkeys((ENDING, "memory", "pids", "cpu"), group))


def said(root: Path, *names: str) -> list[str]:
    return [(root / name).read_text() for name in names]


def test_limits_are_written_as_version_2_has_them(tmp_path: Path) -> None:
    cell = a_cell(tmp_path / "g", 2)
    held = hold(cell, Limits(memory=512 * M, cpu=1.5, processes=100, files=64), (), FILES)
    assert held == {"memory": "together", "cpu": "together", "processes": "together", "files": "each"}
    assert said(tmp_path / "g", "memory.max", "pids.max", "cpu.max", "cpu.weight") == [
        str(512 * M), "100", "150000 100000", "150",
    ]  # fmt: skip


def test_limits_are_written_as_version_1_has_them(tmp_path: Path) -> None:
    cell = a_cell(tmp_path / "g", 1)
    hold(cell, Limits(memory=512 * M, cpu=0.5, processes=100), (), FILES)
    assert said(tmp_path / "g", "memory.limit_in_bytes") == [str(512 * M)]
    assert said(tmp_path / "g", "cpu.cfs_quota_us", "cpu.shares") == ["50000", "512"]


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_held_to_nothing_is_known_to_be_and_what_is_limited_is_not(tmp_path: Path, version: Version) -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    cell = a_cell(tmp_path / "g", version)
    assert in_force(cell, os.getpid(), files) == NO_LIMITS
    assert in_force(cell, os.getpid(), (files[0], files[1] + 1)) is None
    name = "memory.max" if version == 2 else "memory.limit_in_bytes"
    (tmp_path / "g" / name).write_text(str(512 * M))
    assert in_force(cell, os.getpid(), files) is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_group_holds_a_limit_only_if_it_has_its_value(tmp_path: Path, version: Version) -> None:
    cell = a_cell(tmp_path / "g", version)
    assert not is_held(cell, "memory", 512 * M)
    hold(cell, Limits(memory=512 * M, cpu=0.5, processes=9), (), FILES)
    assert is_held(cell, "memory", 512 * M)
    assert is_held(cell, "processes", 9)
    assert not is_held(cell, "processes", 10)
    assert not is_held(cell, "files", 9)


@contextmanager
def a_process(files: tuple[int, int], data: int | None = None) -> Iterator[int]:
    """A process with limits of its own."""
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            resource.prlimit(process.pid, resource.RLIMIT_NOFILE, files)
            if data is not None:
                hard = resource.prlimit(process.pid, resource.RLIMIT_DATA)[1]
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (data, hard))
            yield process.pid
        finally:
            process.kill()


def test_a_process_that_has_raised_its_own_limit_of_files_keeps_it() -> None:
    with a_process((4096, 4096)) as pid:
        assert in_force(Cell(), pid, FILES) == NO_LIMITS
        assert hold(Cell(), NO_LIMITS, {pid}, FILES) == {}
        assert hold(Cell(), Limits(memory=512 * M), {pid}, FILES) == {"memory": "each"}
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (4096, 4096)


def test_limits_that_were_set_for_each_process_are_known_and_lifted() -> None:
    own = resource.getrlimit(resource.RLIMIT_DATA)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    with a_process(files) as pid:
        hold(Cell(), Limits(memory=512 * M), {pid}, files)
        assert resource.prlimit(pid, resource.RLIMIT_DATA) == (512 * M, own[1])
        assert in_force(Cell(), pid, files) is None
        hold(Cell(), NO_LIMITS, {pid}, files)
        assert resource.prlimit(pid, resource.RLIMIT_DATA) == own
    with a_process((128, 128)) as pid:
        assert in_force(Cell(), pid, FILES) is None
        if hold(Cell(), NO_LIMITS, {pid}, FILES) == {}:  # the kernel may let nobody raise it
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == FILES


def test_the_memory_that_the_daemon_itself_may_have_is_no_limit_of_an_app(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reconciler.linux.resource_limits._own_data", lambda: 4096 * M)
    with a_process(FILES, data=4096 * M) as pid:
        assert in_force(Cell(), pid, FILES) == NO_LIMITS
        hold(Cell(), NO_LIMITS, {pid}, FILES)
        assert resource.prlimit(pid, resource.RLIMIT_DATA)[0] == 4096 * M


def test_a_limit_of_files_above_what_the_host_allows_is_that_of_the_host() -> None:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)
    above = Limits(files=files[1] + 1000)
    with a_process(files) as pid:
        assert hold(Cell(), above, {pid}, files) == {"files": "each"}
        assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (files[1], files[1])
        assert seen(Cell(), pid, above) == above
        assert seen(Cell(), pid, Limits(files=64)) == NO_LIMITS


def test_without_groups_memory_is_held_for_each_process_and_the_rest_by_nothing() -> None:
    assert hold(Cell(), Limits(memory=512 * M, cpu=1, processes=9, files=64, disk=M), (), FILES) == {
        "memory": "each", "files": "each",
    }  # fmt: skip


def test_cached_files_do_not_count_as_memory_in_use(tmp_path: Path) -> None:
    cell = a_cell(tmp_path / "g", 2)
    (tmp_path / "g/memory.current").write_text(f"{100 * M}\n")
    (tmp_path / "g/memory.stat").write_text(f"anon 5\ninactive_file {30 * M}\nactive_file 7\n")
    assert used_memory(cell) == 70 * M
    assert used_memory(Cell()) is None


@pytest.mark.parametrize(("version", "file"), [(2, "memory.events"), (1, "memory.oom_control")])
def test_kills_of_the_kernel_are_counted_by_group(tmp_path: Path, version: Version, file: str) -> None:
    cell = a_cell(tmp_path / "g", version)
    assert memory_kills(cell) == 0
    (tmp_path / "g" / file).write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    assert memory_kills(cell) == 3


def test_refused_processes_and_pressure_are_read(tmp_path: Path) -> None:
    cell = a_cell(tmp_path / "g", 2)
    (tmp_path / "g/pids.events").write_text("max 7\n")
    (tmp_path / "g/memory.pressure").write_text(
        "some avg10=34.00 avg60=1.00 avg300=0.00 total=5\nfull avg10=0.0 total=1\n"
    )
    assert (refused_processes(cell), memory_pressure(cell)) == (7, 0.34)
    assert (refused_processes(Cell()), memory_pressure(Cell())) == (0, 0.0)


def test_a_file_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    cell = Cell(groups={"memory": Group(tmp_path, 2)})
    assert hold(cell, Limits(memory=512 * M), (), FILES) == {"memory": "each"}
