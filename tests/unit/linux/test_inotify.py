"""Watches on the real kernel: what reaches the loop, and what the descriptor below says of moves, ends and limits."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from reconciler.linux import inotify as inotify_module
from reconciler.linux import inotify_descriptor
from reconciler.linux.inotify import EVERYTHING, Change, Watch, Watched, WatchFailure, WatchProblem, nothing
from reconciler.linux.inotify_descriptor import (
    ATTRIB,
    CREATE,
    DELETE_SELF,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    Event,
    Inotify,
)
from tests.support.eventually import soon


class Noted:
    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.watch = Watch(asyncio.get_running_loop().call_soon_threadsafe)

    def __call__(self, change: Change) -> None:
        self.changes.append(change)

    async def hears(self, name: str) -> None:
        await soon(lambda: any(change.name == name for change in self.changes))
        self.changes.clear()


def test_a_tree_is_watched_as_it_grows_and_moves(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        (tmp_path / "a" / "b").mkdir(parents=True)
        watched = noted.watch.tree(str(tmp_path), noted, nothing)
        (tmp_path / "a" / "b" / "one").write_text("x")
        await noted.hears("one")
        (tmp_path / "c" / "d" / "e").mkdir(parents=True)
        await noted.hears("c")
        await soon(lambda: len(watched._directories) == 6)
        (tmp_path / "c" / "d" / "e" / "two").write_text("x")
        await noted.hears("two")
        (tmp_path / "c").rename(tmp_path / "a" / "f")
        await noted.hears("f")
        (tmp_path / "a" / "f" / "d" / "e" / "three").write_text("x")
        await noted.hears("three")
        paths = {os.fsdecode(path) for path in watched._directories.values()}
        assert paths == {str(tmp_path / folder) for folder in ("", "a", "a/b", "a/f", "a/f/d", "a/f/d/e")}
        watched.close()
        assert watched.problem is None

    asyncio.run(main())


def test_ignored_names_and_links_are_not_watched(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        (tmp_path / ".git").mkdir()
        (tmp_path / "out").symlink_to("/")
        watched = noted.watch.tree(str(tmp_path), noted, lambda name: name == ".git")
        assert len(watched._directories) == 1
        (tmp_path / ".git" / "index").write_text("x")
        (tmp_path / "after").write_text("x")
        await noted.hears("after")
        watched.close()

    asyncio.run(main())


def test_a_directory_that_is_left_out_is_not_watched_in_a_tree(tmp_path: Path) -> None:
    async def main() -> None:
        noted, state = Noted(), tmp_path / "a" / "state"
        state.mkdir(parents=True)
        noted.watch = Watch(asyncio.get_running_loop().call_soon_threadsafe, left_out=str(state))
        watched = noted.watch.tree(str(tmp_path), noted, nothing)
        (state / "log").write_text("x")
        state.rename(tmp_path / "moved")
        (tmp_path / "made").mkdir()
        await noted.hears("made")
        state.mkdir()
        (tmp_path / "a" / "after").write_text("x")
        await noted.hears("after")
        assert os.fsencode(state) not in watched._directories.values()
        watched.close()

    asyncio.run(main())


def test_a_closed_watch_is_silent_and_others_on_the_same_folder_are_not(tmp_path: Path) -> None:
    async def main() -> None:
        one, other = Noted(), Noted()
        first, second = one.watch.folder(str(tmp_path), one), other.watch.tree(str(tmp_path), other, nothing)
        first.close()
        (tmp_path / "a").write_text("x")
        await other.hears("a")
        assert one.changes == []
        second.close()

    asyncio.run(main())


def inotify_descriptors() -> set[str]:
    """This process's inotify descriptors: what other tests left to the collector may close at any moment."""
    found = {path.name: path for path in Path("/proc/self/fd").iterdir()}
    return {name for name, path in found.items() if path.is_symlink() and "inotify" in str(path.readlink())}


