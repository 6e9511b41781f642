"""Which source trees are watched, and for whom: a change that has settled makes every app of that tree suspect.

Apps that share a path share a watch. A tree that cannot be watched (missing, or the kernel's limits are used up) is
suspected at every `poll` instead.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.linux.inotify import Change, Watch, Watched, WatchProblem
from reconciler.staging.source.last_seen import SourceTracker
from reconciler.staging.source.tree import ignored, is_archive


@dataclass(slots=True, kw_only=True)
class _Tree:
    """One watched tree, the apps it is the source of, and the timer that fires once it has been quiet."""

    names: frozenset[str]
    watched: Watched
    timer: asyncio.TimerHandle | None = None
    first_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settling:
    """How long a tree must be quiet before it counts as changed, and the longest that is waited for. Seconds."""

    quiet_s: float = 0.3
    longest_s: float = 5.0


class Trees:
    """The watches of every source that is followed. A change makes the tracker suspect each app of that source."""

    def __init__(self, watch: Watch, tracker: SourceTracker, settling: Settling) -> None:
        self._watch = watch
        self._tracker = tracker
        self._settling = settling
        self._trees: dict[str, _Tree] = {}

    async def follow(self, sources: Mapping[str, str]) -> None:
        """Watch exactly these paths: app name to the absolute path of its source.

        What was not watched until now is suspected, and so is what cannot be.
        """
        names: dict[str, set[str]] = {}
        for name, path in sources.items():
            names.setdefault(path, set()).add(name)
        for path in self._trees.keys() - names.keys():
            self._drop(path)
        for path, of_path in names.items():
            tree = self._trees.get(path)
            if tree is not None and not tree.watched.problem:
                tree.names = frozenset(of_path)
                continue
            if tree is not None:
                self._drop(path)
            watched = await asyncio.to_thread(self._start, path)
            self._trees[path] = tree = _Tree(names=frozenset(of_path), watched=watched)
            self._changed(tree)

    def problems(self) -> dict[str, WatchProblem]:
        """Why a path cannot be watched, for those that cannot."""
        return {path: tree.watched.problem for path, tree in self._trees.items() if tree.watched.problem}

    def close(self) -> None:
        """Watch nothing any more."""
        for path in list(self._trees):
            self._drop(path)

    def _start(self, path: str) -> Watched:
        """Watch a tree; of an archive its directory, in which nothing else matters."""
        stir = partial(self._stir, path)
        if is_archive(path) and not Path(path).is_dir():
            name = Path(path).name
            return self._watch.folder(str(Path(path).parent), stir, lambda other: other != name)
        return self._watch.tree(path, stir, ignored)

    def _drop(self, path: str) -> None:
        tree = self._trees.pop(path)
        tree.watched.close()
        if tree.timer is not None:
            tree.timer.cancel()

    def _stir(self, path: str, _: Change) -> None:
        tree = self._trees.get(path)
        if tree is None:
            return
        loop = asyncio.get_running_loop()
        if tree.timer is None:
            tree.first_at = loop.time()
        else:
            tree.timer.cancel()
        at = min(loop.time() + self._settling.quiet_s, tree.first_at + self._settling.longest_s)
        tree.timer = loop.call_at(at, self._changed, tree)

    def _changed(self, tree: _Tree) -> None:
        tree.timer = None
        for name in sorted(tree.names):
            self._tracker.suspect(name)
