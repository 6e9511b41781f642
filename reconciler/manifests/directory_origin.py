"""Watch a directory of manifests, and say when to look at it.

A file that arrives complete is read now. One that is still being written, or was just removed (editors replace a file
by moving it away first) or emptied (its content may follow), counts as it last was until it has been quiet for a while.
Other files do not wait for it.
"""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from reconciler.linux.dataclass import dataclass
from reconciler.linux.followed_paths import FollowedPath, FollowedPaths, problems_of
from reconciler.linux.inotify import Change, WatchProblem
from reconciler.linux.mounts import Mounts
from reconciler.manifests.directory_files import ReadCache, is_manifest, read_directory
from reconciler.manifests.origin import Look


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
        self, path: str, paths: FollowedPaths, look_now: asyncio.Event, quiet_s: float = 0.5, longest_s: float = 5.0
    ) -> None:
        self.name = os.path.abspath(path)  # noqa: PTH100  resolve() follows the links that are to be watched
        self._paths = paths
        self._look_now = look_now
        self._quiet_s = quiet_s
        self._longest_s = longest_s
        self._memo = ReadCache(quiet_s=quiet_s)
        self._waiting: dict[str, _Waiting] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._here = paths.follow(self.name, "folder", on_step=self._look_now.set, on_change=self._inside)
        self._linked: dict[str, FollowedPath] = {}
        self._was_watching = self._closed = False
        self._mounts: Mounts | None = None

    @property
    def problem(self) -> WatchProblem | None:
        """Why changes may go unseen until the next look, None when they will not."""
        return next(iter(problems_of([self._here, *self._linked.values()]).values()), None)

    @property
    def is_unsettled(self) -> bool:
        """Whether a file was changed that counts as it last was until it is quiet."""
        return bool(self._waiting)

    async def look(self) -> Look:
        """Return what the directory holds now. One look at a time."""
        found, was_replaced = await asyncio.to_thread(self._read, frozenset(self._waiting))
        for name in self._memo.emptied:
            self._wait_for(name)
        if was_replaced:
            self._look_now.set()
        return found

    async def may_have_changed_unseen(self) -> bool:
        """Return whether the kernel may not have told of a change since the last look: of a link's target, or a mount.

        What changes a file without a name in this directory, as another hard link or a mapping does, is not noticed.
        """
        return await asyncio.to_thread(self._may_have_changed_unseen)

    def _may_have_changed_unseen(self) -> bool:
        leads_elsewhere, place = self._here.renew(), self._here.leads_to
        if leads_elsewhere or place is None or self._linked or self.problem is not None:
            return True
        mounts = Mounts.now()
        return mounts != self._mounts or not mounts.notify_of_all_below(place)

    def _read(self, unsettled: frozenset[str]) -> tuple[Look, bool]:
        """Return what the directory holds, and whether it is another one than was watched before. Blocks."""
        # First the watch, then the look: what happens between the two is seen twice rather than never.
        is_another = self._renew() and self._was_watching
        self._mounts = Mounts.now()
        found = read_directory(self.name, self._memo, unsettled)
        self._was_watching = self._was_watching or not self._closed
        return found, self._renew() or is_another

    def _renew(self) -> bool:
        """Watch the directory, and the files and directories that links in it lead to, as of now."""
        if self._closed:
            return False
        changed = self._here.renew()
        linked = set(_links_in(self.name))
        for name in self._linked.keys() - linked:
            self._linked.pop(name).close()
        for name in linked - self._linked.keys():
            stir = partial(self._behind_a_link, name)
            self._linked[name] = self._paths.follow(f"{self.name}/{name}", "file", on_step=stir, on_change=stir)
        for name in linked:
            self._linked[name].renew()
        return changed

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for followed in (self._here, *self._linked.values()):
            followed.close()

    def _behind_a_link(self, name: str, change: Change | None = None) -> None:
        """Note a change of the file that a link leads to, or of a step on the way there."""
        self._inside(Change(name=name if is_manifest(name) else "", complete=change is not None and change.complete))

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


def _links_in(directory: str) -> Iterator[str]:
    try:
        with os.scandir(directory) as found:
            yield from (entry.name for entry in found if entry.is_symlink() and is_manifest(entry.name))
    except OSError:
        return
