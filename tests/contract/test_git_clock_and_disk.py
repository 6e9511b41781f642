"""Clocks that jump, git that is killed, disks that are full: nothing is taken early, and nothing is lost."""

import contextlib
import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.linux.files import replace_file
from reconciler.linux.process_identity import boot_id
from reconciler.manifests.git import tree_files
from reconciler.manifests.git import trees as trees_written
from reconciler.manifests.git.effects import now_s
from reconciler.manifests.git.fleet_record import clock_s
from reconciler.manifests.git.follower import Follower
from reconciler.manifests.git.program import Finished, GitProgram
from reconciler.planning.origins.observed import Pause
from reconciler.settings.git import Repository as Settings
from reconciler.state.paths import StatePaths
from tests.chaos.mounts import needs_mounts, small_disk
from tests.contract.test_git_origins import Host, app, host, leftovers, limited, repository
from tests.support.repository import Repository

__all__ = ["host", "repository"]

NIGHTLY = os.environ.get("RECONCILER_TESTS") == "nightly"
YEAR_S = 366 * 86400.0


def paused(for_s: float) -> Callable[[Follower], None]:
    ends_s = clock_s() + for_s
    pause = Pause(at=now_s(), because="a freeze", by="root", until=now_s() + for_s, boot=boot_id(), ends_s=ends_s)
    return lambda follower: follower.request(lambda record: replace(record, pause=pause))


def set_clock(monkeypatch: pytest.MonkeyPatch, *, day_s: float = 0.0, machine_s: float = 0.0) -> None:
    """Set the clock of the day ahead, and let so much time pass on that of the machine."""
    for module in ("effects", "follower"):
        monkeypatch.setattr(f"reconciler.manifests.git.{module}.now_s", lambda: now_s() + day_s)
    monkeypatch.setattr("reconciler.manifests.git.follower.clock_s", lambda: clock_s() + machine_s)


