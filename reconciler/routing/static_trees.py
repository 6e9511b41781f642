"""Lay out static files for the proxy: copies of what builds hold, in trees that are complete or absent.

What an app writes into its build later, or removes, changes nothing here. Nothing is made durable, which takes seconds
on a busy disk: after a boot, all of it is laid out again. A directory is ours by the mark that it has been made with:
nothing else is written into or removed.
"""

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakValueDictionary

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import draft, leftovers, remove, replace_file, require_no_link
from reconciler.linux.regular_files import read_own
from reconciler.planning.routing.static_files import NAMES
from reconciler.planning.wording import listed
from reconciler.routing.static_copy import ENTERED, Copy

_NEWEST = NAMES[0]
_BOOT = ".boot"  # the mark, with the boot in which it was made
_LONGEST_BOOT = 64
_LACKS = ".lacks-"  # and the name of a tree: what is wrong with its directories
_LONGEST_LACKS = 1 << 20
_KEPT = ".kept-"  # and the name of a tree: until when it stays, in seconds of this boot
_LONGEST_TIME = 64
_PATIENCE_S = 10.0  # that a start waits for a copy, and the end of a canary for one under way
_AT_ONCE = 4  # copies of different apps


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree: its name, the code of the build, and which of its directories are at which paths."""

    name: str
    code: Path
    directories: tuple[tuple[str, str], ...]


class StaticTrees:
    """The trees of all apps below `root`, which a proxy of another user has to be able to read.

    `laid` are the trees that clients are served from, of the newest first, by app, as they are on the disk; `kept` says
    until when some of them stay, in monotonic seconds. `boot` identifies this boot: what an earlier one has left may be
    cut off, and is not served.
    """

    def __init__(self, root: Path, boot: str) -> None:
        self._root = root
        self._boot = boot
        # One for each app that something is copied of: they are gone when their threads are.
        self._threads: WeakValueDictionary[str, DaemonThreads] = WeakValueDictionary()
        self._places, self._noting = threading.Semaphore(_AT_ONCE), threading.Lock()
        self._starting: dict[str, Tree] = {}
        self._laying: dict[str, tuple[tuple[Tree, ...], asyncio.Future[None]]] = {}
        self.laid: Mapping[str, tuple[str, ...]] = dict(_laid_below(root, boot))
        kept = {app: _kept_of(root / app, names) for app, names in self.laid.items()}
        self.kept: Mapping[str, Mapping[str, float]] = {app: times for app, times in kept.items() if times}
        with suppress(OSError):
            if left := list(leftovers(root)):
                self._thread_of("").run(lambda: _remove_all(left))

    def of(self, app: str) -> Path:
        """Return the directory of an app's trees."""
        return self._root / app

    def starting(self, app: str) -> tuple[Tree, ...]:
        """Return the tree of the instance of an app that is about to be started, if there is one."""
        return (self._starting[app],) if app in self._starting else ()

    @asynccontextmanager
    async def ahead_of(self, app: str, tree: Tree) -> AsyncIterator[None]:
        """Have a tree laid out before its first instance can answer, behind the one that serves meanwhile.

        Neither a full disk nor a copy that takes long keeps an instance from starting: a copy goes on behind it, and is
        tried again as part of the plan.
        """
        self._starting[app] = tree
        try:
            if tree.name not in self.laid.get(app, ()):
                await asyncio.wait({self._run(app, lambda: self._add(app, tree))}, timeout=_PATIENCE_S)
            yield
        finally:
            self._starting.pop(app, None)

    async def lay(self, app: str, trees: Sequence[Tree]) -> None:
        """Have exactly these trees of an app laid out, the newest first. Raises OSError; what is laid out stays.

        It goes on when the caller is cancelled, and one that asks for the same meanwhile waits for it.
        """
        known, future = self._laying.get(app, ((), None))
        if future is None or future.done() or known != tuple(trees):
            future = self._run(app, lambda: self._lay(app, trees))
            self._laying[app] = tuple(trees), future
            future.add_done_callback(lambda done: self._laid(app, done))
        await asyncio.shield(future)

    async def keep(self, app: str, until: float) -> None:
        """Have each tree that clients are served from now stay until then, also when another takes its place."""
        await asyncio.wait({self._run(app, lambda: self._keep(app, until))}, timeout=_PATIENCE_S)

    def _keep(self, app: str, until: float) -> None:
        for name in self.laid.get(app, ()):
            replace_file(self.of(app) / f"{_KEPT}{name}", repr(until), durable=False)

    def _laid(self, app: str, done: "asyncio.Future[None]") -> None:
        if app in self._laying and self._laying[app][1] is done:
            del self._laying[app]

    def _thread_of(self, app: str) -> DaemonThreads:
        """Return the one thread in which all is done to an app's trees, in order: another app's wait for none of it."""
        found = self._threads.get(app)
        if found is None:
            found = self._threads[app] = DaemonThreads("static", 1, kept_s=1.0)
        return found

    def _run(self, app: str, work: Callable[[], None]) -> "asyncio.Future[None]":
        """Return the future of work on an app's trees, which goes on whether it is waited for or not."""

        def done() -> None:
            try:
                with self._places:
                    work()
            finally:
                self._note(app)

        future = asyncio.wrap_future(self._thread_of(app).run(done))
        future.add_done_callback(lambda each: each.cancelled() or each.exception())
        return future

    def _note(self, app: str) -> None:
        """Remember what is laid out of an app now; called by the one thread that changes it."""
        place = self.of(app)
        found = _names(place) if _is_ours(place) else None
        times = _kept_of(place, found or ())
        with self._noting:
            others = {each: laid for each, laid in self.laid.items() if each != app}
            self.laid = others if found is None else {**others, app: found}
            if times or app in self.kept:
                kept = {each: known for each, known in self.kept.items() if each != app}
                self.kept = {**kept, app: times} if times else kept

    def lacks(self, app: str, directories: Sequence[tuple[str, str]]) -> str:
        """Return which of these directories of the newest build of an app are not served, in words; "" for none."""
        place = self.of(app) / _NEWEST
        sources = {source for _, source in directories}
        wrong = {source: words for source, words in _lacks_of(self.of(app), _link(place)).items() if source in sources}
        absent = {source for path, source in directories if not (place / path.lstrip("/")).is_dir()}
        missing = sorted(source for source in absent | wrong.keys() if not wrong.get(source))
        told = [f"its build has no directory {listed(missing)}"] if missing else []
        told += [f"{source if source.isprintable() else ascii(source)} {words}"
                 for source, words in sorted(wrong.items()) if words]  # fmt: skip
        return f"the static files of {app} are not served: {'; '.join(told)}" if told else ""

    def _add(self, app: str, tree: Tree) -> None:
        names = self.laid.get(app, ())
        if tree.name not in names:
            there = [Tree(name=name, code=tree.code, directories=()) for name in names]
            self._lay(app, (*there[:1], tree, *there[1:])[: len(NAMES)])

    def _lay(self, app: str, trees: Sequence[Tree]) -> None:
        place = self.of(app)
        if not trees:
            if _is_ours(place):
                remove(place)
            return
        self._make_place(place)
        before = _target(place, _NEWEST)
        for tree in reversed(trees):
            if not (place / tree.name).is_dir():
                _make(place, tree, before)
            before = _target(place, _NEWEST) or place / tree.name
        for name, tree in reversed(list(zip(NAMES, trees, strict=False))):
            _turn(place, name, tree.name)
        for name in NAMES[len(trees) :]:
            (place / name).unlink(missing_ok=True)
        kept = {_BOOT, *NAMES}
        kept.update(f"{mark}{tree.name}" for tree in trees for mark in ("", _LACKS, _KEPT))
        for entry in list(place.iterdir()):
            if entry.name not in kept:
                entry.unlink() if entry.is_symlink() or not entry.is_dir() else remove(entry)

    def _make_place(self, place: Path) -> None:
        """Make the directory of an app, with its mark or not at all. Raises FileExistsError for one of others."""
        _make_entered(self._root)
        require_no_link(self._root)
        if _is_ours(place):
            if _boot_of(place) == self._boot:
                return
            remove(place)
        elif os.path.lexists(place):
            raise FileExistsError(f"{place} is in the way: it was not made by this daemon, and is left as it is")
        drafted = draft(self._root, place.name)
        drafted.mkdir(mode=ENTERED)
        try:
            drafted.chmod(ENTERED)
            replace_file(drafted / _BOOT, self._boot, durable=False)
            drafted.rename(place)
        except BaseException:
            with suppress(OSError):
                remove(drafted)
            raise


