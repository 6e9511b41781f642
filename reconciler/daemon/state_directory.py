"""Notice that the state directory was moved, removed or replaced while the daemon runs, and change nothing until then.

What would be written would go elsewhere than where the next daemon looks for it.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from reconciler.convergence.ticks import next_tick, next_tick_or
from reconciler.convergence.world import Report, World
from reconciler.linux.next_changes import NextChanges
from reconciler.planning.subject import HOST
from reconciler.state.journal import Journal
from reconciler.state.lock import Lock

_LOOK_EVERY_S = 5.0
_SELDOM_S = 30.0  # while the kernel tells of changes: those of a directory above it are none of its own


class NotInPlace(OSError):
    """The state directory is not where it was."""


class StateDirectory:
    """The state directory of this daemon, as long as `lock` is held. `problem` is empty while it is in place."""

    def __init__(self, path: Path, lock: Lock, journal: Journal) -> None:
        self._path = path
        self._lock = lock
        self._journal = journal
        self.problem = ""

    def require_in_place(self) -> None:
        """Raise NotInPlace if the directory is not where it was; a stat, so cheap."""
        if not self._lock.is_in_place():
            raise NotInPlace(f"the state directory {self._path} was moved, removed or replaced while the daemon runs")

    async def watch(self) -> None:
        """Tell when the directory is not in place any more, and when it is back, until cancelled."""
        changes = NextChanges[Path](asyncio.get_running_loop().call_soon_threadsafe, content=False)
        while True:
            is_watched = changes.ask(self._path, str(self._path))
            before, self.problem = self.problem, self._problem()
            if self.problem and not before:
                until = (
                    f"nothing is staged, started or stopped until it is back; apps that run keep serving; put it back,"
                    f" or end this daemon (pid {os.getpid()}) and its apps"
                )
                self._journal.write(HOST, "daemon", self.problem, until)
            elif before and not self.problem:
                self._journal.write(HOST, "daemon", f"the state directory {self._path} is back")
            if is_watched and not self.problem:
                await next_tick_or(changes.happened, _SELDOM_S)
            if changes.take() or self.problem or not is_watched:
                await next_tick(_LOOK_EVERY_S)

    def _problem(self) -> str:
        try:
            self.require_in_place()
        except NotInPlace as error:
            return str(error)
        return ""


class WorldInPlace:
    """A World whose actions fail while the state directory is not in place."""

    def __init__(self, world: World, state: StateDirectory) -> None:
        self._world = world
        self._state = state
        self.now, self.plan, self.when_failing = world.now, world.plan, world.when_failing

    def report(self, name: str, report: Report) -> None:
        """Publish the state of a name."""
        self._world.report(name, report)

    async def do(self, name: str, action: Any) -> None:
        """Carry out one action. Raises NotInPlace, and what the action raises."""
        self._state.require_in_place()
        await self._world.do(name, action)