@pytest.mark.parametrize("jump_s", [YEAR_S, pytest.param(-YEAR_S, marks=pytest.mark.nightly)])
def test_a_clock_that_is_set_neither_ends_a_pause_nor_keeps_it_nor_stops_the_looks(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    first = repository.push(app("shop"))
    assert host.follow().state == "current"
    newest = repository.push(app("blog"))
    assert host.follow(paused(3600)).state == "paused"
    set_clock(monkeypatch, day_s=jump_s)
    assert (host.follow().state, host.in_force) == ("paused", first)
    set_clock(monkeypatch, day_s=jump_s, machine_s=3601)
    assert (host.follow().state, host.in_force) == ("current", newest)
    last = repository.push(app("wiki"))
    assert (host.follow().state, host.in_force) == ("current", last)


class Mortal(GitProgram):
    """A git program each of whose processes that reach the server is killed after some time."""

    after_s = 0.0
    killed = 0

    async def fetch(
        self, store: Path, repository: Settings, url: str, refspecs: Sequence[str], *options: str
    ) -> Finished:
        over = threading.Event()
        killer = threading.Thread(target=self._kill, args=(str(store), over))
        killer.start()
        try:
            return await super().fetch(store, repository, url, refspecs, *options)
        finally:
            over.set()
            killer.join()

    @staticmethod
    def _kill(store: str, over: threading.Event) -> None:
        """Kill each git that works on this store, by its id, some time after one is there."""
        while not working_on(store) and not over.wait(0.001):
            pass
        over.wait(Mortal.after_s)
        for pid in working_on(store):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                Mortal.killed += 1


def working_on(store: str) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            if words[0].endswith(b"git") and f"--git-dir={store}".encode() in words:
                found.append(int(process.name))
    return found


@pytest.mark.nightly
@pytest.mark.parametrize("is_new", [True, False])
def test_a_git_that_is_killed_at_any_point_of_a_fetch_leaves_nothing_and_the_next_look_is_current(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """Test 8: of a clone, and of a fetch into a store that is there."""
    limited(host, timeout_s=600)  # all that was pushed is packed again for each clone
    repository.push({**app("shop"), "apps/shop/data": os.urandom(2_000_000)})
    if not is_new:
        host.follow()
    monkeypatch.setattr(Mortal, "killed", 0)
    for number in range(20):
        monkeypatch.setattr(Mortal, "after_s", 0.003 * number)
        newest = repository.push({"apps/shop/data": os.urandom(2_000_000)})
        host.git = Mortal
        host.follow()
        host.git = GitProgram
        assert (host.follow().state, host.in_force) == ("current", newest)
        assert leftovers(host) == []
        if is_new:
            shutil.rmtree(host.state.git)
    assert Mortal.killed > 0


class Killed(GitProgram):
    """A git program whose run of some number is killed: half of what it prints has arrived by then."""

    at = 0
    runs = 0

    async def _run(self, argv: Sequence[str], environment: dict[str, str], **options: Any) -> Finished:
        done = await super()._run(argv, environment, **options)
        Killed.runs += 1
        if Killed.runs != Killed.at:
            return done
        into = options.get("into")
        if into is not None:
            os.truncate(into, into.stat().st_size // 2)
        return Finished(status=-signal.SIGKILL, output=done.output[: len(done.output) // 2], errors="")


@pytest.mark.parametrize("is_new", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_whichever_run_of_git_is_killed_nothing_is_left_and_the_next_look_is_current(
    host: Host, repository: Repository, monkeypatch: pytest.MonkeyPatch, is_new: bool
) -> None:
    """Test 8: of every run in which git fetches, reads or creates."""
    for module in ("effects", "follower"):
        monkeypatch.setattr(f"reconciler.manifests.git.{module}.AGAIN_S", 0.0)
    repository.push(app("shop"))
    host.follow()
    was_killed = False
    for number in range(1, 60) if NIGHTLY else (2, 4, 7, 10):
        before = host.in_force
        newest = repository.push(app("blog", "", f"application = {number}\n"))
        if is_new:
            shutil.rmtree(host.state.git / "fleet.git", ignore_errors=True)
        monkeypatch.setattr(Killed, "runs", 0)
        monkeypatch.setattr(Killed, "at", number)
        host.git = Killed
        host.follow()
        host.git = GitProgram
        assert host.state.current("fleet").readlink().name in {before, newest}
        was_killed = Killed.runs >= number
        assert (host.follow().state, host.in_force) == ("current", newest)
        assert leftovers(host) == []
        if not was_killed:
            break
    assert was_killed != NIGHTLY, "every run was killed once"


_WRITERS = {
    **dict.fromkeys(("_write_file", "_make", "_link_or_copy"), tree_files),
    **dict.fromkeys(("replace_file", "sync_directories"), trees_written),
}


class Full:
    """A disk that has room for so many more of what is made on it."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.was_full = False

    def of(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            self.room -= 1
            if self.room < 0:
                self.was_full = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return made


@contextlib.contextmanager
def full_after(room: int) -> Iterator[Full]:
    found = Full(room)
    files = "reconciler.linux.files"
    with pytest.MonkeyPatch.context() as patch:
        for name, module in _WRITERS.items():
            patch.setattr(module, name, found.of(getattr(module, name)))
        patch.setattr("reconciler.manifests.git.record.replace_file", found.of(replace_file))
        patch.setattr(f"{files}.os.symlink", found.of(os.symlink))
        patch.setattr("reconciler.manifests.git.follower.AGAIN_S", 0.0)
        yield found


@pytest.mark.nightly
def test_a_disk_that_is_full_at_any_step_stops_nothing_and_is_told_and_mended_once_there_is_room(
    host: Host, repository: Repository
) -> None:
    """Test 10: what is in force stays so, whichever file has no room."""
    repository.push(app("shop"))
    host.follow()
    for room in range(0, 40, 3):
        before = host.in_force
        newest = repository.push(app("blog", "", f"application = {room}\n"))
        with full_after(room) as disk, contextlib.suppress(AssertionError):  # it tries again and again
            host.follow()
        assert (host.state.current("fleet") / "hosts/web1/shop.yaml").exists()
        assert host.state.current("fleet").readlink().name in {before, newest}
        if not disk.was_full:
            break
        assert (host.follow().state, host.in_force) == ("current", newest)
        assert leftovers(host) == []
    assert any("No space left on device" in text for kind, text in host.events() if kind == "failed")


@needs_mounts
@pytest.mark.nightly
def test_a_disk_that_fills_up_under_git_or_the_daemon_stops_nothing_and_is_mended_once_there_is_room(
    host: Host, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test 10, on a file system of the test's own: with room for less and less of what a push of a megabyte takes."""
    for module in ("effects", "follower"):
        monkeypatch.setattr(f"reconciler.manifests.git.{module}.AGAIN_S", 0.0)
    with small_disk(tmp_path / "small") as place:
        host.state = StatePaths(state=place)
        repository.push({**app("shop"), "apps/shop/data": os.urandom(1_000_000)})
        host.follow()
        told, was_full = set[str](), False
        for room in range(0, 4_000_000, 100_000):
            before = host.in_force
            newest = repository.push({"apps/shop/data": os.urandom(1_000_000)})
            ballast = place / "ballast"
            free = os.statvfs(place)
            with ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, free.f_bavail * free.f_bsize - room))
            with contextlib.suppress(
                AssertionError, OSError
            ):  # it tries again and again, as the daemon has it begin anew
                host.follow()
            told |= {host.failure.code} if host.failure is not None else set()
            was_full = host.state.current("fleet").readlink().name == before
            assert len((host.state.current("fleet") / "apps/shop/data").read_bytes()) == 1_000_000
            ballast.unlink()
            assert (host.follow().state, host.in_force) == ("current", newest)
            assert leftovers(host) == []
            if not was_full:
                break
        assert not was_full
    assert told == {"no-space"}
    assert any("No space left on device" in text for kind, text in host.events() if kind == "failed")


@pytest.mark.nightly
def test_after_five_thousand_pushes_the_store_is_below_twice_a_fresh_clone(host: Host, repository: Repository) -> None:
    """Test 11. They come in pushes of twenty, as few hosts look at each of so many."""
    repository.git("config", "receive.autogc", "false", at=repository.bare)  # it removes directories under a push
    repository.git("config", "gc.auto", "0")
    repository.push(app("shop"))
    host.follow()
    store = host.state.git / "fleet.git"
    for number in range(250):
        for _ in range(19):
            repository.commit({"apps/shop/data": os.urandom(100_000)})
        newest = repository.push({"apps/shop/data": os.urandom(100_000)})
        host.follow()
        assert host.in_force == newest, number
        fresh = int((store / "fresh-size").read_text())
        size = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
        assert size <= 2 * fresh + 1024 * 1024, number
