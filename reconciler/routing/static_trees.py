"""Lay out static files for the proxy: copies of what builds hold, in trees that are complete or absent.

A copy has regular files of one directory of a build and nothing else: no file whose name begins with a dot, and none
that a link leads out to. What an app writes into its build later, or removes, changes nothing here. Nothing is made
durable, which takes seconds on a busy disk: after a boot, all of it is laid out again.
"""

import asyncio
import filecmp
import os
import stat
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from reconciler.linux.beneath import directory, open_beneath
from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.files import draft, remove
from reconciler.linux.regular_files import read_own
from reconciler.planning.routing.static_files import NAMES
from reconciler.planning.wording import listed

_NEWEST, _BEFORE = NAMES
_READABLE, _ENTERED = 0o644, 0o755
_RANGE = 1 << 30
_DEEPEST = 64
_BOOT = ".boot"
_LONGEST_BOOT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """One tree: its name, the code of the build, and which of its directories are at which paths."""

    name: str
    code: Path
    directories: tuple[tuple[str, str], ...]


class StaticTrees:
    """The trees of all apps below `root`, which a proxy of another user has to be able to read.

    `laid` are the trees that clients are served from, of the newest first, by app. `boot` identifies this boot: what an
    earlier one has left may be cut off, and is not served.
    """

    def __init__(self, root: Path, boot: str) -> None:
        self._root = root
        self._boot = boot
        self._threads = DaemonThreads("static", 1)  # one after the other
        self._starting: dict[str, Tree] = {}
        self.laid: Mapping[str, tuple[str, ...]] = dict(_laid_below(root, boot))

    def of(self, app: str) -> Path:
        """Return the directory of an app's trees."""
        return self._root / app

    def starting(self, app: str) -> tuple[Tree, ...]:
        """Return the tree of the instance of an app that is about to be started, if there is one."""
        return (self._starting[app],) if app in self._starting else ()

    @asynccontextmanager
    async def ahead_of(self, app: str, tree: Tree) -> AsyncIterator[None]:
        """Have a tree laid out before its first instance can answer; what serves meanwhile keeps its own.

        A full disk keeps no instance from starting: it is tried again as part of the plan.
        """
        self._starting[app] = tree
        try:
            with suppress(OSError):
                before = next((each for each in self.laid.get(app, ()) if each != tree.name), None)
                kept = () if before is None else (Tree(name=before, code=tree.code, directories=()),)
                await self.lay(app, (tree, *kept))
            yield
        finally:
            self._starting.pop(app, None)

    async def lay(self, app: str, trees: Sequence[Tree]) -> None:
        """Have exactly these trees of an app laid out, the newest first. Raises OSError; what is laid out stays."""
        await asyncio.wrap_future(self._threads.run(lambda: self._lay(app, trees)))
        others = {each: laid for each, laid in self.laid.items() if each != app}
        self.laid = {**others, app: tuple(tree.name for tree in trees)} if trees else others

    def lacks(self, app: str, directories: Sequence[tuple[str, str]]) -> str:
        """Return which of these directories the newest build of an app does not have, in words; "" for none."""
        place = self.of(app) / _NEWEST
        missing = sorted({source for path, source in directories if not (place / path.lstrip("/")).is_dir()})
        return (
            f"the static files of {app} are not served: its build has no directory {listed(missing)}" if missing else ""
        )

    def _lay(self, app: str, trees: Sequence[Tree]) -> None:
        place = self.of(app)
        if not trees:
            remove(place)
            return
        if not self._root.exists():
            self._root.mkdir(mode=_ENTERED, parents=True)
            self._root.chmod(_ENTERED)  # whatever the umask left of it
        if _boot_of(place) != self._boot:
            remove(place)
        place.mkdir(mode=_ENTERED, exist_ok=True)
        place.chmod(_ENTERED)
        (place / _BOOT).write_text(self._boot)
        for tree in reversed(trees):
            if not (place / tree.name).is_dir():
                _make(place, tree, _target(place, _NEWEST))
        if len(trees) > 1:
            _turn(place, _BEFORE, trees[1].name)
        _turn(place, _NEWEST, trees[0].name)
        if len(trees) == 1:
            (place / _BEFORE).unlink(missing_ok=True)
        kept = {_BOOT, *NAMES, *(tree.name for tree in trees)}
        for entry in list(place.iterdir()):
            if entry.name not in kept:
                entry.unlink() if entry.is_symlink() or not entry.is_dir() else remove(entry)


