"""Watch the source trees of apps, and report a change once the tree has been quiet for a moment.

Apps that share a path share a watch. A tree that cannot be watched (missing, or beyond the kernel's limits) is reported
at each `follow` instead.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from reconciler.linux.inotify import Change, Watch, Watched, WatchProblem
from reconciler.staging.source.tree import ignored, is_archive


@dataclass(slots=True, kw_only=True)
class _Tree:
    """One watched tree with its apps, and the timer that fires once it has been quiet."""

    names: frozenset[str]
    watched: Watched
    timer: asyncio.TimerHandle | None = None
    first_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Debounce:
    """How long a tree must be quiet before a change is reported, and the longest to wait for that, in seconds."""

    quiet_s: float = 0.3
    longest_s: float = 5.0


class SourceWatches:
    """The watches of all sources. `on_change` is called on the loop with an app's name."""

    def __init__(self, watch: Watch, on_change: Callable[[str], None], debounce: Debounce) -> None:
        self._watch = watch
        self._on_change = on_change
        self._debounce = debounce
        self._trees: dict[str, _Tree] = {}

    async def follow(self, sources: Mapping[str, str]) -> None:
        """Watch exactly these sources, given as absolute paths by app name.

        A source that was not watched before, or cannot be watched, is reported as changed.
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
            self._report(tree)

    def problems(self) -> dict[str, WatchProblem]:
        """Return the paths that cannot be watched, with the reason."""
        return {path: tree.watched.problem for path, tree in self._trees.items() if tree.watched.problem}

    def close(self) -> None:
        """End all watches."""
        for path in list(self._trees):
            self._drop(path)

    def _start(self, path: str) -> Watched:
        """Watch a tree, or the directory of an archive without its other files."""
        on_event = partial(self._on_event, path)
        if is_archive(path) and not Path(path).is_dir():
            name = Path(path).name
            return self._watch.folder(str(Path(path).parent), on_event, lambda other: other != name)
        return self._watch.tree(path, on_event, ignored)

    def _drop(self, path: str) -> None:
        tree = self._trees.pop(path)
        tree.watched.close()
        if tree.timer is not None:
            tree.timer.cancel()

    def _on_event(self, path: str, _: Change) -> None:
        tree = self._trees.get(path)
        if tree is None:
            return
        loop = asyncio.get_running_loop()
        if tree.timer is None:
            tree.first_at = loop.time()
        else:
            tree.timer.cancel()
        at = min(loop.time() + self._debounce.quiet_s, tree.first_at + self._debounce.longest_s)
        tree.timer = loop.call_at(at, self._report, tree)

    def _report(self, tree: _Tree) -> None:
        tree.timer = None
        for name in sorted(tree.names):
            self._on_change(name)
