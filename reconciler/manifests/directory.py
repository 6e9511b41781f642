"""Watch a directory of manifests, and say when to look at it.

A file that arrives complete is read now. One that is still being written, or was just removed (editors replace a file
by moving it away first), counts as it last was until it has been quiet for a while. Other files do not wait for it.
"""

import asyncio
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.linux.inotify import Change, Watch, Watched, WatchProblem
from reconciler.manifests.directory_files import ReadCache, is_manifest, read_directory
from reconciler.manifests.origin import Look

# As many as the kernel follows.
_MOST_LINKS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class _Waiting:
    """Since when, and until when at least, a name is not settled, on the loop's clock."""

    first: float
    last: float


class Directory:
    """A manifests directory, wherever its path leads at the moment: it may be missing, replaced, or behind links.

    `look_now` is set on the loop when a `look` is due. Changes lost to a watch that does not work are the caller's to
    find by looking now and then: `problem` says so.
    """

    def __init__(
        self, path: str, watch: Watch, look_now: asyncio.Event, quiet_s: float = 0.5, longest_s: float = 5.0
    ) -> None:
        self.name = os.path.abspath(path)  # noqa: PTH100  resolve() follows the links that are to be watched
        self._watch = watch
        self._look_now = look_now
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._memo = ReadCache()
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._watched: dict[str, Watched] = {}
        self._watched_as: dict[str, tuple[tuple[int, int], frozenset[str]]] = {}
        self._closed = False

    @property
    def problem(self) -> WatchProblem | None:
        """Why changes may go unseen until the next look, None when they will not."""
        return next((watched.problem for watched in self._watched.values() if watched.problem), None)

    async def look(self) -> Look:
        """Return what the directory holds now. One look at a time."""
        # First the watch, then the look: what happens between the two is seen twice rather than never.
        self.rewatch()
        found = await asyncio.to_thread(read_directory, self.name, self._memo, frozenset(self._waiting))
        self.rewatch()
        return found

    def rewatch(self) -> None:
        """Watch what the path leads through now; another directory than the one watched before is due for a look."""
        if self._closed:
            return
        folders = _folders(self.name)
        stale = [
            folder
            for folder, watched in self._watched.items()
            if watched.problem or folders.get(folder) != self._watched_as[folder]
        ]
        for folder in stale:
            self._watched.pop(folder).close()
        was_watching = bool(self._watched_as)
        for folder in folders.keys() - self._watched.keys():
            names = folders[folder][1]
            self._watched[folder] = self._watch.folder(folder, self._on_change(folder), _all_but(names))
            if was_watching and not self._watched[folder].problem:
                self._look_now.set()
        self._watched_as = folders

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for watched in self._watched.values():
            watched.close()

    def _on_change(self, folder: str) -> Callable[[Change], None]:
        return self._inside if folder == self.name else self._above

    def _above(self, _: Change) -> None:
        """Make a look due: a step of the path itself was replaced."""
        self._look_now.set()

    def _inside(self, change: Change) -> None:
        if not change.name:
            self._look_now.set() if change.complete else self._wait_for("")
        elif not is_manifest(change.name):
            # Not a manifest, but perhaps the directory or link behind one.
            if change.complete:
                self._wait_for("")
        elif change.complete and not change.gone:
            self._waiting.pop(change.name, None)
            self._look_now.set()
        else:
            self._wait_for(change.name)

    def _wait_for(self, name: str) -> None:
        now = asyncio.get_running_loop().time()
        waiting = self._waiting.get(name, _Waiting(first=now, last=now))
        self._waiting[name] = replace(waiting, last=now)
        self._arm()

    def _arm(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._waiting and not self._closed:
            due = min(self._due(waiting) for waiting in self._waiting.values())
            self._timer = asyncio.get_running_loop().call_at(due, self._settle)

    def _settle(self) -> None:
        # A millisecond's grace: timers may fire a clock tick early.
        now = asyncio.get_running_loop().time() + 0.001
        self._waiting = {name: waiting for name, waiting in self._waiting.items() if self._due(waiting) > now}
        self._arm()
        self._look_now.set()

    def _due(self, waiting: _Waiting) -> float:
        return min(waiting.last + self._quiet_s, waiting.first + self._longest_s)


def _all_but(names: frozenset[str]) -> Callable[[str], bool]:
    """Return what to ignore in a folder of which only these names matter; no names: everything matters."""
    return lambda name: bool(names) and name not in names


def _folders(path: str) -> dict[str, tuple[tuple[int, int], frozenset[str]]]:
    """Return the folders to watch for one path, with their identity and the names in them that matter (none: all).

    These are the directory itself, the folder it is in, and the folder of every symbolic link on the way; where the
    path ends early, the last folder that exists.
    """
    names: dict[str, set[str]] = {}
    todo: Path | None = Path(path)
    for _ in range(_MOST_LINKS):
        if todo is None:
            break
        todo = _step(todo, names)
    folders = {}
    for folder, wanted in names.items():
        if identity := _identity(folder):
            folders[folder] = (identity, frozenset(wanted))
    if identity := _identity(path):
        folders[path] = (identity, frozenset())
    return folders


def _step(path: Path, names: dict[str, set[str]]) -> Path | None:
    """Note the first link or missing step on `path`, and return the path behind the link; None when there is none."""
    folder = Path("/")
    parts = path.parts[1:]
    for index, name in enumerate(parts):
        here = folder.parent if name == ".." else folder / name
        if here.is_symlink():
            names.setdefault(str(folder), set()).add(name)
            return folder.joinpath(here.readlink(), *parts[index + 1 :])
        if index == len(parts) - 1 or not here.is_dir():
            names.setdefault(str(folder), set()).add(name)
            return None
        folder = here
    return None


def _identity(folder: str) -> tuple[int, int] | None:
    try:
        status = Path(folder).stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISDIR(status.st_mode) else None