def _laid_below(root: Path, boot: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each app of which something is laid out, with its trees as far as they are complete."""
    with suppress(OSError):
        for place in sorted(root.iterdir()):
            if not place.is_dir() or place.name.startswith("."):
                continue
            if _boot_of(place) != boot:
                for name in NAMES:
                    (place / name).unlink(missing_ok=True)
                yield place.name, ()
            else:
                yield place.name, tuple(each.name for name in NAMES if (each := _target(place, name)) is not None)


def _boot_of(place: Path) -> str:
    """Return the boot in which an app's trees were laid out, "" for none."""
    with suppress(OSError):
        return read_own(place / _BOOT, _LONGEST_BOOT).decode("utf-8", "replace")
    return ""


def _target(place: Path, name: str) -> Path | None:
    """Return the tree that one of the names leads to, None if it leads to none."""
    try:
        found = place / os.readlink(place / name)  # noqa: PTH115  as it is written
    except OSError:
        return None
    return found if found.is_dir() else None


def _turn(place: Path, name: str, tree: str) -> None:
    """Let a name lead to a tree, at once."""
    with suppress(OSError):
        if os.readlink(place / name) == tree:  # noqa: PTH115
            return
    drafted = draft(place, name)
    drafted.symlink_to(tree)
    drafted.replace(place / name)


def _make(place: Path, tree: Tree, before: Path | None) -> None:
    """Copy the directories of a tree, all of them or none; `before` is the tree that was made before it."""
    drafted = draft(place, tree.name)
    copy = _Copy(drafted, before)
    try:
        copy.directory("")
        with directory(tree.code) as code:
            for path, source in tree.directories:
                with suppress(FileNotFoundError, NotADirectoryError):
                    copy.tree(code, source, path.strip("/"))
        drafted.rename(place / tree.name)
    except BaseException:
        with suppress(OSError):
            remove(drafted)
        raise


class _Copy:
    """A copy under way below `top`, of a build that came after the one of the tree `before`."""

    def __init__(self, top: Path, before: Path | None) -> None:
        self._top = top
        self._before = before

    def directory(self, path: str) -> None:
        place = self._top / path
        with suppress(FileExistsError):
            place.mkdir(parents=True)
        place.chmod(_ENTERED)

    def tree(self, code: int, source: str, path: str) -> None:
        """Copy a directory of the code to a path. Raises OSError, for one that leads out of the code too."""
        root = open_beneath(code, source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for parent in reversed(PurePosixPath(path).parents):
                self.directory("" if str(parent) == "." else str(parent))
            self._below(root, "", path, 0)
        finally:
            os.close(root)

    def _below(self, root: int, below: str, path: str, depth: int) -> None:
        self.directory(path)
        here = open_beneath(root, below or ".", os.O_RDONLY | os.O_DIRECTORY, links=False)
        try:
            with os.scandir(here) as found:
                entries = sorted(found, key=lambda each: each.name)
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                inner, target = f"{below}/{entry.name}".lstrip("/"), f"{path}/{entry.name}".lstrip("/")
                if entry.is_dir(follow_symlinks=False):
                    if depth < _DEEPEST:
                        self._below(root, inner, target, depth + 1)
                elif entry.is_file(follow_symlinks=False) or entry.is_symlink():
                    self._file(root, inner, target)
        finally:
            os.close(here)

    def _file(self, root: int, inner: str, target: str) -> None:
        """Copy a regular file, also one that a link within the directory leads to; none that is hidden."""
        try:
            reading = open_beneath(root, inner)
        except OSError:  # a link that leads out, or to nothing, is no file of the app's
            return
        try:
            facts = os.fstat(reading)
            if not stat.S_ISREG(facts.st_mode) or _is_hidden(root, reading):
                return
            writing = os.open(self._top / target, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchmod(writing, _READABLE)
                _copy_content(reading, writing)
                os.utime(writing, ns=(facts.st_mtime_ns, self._changed_ns(target, facts)))
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    def _changed_ns(self, target: str, facts: os.stat_result) -> int:
        """Return when a file was changed, from which proxies make what a client asks for a newer one by.

        It is that of the tree before for the same content, and never that for another.
        """
        if self._before is None:
            return facts.st_mtime_ns
        former = self._before / target
        try:
            known = former.lstat()
        except OSError:
            return facts.st_mtime_ns
        if not stat.S_ISREG(known.st_mode):
            return facts.st_mtime_ns
        with suppress(OSError):
            if known.st_size == facts.st_size and filecmp.cmp(former, self._top / target, shallow=False):
                return known.st_mtime_ns
        if known.st_mtime_ns // 1_000_000_000 == facts.st_mtime_ns // 1_000_000_000:
            return facts.st_mtime_ns + 1_000_000_000  # proxies see whole seconds
        return facts.st_mtime_ns


def _is_hidden(root: int, reading: int) -> bool:
    """Return whether a name of an opened file's path below the root begins with a dot."""
    top, found = (os.readlink(f"/proc/self/fd/{each}") for each in (root, reading))  # noqa: PTH115
    return "/." in found[len(top) :]


def _copy_content(reading: int, writing: int) -> None:
    with suppress(OSError):  # shares the blocks where the file system can
        while os.copy_file_range(reading, writing, _RANGE):
            pass
    while chunk := os.read(reading, 1 << 20):
        while chunk:
            chunk = chunk[os.write(writing, chunk) :]
