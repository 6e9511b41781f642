"""Forget tasks that ended long ago, and of each schedule all but the newest few, with what they printed."""

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from reconciler.linux.listing import names_in
from reconciler.planning.schedules.schedule import Schedule
from reconciler.state.paths import StatePaths
from reconciler.state.task_log import TaskLog

_EVERY_S = 3600.0
_FIRST_S = 600.0  # a daemon that has just started has better to do
_LEAST_KEPT = 20
_MOST_FILES = 100_000
# A log that no task on record has was left by a daemon that was killed between two steps.
_STRANGE_AFTER_S = 86400.0


class PastTasks:
    """Keeps the history short. `schedules_of` returns the schedules of an app by its name."""

    def __init__(
        self, paths: StatePaths, log: TaskLog, keep_s: float, schedules_of: Callable[[str], Sequence[Schedule]]
    ) -> None:
        self._paths = paths
        self._log = log
        self._keep_s = keep_s
        self._schedules_of = schedules_of

    async def run(self) -> None:
        """Forget what is past, now and then, until cancelled."""
        await asyncio.sleep(_FIRST_S)
        while True:
            with suppress(sqlite3.Error):
                await self.forget()
            await asyncio.sleep(_EVERY_S)

    async def forget(self) -> None:
        """Forget what is past now: the log of a task goes before its record. Raises sqlite3.Error."""
        now = time.time()  # noqa: TID251  compared with what is on record
        past = [
            (task, app)
            for task, app, schedule, age in self._log.past(now - self._keep_s, kept=_LEAST_KEPT)
            if age <= 0 or age > self._kept(app, schedule)
        ]
        await asyncio.to_thread(_remove, [self._paths.task_log(app, task) for task, app in past])
        self._log.drop([task for task, _ in past])
        await asyncio.to_thread(self._remove_strange, self._log.ids(), now)

    def _kept(self, app: str, schedule: str) -> int:
        return next((each.keep for each in self._schedules_of(app) if each.name == schedule), _LEAST_KEPT)

    def _remove_strange(self, known: frozenset[str], now: float) -> None:
        with suppress(OSError):
            for app in names_in(self._paths.logs, _MOST_FILES):
                with suppress(OSError):
                    for name in names_in(self._paths.task_logs(app), _MOST_FILES):
                        file = self._paths.task_logs(app) / name
                        if name.partition(".")[0] not in known and file.lstat().st_mtime < now - _STRANGE_AFTER_S:
                            file.unlink(missing_ok=True)


def _remove(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError):
            file.unlink(missing_ok=True)
