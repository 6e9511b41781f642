"""Remove what an instance left that has ended: processes in sessions of their own, which outlive its group, and files.

That is done a moment later, so that its successor does not wait for it, and once for all instances that ended in the
same moment. Processes are looked for in a thread.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from reconciler.isolation.cells import Cell
from reconciler.linux.dataclass import dataclass
from reconciler.linux.processes import descendants
from reconciler.linux.removals import Removals
from reconciler.serving.marks import NO_APPS, Marked, marked

_SOON_S = 0.5
_ROUNDS = 10
_EMPTY_ROUNDS = 2  # the kernel may pass over a child while its sibling exits


class Leftovers:
    """What is left of instances that are gone, and of apps that are.

    Processes that are in their cells or bear their marks, the cells themselves, and directories. `users` returns the
    apps that have users of their own, by user.
    """

    def __init__(
        self, state_id: str, removals: Removals, users: Callable[[], Mapping[int, str]] = lambda: NO_APPS
    ) -> None:
        self._users = users
        self._state_id = state_id
        self._removals = removals
        self._instances: set[str] = set()
        self._apps: set[str] = set()
        self._directories: set[Path] = set()
        self._cells: list[Cell] = []
        self._anywhere = False
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Future[None]] = set()

    @property
    def is_busy(self) -> bool:
        """Whether something is left to be ended, as far as is known."""
        return bool(self._instances or self._apps or self._cells or self._running)

    def of_instance(self, instance: str, *, started_here: bool) -> None:
        """End soon what an instance left that has ended; what this process started is looked for below it only."""
        self._instances.add(instance)
        self._anywhere |= not started_here
        self._later()

    def of_cell(self, cell: Cell) -> None:
        """End soon what is left in a cell, and remove it."""
        if cell:
            self._cells.append(cell)
            self._later()

    def of_app(self, app: str) -> None:
        """End soon whatever is left of an app of which no instance is left."""
        self._apps.add(app)
        self._anywhere = True
        self._later()

    def keep(self, app: str) -> None:
        """Leave an app alone, as it is about to start an instance again."""
        self._apps.discard(app)

    def remove(self, directory: Path) -> None:
        """Remove soon a directory that nothing uses; what cannot be removed is found later."""
        self._directories.add(directory)
        self._later()

    def directories_in(self, parent: Path) -> frozenset[str]:
        """Return the names of the directories in `parent` that are removed soon."""
        return frozenset(each.name for each in self._directories if each.parent == parent)

    async def finish(self) -> None:
        """End now what is to be ended soon, and wait for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._begin()
        while self._running:
            await asyncio.wait(self._running)

    def _later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SOON_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        directories, instances, apps = tuple(self._directories), frozenset(self._instances), frozenset(self._apps)
        cells, self._cells = self._cells, []
        search = Search(state_id=self._state_id, users=self._users(), anywhere=self._anywhere)
        self._directories.clear()
        self._instances.clear()
        self._apps.clear()
        self._anywhere = False
        for directory in directories:
            with contextlib.suppress(OSError, RuntimeError):
                self._removals.begin(directory)
        if not (instances | apps or cells):
            return
        with contextlib.suppress(RuntimeError):  # no thread left: the next daemon ends them
            run = asyncio.get_running_loop().run_in_executor
            done = run(None, _end, search, instances, apps, cells)
            self._running.add(done)
            done.add_done_callback(self._looked)

    def _looked(self, done: "asyncio.Future[None]") -> None:
        self._running.discard(done)
        if not done.cancelled():
            done.exception()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """How to find marked processes: `anywhere` on the host, or below this one; those of apps with `users`, too."""

    state_id: str
    users: Mapping[int, str]
    anywhere: bool = True

    def marked(self) -> Iterable[Marked]:
        """Find them. Below this one are the orphans that the kernel gives it; where it does not tell, look anywhere."""
        return marked(self.state_id, apps=self.users, among=None if self.anywhere else descendants())

    def marks_of(self, pid: int) -> Marked | None:
        """Return the marks of one process, None if it has none that count."""
        return next(marked(self.state_id, apps=self.users, among=(pid,)), None)


def _end(search: Search, instances: Collection[str], apps: Collection[str], cells: Iterable[Cell]) -> None:
    for cell in cells:
        cell.end()
    if instances or apps:
        end_marked(search, instances, apps)


def end_marked(
    search: Search, instances: Collection[str] = (), apps: Collection[str] = (), tasks: Collection[str] = ()
) -> int:
    """Send SIGKILL to every process marked with one of these, and to what it starts meanwhile; return their number."""
    ended, empty_rounds = set[int](), 0
    for _ in range(_ROUNDS):
        found = [
            each
            for each in search.marked()
            if each.instance in instances or each.app in apps or (each.task and each.task in tasks)
        ]
        for process in found:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(process.pid)
                try:
                    if search.marks_of(process.pid) == process:  # not another one that was given its pid
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        ended.add(process.pid)
                finally:
                    os.close(descriptor)
        empty_rounds = 0 if found else empty_rounds + 1
        if empty_rounds == (1 if search.anywhere else _EMPTY_ROUNDS):
            break
    return len(ended)