def _remove_all(paths: Sequence[Path]) -> None:
    for path in paths:
        with suppress(OSError):
            path.unlink() if path.is_symlink() or not path.is_dir() else remove(path)


def _make_entered(directory: Path) -> None:
    """Make a directory that every user can read, whatever the umask leaves of it; one that exists stays as it is."""
    if not directory.exists():
        _make_entered(directory.parent)
        directory.mkdir(mode=ENTERED)
        directory.chmod(ENTERED)


def _laid_below(root: Path, boot: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each app of which something is laid out, with its trees as far as they are complete."""
    with suppress(OSError):
        for place in sorted(root.iterdir()):
            if place.name.startswith(".") or not _is_ours(place):
                continue
            if _boot_of(place) != boot:
                for name in NAMES:
                    (place / name).unlink(missing_ok=True)
                yield place.name, ()
            else:
                yield place.name, _names(place)


def _is_ours(place: Path) -> bool:
    """Return whether a directory, and no link to one, has the mark."""
    mark = place / _BOOT
    return place.is_dir() and not place.is_symlink() and mark.is_file() and not mark.is_symlink()


def _names(place: Path) -> tuple[str, ...]:
    """Return the trees of an app that clients are served from."""
    return tuple(each.name for name in NAMES if (each := _target(place, name)) is not None)


def _boot_of(place: Path) -> str:
    """Return the boot in which an app's trees were laid out, "" for none."""
    with suppress(OSError):
        return read_own(place / _BOOT, _LONGEST_BOOT).decode("utf-8", "replace")
    return ""


def _lacks_of(place: Path, tree: str) -> Mapping[str, str]:
    """Return what is wrong with directories of a tree, "" for one that is absent."""
    with suppress(OSError, ValueError):
        found = json.loads(read_own(place / f"{_LACKS}{tree}", _LONGEST_LACKS))
        return found if isinstance(found, dict) else {}
    return {}


def _kept_of(place: Path, trees: Sequence[str]) -> Mapping[str, float]:
    """Return until when trees of an app stay, of those that have such a mark."""
    found = dict[str, float]()
    for tree in trees:
        with suppress(OSError, ValueError):
            found[tree] = float(read_own(place / f"{_KEPT}{tree}", _LONGEST_TIME))
    return found


def _link(path: Path) -> str:
    """Return where a link leads, as it is written; "" for none."""
    with suppress(OSError):
        return os.readlink(path)  # noqa: PTH115
    return ""


def _target(place: Path, name: str) -> Path | None:
    """Return the tree that one of the names leads to, None if it leads to none."""
    tree = _link(place / name)
    return place / tree if tree and (place / tree).is_dir() else None


def _turn(place: Path, name: str, tree: str) -> None:
    """Let a name lead to a tree, at once."""
    if _link(place / name) == tree:
        return
    drafted = draft(place, name)
    drafted.symlink_to(tree)
    drafted.replace(place / name)


def _make(place: Path, tree: Tree, before: Path | None) -> None:
    """Copy the directories of a tree, those that can be; `before` is the tree that was made before it."""
    drafted = draft(place, tree.name)
    try:
        wrong = Copy(drafted, before).directories(tree.code, tree.directories)
        if wrong:
            replace_file(place / f"{_LACKS}{tree.name}", json.dumps(wrong), durable=False)
        drafted.rename(place / tree.name)
    except BaseException:
        with suppress(OSError):
            remove(drafted)
        raise