def test_thousands_of_trees_cost_one_thread(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        folders = [tmp_path / str(number) for number in range(1000)]
        for folder in folders:
            folder.mkdir()
        noted.watch.folder(str(tmp_path), noted).close()
        threads, watching = threading.active_count(), inotify_descriptors()
        watches = [noted.watch.tree(str(folder), noted, nothing) for folder in folders]
        assert threading.active_count() <= threads  # those of a test before may end meanwhile
        assert inotify_descriptors() <= watching
        (folders[500] / "x").write_text("x")
        await noted.hears("x")
        for watched in watches:
            watched.close()

    asyncio.run(main())


def test_many_changes_of_one_file_are_delivered_once(tmp_path: Path) -> None:
    delivered: list[Callable[[], None]] = []
    changes: list[Change] = []
    watched = Watch(delivered.append).folder(str(tmp_path), changes.append)
    for _ in range(100):
        (tmp_path / "a").write_text("x")

    async def main() -> None:
        (tmp_path / "b").mkdir()
        await soon(lambda: "b" in watched._pending)

    asyncio.run(main())
    assert len(delivered) == 1
    delivered[0]()
    assert sorted(changes, key=lambda change: change.name) == [
        Change(name="a", complete=True),
        Change(name="b", complete=False),
    ]
    watched.close()


def test_lost_events_say_that_everything_may_have_changed(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        watched = noted.watch.tree(str(tmp_path), noted, nothing)
        watched.on_queue_overflow()
        await soon(lambda: noted.changes == [EVERYTHING])
        watched.close()

    asyncio.run(main())


def test_what_cannot_be_watched_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        path = tmp_path / "gone"
        assert noted.watch.folder(str(path), noted).problem == WatchProblem(
            failure=WatchFailure.ERROR, text=f"cannot watch {path}: No such file or directory"
        )
        path.mkdir()
        watched = noted.watch.tree(str(path), noted, nothing)
        path.rmdir()
        await soon(lambda: EVERYTHING in noted.changes)
        assert watched.problem == WatchProblem(failure=WatchFailure.REMOVED, text=f"cannot watch {path}: it is gone")

    asyncio.run(main())


def test_a_loop_that_is_closed_does_not_end_the_reader(tmp_path: Path) -> None:
    async def start() -> Watched:
        return Noted().watch.folder(str(tmp_path), lambda _: None)

    async def later() -> None:
        noted = Noted()
        watched = noted.watch.folder(str(tmp_path), noted)
        (tmp_path / "b").write_text("x")
        await noted.hears("b")
        watched.close()

    left = asyncio.run(start())
    (tmp_path / "a").write_text("x")
    asyncio.run(later())
    left.close()


# The descriptor below


class Recorded:
    """A listener that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.deleted: list[int] = []
        self.overflows = 0

    def on_event(self, event: Event) -> None:
        self.events.append(event)

    def on_watch_deleted(self, wd: int) -> None:
        self.deleted.append(wd)

    def on_queue_overflow(self) -> None:
        self.overflows += 1


@contextmanager
def a_descriptor() -> Iterator[Inotify]:
    with closing(Inotify()) as inotify:
        yield inotify


def test_names_of_any_length_and_bytes_are_told_apart(tmp_path: Path) -> None:
    names = [b"a", b"b" * 255, b"caf\xe9", b"exactly16bytes.."]
    listener = Recorded()
    with a_descriptor() as inotify:
        wd = inotify.add(os.fsencode(tmp_path), CREATE, listener)
        for name in names:
            os.close(os.open(os.fsencode(tmp_path) + b"/" + name, os.O_CREAT))
        inotify.dispatch()
    assert listener.events == [Event(wd, CREATE, name) for name in names]


def test_listeners_of_one_directory_share_a_watch_until_the_last_of_them_leaves(tmp_path: Path) -> None:
    one, other = Recorded(), Recorded()
    with a_descriptor() as inotify:
        wd = inotify.add(os.fsencode(tmp_path), CREATE, one)
        assert inotify.add(os.fsencode(tmp_path), CREATE, other) == wd
        (tmp_path / "a").touch()
        inotify.dispatch()
        inotify.remove([wd], one)
        (tmp_path / "b").touch()
        inotify.dispatch()
        inotify.remove([wd], other)
        inotify.dispatch()  # the kernel says that the watch is removed
        assert inotify.add(os.fsencode(tmp_path), CREATE, one) != wd
    assert [event.name for event in one.events] == [b"a"]
    assert [event.name for event in other.events] == [b"a", b"b"]
    assert (one.deleted, other.deleted) == ([], [])


def test_a_deleted_directory_ends_its_watch_once(tmp_path: Path) -> None:
    listener = Recorded()
    below = tmp_path / "below"
    below.mkdir()
    with a_descriptor() as inotify:
        wd = inotify.add(os.fsencode(below), DELETE_SELF, listener)
        below.rmdir()
        inotify.dispatch()
        inotify.remove([wd], listener)  # too late, and no error
    assert (listener.events, listener.deleted) == ([Event(wd, DELETE_SELF, b"")], [wd])


def test_a_renamed_directory_keeps_its_watch(tmp_path: Path) -> None:
    listener = Recorded()
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    with a_descriptor() as inotify:
        outer = inotify.add(os.fsencode(tmp_path), MOVED_FROM | MOVED_TO, listener)
        wd = inotify.add(os.fsencode(before), MOVE_SELF | CREATE, listener)
        before.rename(after)
        (after / "file").touch()
        inotify.dispatch()
        assert inotify.add(os.fsencode(after), MOVE_SELF | CREATE, listener) == wd
    moves = [(event.wd, event.name) for event in listener.events]
    assert moves == [(outer, b"before"), (outer, b"after"), (wd, b""), (wd, b"file")]


def test_every_listener_learns_once_that_the_queue_overflowed(tmp_path: Path) -> None:
    longest = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    listener = Recorded()
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    (tmp_path / "other").mkdir()
    with a_descriptor() as inotify:
        inotify.add(os.fsencode(tmp_path), ATTRIB, listener)
        inotify.add(os.fsencode(tmp_path / "other"), ATTRIB, listener)
        for _ in range(longest // 2 + 2):  # of two files in turn: the kernel merges an event with an equal one before
            os.utime(tmp_path / "a")
            os.utime(tmp_path / "b")
        while not listener.overflows:
            inotify.dispatch()
    assert (len(listener.events), listener.overflows) == (longest, 1)


# In a user namespace of its own, in which the kernel allows two watches.
_LIMITED = """
import ctypes, sys
from pathlib import Path

if ctypes.CDLL(None).unshare(0x10000000) != 0:
    sys.exit(77)
try:
    Path("/proc/sys/user/max_inotify_watches").write_text("2")
except OSError:
    sys.exit(77)

from reconciler.linux.inotify import Watch, nothing

root = Path(sys.argv[1])
watch = Watch(lambda call: None)
fits = watch.tree(str(root / "small"), print, nothing)
assert fits.problem is None, fits.problem
full = watch.tree(str(root / "large"), print, nothing)
print(full.problem.failure, full.problem.text)
fits.close()
again = watch.folder(str(root / "small"), print)
assert again.problem is None, again.problem
"""


def test_a_limit_of_watches_is_a_problem_that_ends_with_other_watches(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    (tmp_path / "large/below").mkdir(parents=True)
    run = subprocess.run([sys.executable, "-c", _LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    if run.returncode == 77:
        pytest.skip("no user namespace may be made here")
    assert (run.returncode, run.stderr) == (0, "")
    below = tmp_path / "large/below"
    reason = "the host's limit of watches is reached; raise fs.inotify.max_user_watches"
    assert run.stdout == f"watch-limit cannot watch {below}: {reason}\n"
    assert WatchFailure.WATCH_LIMIT.is_limit


# In a process that may open no further descriptor, for which the kernel gives the same error as for its own limit.
_EXHAUSTED = """
import resource, sys
from reconciler.linux.inotify import Watch

most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, most[1]))
refused = Watch(lambda call: None).folder(sys.argv[1], print)
resource.setrlimit(resource.RLIMIT_NOFILE, most)
print(refused.problem.failure, Watch(lambda call: None).folder(sys.argv[1], print).problem)
"""


def test_a_limit_of_descriptors_is_a_problem_until_there_is_room_again(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", _EXHAUSTED, str(tmp_path)], capture_output=True, text=True, check=True)
    assert run.stdout == "instance-limit None\n"
    assert WatchFailure.INSTANCE_LIMIT.is_limit
    assert not WatchFailure.REMOVED.is_limit


def test_no_program_that_is_started_inherits_the_descriptor(tmp_path: Path) -> None:
    with a_descriptor() as inotify:
        inotify.add(os.fsencode(tmp_path), CREATE, Recorded())
        assert not os.get_inheritable(inotify._fd)
    assert not os.get_inheritable(inotify_descriptor.shared_inotify()._fd)


def test_a_tree_whose_directories_are_moved_again_and_again_is_not_watched_for_a_while(tmp_path: Path) -> None:
    async def main() -> None:
        stormy, calm = Noted(), Noted()
        top = tmp_path / "stormy"
        for number in range(300):
            (top / "a" / str(number)).mkdir(parents=True)
        (tmp_path / "calm").mkdir()
        watched = stormy.watch.tree(str(top), stormy, nothing)
        other = calm.watch.tree(str(tmp_path / "calm"), calm, nothing)
        assert len(watched._directories) == 302

        def is_given_up() -> bool:
            (top / "a").rename(top / "b")
            (top / "b").rename(top / "a")
            return watched.problem is not None

        await soon(is_given_up, within=60)
        assert watched.problem is not None
        assert watched.problem.failure is WatchFailure.STORM
        assert watched.rests
        await soon(lambda: EVERYTHING in stormy.changes)
        assert watched._directories == {}
        (top / "a").rename(top / "c")
        (tmp_path / "calm" / "edited").write_text("x")
        await calm.hears("edited")
        assert watched._directories == {}
        assert other.problem is None
        watched.close()
        other.close()

    asyncio.run(main())


def test_a_tree_of_more_directories_than_any_app_has_is_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inotify_module, "_MOST_DIRECTORIES", 50)
    monkeypatch.setattr(inotify_module, "_COUNTED_FROM", 10)

    async def main() -> None:
        huge, grown = Noted(), Noted()
        for number in range(50):
            (tmp_path / "huge" / str(number)).mkdir(parents=True)
        (tmp_path / "grown").mkdir()
        watched = huge.watch.tree(str(tmp_path / "huge"), huge, nothing)
        other = grown.watch.tree(str(tmp_path / "grown"), grown, nothing)
        assert watched.problem == WatchProblem(
            failure=WatchFailure.TOO_LARGE, text=f"cannot watch {tmp_path}/huge: it has more than 50 directories"
        )
        assert watched.rests
        assert watched._directories == {}
        assert other.problem is None
        for number in range(50):
            (tmp_path / "grown" / str(number)).mkdir()
        await soon(lambda: other.problem is not None)
        assert len(other._directories) == 50  # to end thousands at once would cost other trees
        await soon(lambda: EVERYTHING in grown.changes)
        for each in (watched, other):
            each.close()

    asyncio.run(main())


def test_directories_that_go_now_and_then_are_no_storm(tmp_path: Path) -> None:
    async def main() -> None:
        noted = Noted()
        for number in range(300):
            (tmp_path / "a" / str(number)).mkdir(parents=True)
        watched = noted.watch.tree(str(tmp_path), noted, nothing)
        for name in ("b", "c", "d"):
            next(tmp_path.iterdir()).rename(tmp_path / name)
            await noted.hears(name)
        await soon(lambda: len(watched._directories) == 302)
        assert watched.problem is None
        watched.close()

    asyncio.run(main())
