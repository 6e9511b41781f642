"""Follow paths to wherever they lead, and say when one leads elsewhere or what is at its end may have changed.

Every step of a path is watched, each link on the way included; where the path ends early, the step that is missing.
What was replaced is watched again by `renew`, which is due after every step that changed: `on_step` says so.
"""

import os
import stat
import threading
from collections.abc import Callable, Collection
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.inotify import Change, Watch, Watched, WatchFailure, WatchProblem, nothing

# As many as the kernel follows: path_resolution(7).
_MOST_LINKS = 40

End: TypeAlias = Literal["file", "folder", "tree"]
# Device and inode: another directory in the same place differs.
Identity: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """Where a path leads: each directory on the way with the name looked up in it, and the place it ends at.

    `end` is None where something is missing or is no directory.
    """

    steps: tuple[tuple[str, str], ...]
    end: str | None


def way_of(path: str) -> Way:
    """Return where an absolute path leads now. Blocks."""
    steps: list[tuple[str, str]] = []
    folder, names = "/", _names(path)
    links = 0
    while names:
        name = names.pop(0)
        if name == "..":
            folder = os.path.dirname(folder)  # noqa: PTH120  text in, text out, and very many
            continue
        steps.append((folder, name))
        here = f"{folder.rstrip('/')}/{name}"
        try:
            mode = os.lstat(here).st_mode
            target = os.readlink(here) if stat.S_ISLNK(mode) else None  # noqa: PTH115  the same
        except OSError:
            return Way(steps=tuple(steps), end=None)
        if target is not None:
            links += 1
            if links > _MOST_LINKS:
                return Way(steps=tuple(steps), end=None)
            names[:0] = _names(target)
            folder = "/" if target.startswith("/") else folder
        elif names and not stat.S_ISDIR(mode):
            return Way(steps=tuple(steps), end=None)
        else:
            folder = here
    return Way(steps=tuple(steps), end=folder)


class FollowedPaths:
    """Every path that is followed; those that share steps share the watches of them."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._changing = threading.Lock()
        self._folders: dict[tuple[str, bool], _Folder] = {}

    def follow(
        self,
        path: str,
        end: End,
        *,
        on_step: Callable[[], None],
        on_change: Callable[[Change], None],
        ignore: Callable[[str], bool] = nothing,
    ) -> "FollowedPath":
        """Follow an absolute path from the first `renew` on; callbacks come on the loop.

        `end` says what is watched there: a file, what is directly in a folder, or a tree without the names to `ignore`;
        a file in the place of a tree is watched as one.
        """
        return FollowedPath(self, path, end, on_step=on_step, on_change=on_change, ignore=ignore)

    def watch_end(self, path: str, of: "FollowedPath") -> Watched:
        """Watch the directory at the end of a path."""
        start = self._watch.tree if of.end == "tree" else self._watch.folder
        return start(path, of.on_change, of.ignore)

    def enter(self, folder: str, name: str, of: "FollowedPath", *, content: bool) -> WatchProblem | None:
        """Watch a name in a folder, its content only where that is asked for; return why it is not watched."""
        identity = identity_of(folder)
        with self._changing:
            found = self._folders.get((folder, content))
            if found is None or found.identity != identity or found.problem:
                names = found.names if found is not None else {}
                if found is not None:
                    found.close()
                found = self._folders[folder, content] = _Folder(self._watch, folder, identity, names, content=content)
            found.names.setdefault(name, set()).add(of)
            return found.problem

    def leave(self, folder: str, name: str, of: "FollowedPath", *, content: bool) -> None:
        """Stop watching a name in a folder for one path."""
        with self._changing:
            found = self._folders.get((folder, content))
            if found is None:
                return
            found.names.get(name, set()).discard(of)
            if not found.names.get(name):
                found.names.pop(name, None)
            if not found.names:
                found.close()
                del self._folders[folder, content]


class _Folder:
    """One directory on the way of paths: the paths that look up each name in it."""

    def __init__(
        self,
        watch: Watch,
        folder: str,
        identity: Identity | None,
        names: dict[str, set["FollowedPath"]],
        *,
        content: bool,
    ) -> None:
        self.identity = identity
        self.names = names
        self._folder = folder
        self.watched: Watched | None = None
        self._content = content
        self.watched = watch.folder(folder, self._on_change, lambda name: name not in names, content=content)

    @property
    def problem(self) -> WatchProblem | None:
        return self.watched.problem if self.watched is not None else None

    def close(self) -> None:
        if self.watched is not None:
            self.watched.close()

    def _on_change(self, change: Change) -> None:
        """Tell the paths that a change concerns: all of them if it is the folder's own, unless it cannot be watched."""
        if not change.name and not _may_be_renewed(self.watched):
            return
        # Copies, each made at once: threads enter and leave meanwhile.
        concerned = list(self.names.values()) if not change.name else [self.names.get(change.name, set())]
        for path in set().union(*concerned):
            if change.arrived and path.on_arrival is not None:
                path.arrived()
                continue
            path.on_step()  # a file may have become a link
            if self._content and change.name:
                path.on_change(change)
            if change.created or (self._content and change.name and change.complete and not change.gone):
                path.ended(f"{self._folder.rstrip('/')}/{change.name}")


class FollowedPath:
    """One path that is followed. `problem` says why changes may go unseen, None while all are seen.

    `on_arrival`, if it is set, is called in place of all other callbacks when a step was moved into place. `on_ended`,
    if it is set, is called with a step, after the other callbacks, when it is new or was written and closed.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        paths: FollowedPaths,
        path: str,
        end: End,
        *,
        on_step: Callable[[], None],
        on_change: Callable[[Change], None],
        ignore: Callable[[str], bool],
    ) -> None:
        self.path = path
        self.end = end
        self.ignore = ignore
        self._paths = paths
        self._tell_step, self._tell_change = on_step, on_change
        self.on_arrival: Callable[[], None] | None = None
        self.on_ended: Callable[[str], None] | None = None
        self._renewing = threading.Lock()
        self._steps: frozenset[tuple[str, str, bool]] = frozenset()
        self._step_problem: WatchProblem | None = None
        self._led_to: tuple[str | None, Identity | None] | None = None
        self._watched: Watched | None = None
        self._closed = False

    @property
    def problem(self) -> WatchProblem | None:
        """Why changes may go unseen, None while all are seen."""
        return self._step_problem or (self._watched.problem if self._watched is not None else None)

    @property
    def leads_to(self) -> str | None:
        """The place at the end of the path as of the last `renew`, None where there is none."""
        return self._led_to[0] if self._led_to is not None else None

    @property
    def is_being_renewed(self) -> bool:
        """Whether a `renew` is under way, which may hang on a dead mount."""
        return self._renewing.locked()

    def renew(self) -> bool:
        """Watch what the path leads through and to now; return whether that is something else than before. Blocks."""
        try:
            with self._renewing:
                if self._closed:
                    return False
                # First the watches, then the look: a step that changes meanwhile is noticed.
                way, rounds = way_of(self.path), 0
                while self._watch_steps(way) and rounds < _MOST_LINKS:
                    way, rounds = way_of(self.path), rounds + 1
                return self._watch_end(way)
        finally:
            if self._closed:
                self._release()

    def close(self) -> None:
        """Stop watching; nothing is called afterwards. Does not wait for a renewal, which may hang on a dead mount."""
        self._closed = True
        self._release()

    def _release(self) -> None:
        """End the watches; a renewal that is under way does so when it is done."""
        if not self._renewing.acquire(blocking=False):
            return
        try:
            for step in self._steps:
                self._leave(step)
            self._steps = frozenset()
            if self._watched is not None:
                self._watched.close()
        finally:
            self._renewing.release()

    def on_step(self) -> None:
        """Pass on that a step of the path may lead elsewhere."""
        if not self._closed:
            self._tell_step()

    def arrived(self) -> None:
        """Pass on that a step of the path was moved into place."""
        if not self._closed and self.on_arrival is not None:
            self.on_arrival()

    def ended(self, step: str) -> None:
        """Pass on that a step may be complete: it is new, or was written and closed."""
        if not self._closed and self.on_ended is not None:
            self.on_ended(step)

    def on_change(self, change: Change) -> None:
        """Pass on a change at the end of the path, or that the end is gone."""
        if self._closed:
            return
        if not change.name and _may_be_renewed(self._watched):
            self._tell_step()
        else:
            self._tell_change(change)

    def _watch_steps(self, way: Way) -> bool:
        """Watch these steps and no others; return whether there are new ones."""
        last = len(way.steps) - 1
        is_file = self.end == "file" or (self.end == "tree" and way.end is not None and not os.path.isdir(way.end))  # noqa: PTH112
        wanted = frozenset((folder, name, is_file and n == last) for n, (folder, name) in enumerate(way.steps))
        problems = [self._paths.enter(folder, name, self, content=content) for folder, name, content in sorted(wanted)]
        self._step_problem = next((problem for problem in problems if problem is not None), None)
        for step in self._steps - wanted:
            self._leave(step)
        new, self._steps = wanted - self._steps, wanted
        return bool(new)

    def _leave(self, step: tuple[str, str, bool]) -> None:
        folder, name, content = step
        self._paths.leave(folder, name, self, content=content)

    def _watch_end(self, way: Way) -> bool:
        led_to = (way.end, identity_of(way.end) if way.end is not None else None)
        before, self._led_to = self._led_to, led_to
        if self.end == "file":
            return led_to != before
        is_directory = way.end is not None and os.path.isdir(way.end)  # noqa: PTH112  text
        again = False
        if self._watched is not None and (led_to != before or (self._watched.problem and not self._watched.rests)):
            self._watched.close()
            self._watched, again = None, True
        if self._watched is None and is_directory and way.end is not None:
            self._watched = self._paths.watch_end(way.end, self)
        # What cannot be watched this time either is as it was: it is looked at now and then.
        return led_to != before or (again and self._watched is not None and self._watched.problem is None)


def _may_be_renewed(watched: Watched | None) -> bool:
    """Return whether a watch was lost, so that another may be made; at a limit of the host it would be lost again."""
    if watched is None or watched.problem is None:
        return watched is not None
    return watched.problem.failure is WatchFailure.REMOVED


def identity_of(path: str) -> Identity | None:
    """Return the device and inode of what a path leads to, None if there is nothing."""
    try:
        status = os.stat(path)  # noqa: PTH116  text
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


def problems_of(paths: Collection[FollowedPath]) -> dict[str, WatchProblem]:
    """Return the paths whose changes may go unseen, with the reason."""
    return {path.path: path.problem for path in paths if path.problem is not None}
