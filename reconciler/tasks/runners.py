"""The runners of tasks: a small process for each, started, recognised after the daemon's own death, and told to end.

A runner is told to end, and ends what it runs; only one that does not is killed, with all that carries its mark.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.host.app_places import Place
from reconciler.isolation.app_users import app_users
from reconciler.isolation.cells import Cell, Cells
from reconciler.isolation.limiting import hold, memory_kills
from reconciler.linux.dataclass import dataclass
from reconciler.linux.memory_files import memory_files
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.processes import Command, Process, adopt, end_marked_orphans, spawn
from reconciler.planning.command_line import Command as CommandLine
from reconciler.planning.isolation.limits import size
from reconciler.planning.tasks.task import Task
from reconciler.serving.leftovers import Search, end_marked
from reconciler.serving.marks import INSTANCE_MARK, RECORD_MARK, RUNNER_MARK, TASK_MARK, Identity, Marked, marked
from reconciler.state.paths import StatePaths
from reconciler.tasks.results import Result, claim_of, read_result

_SCRIPT = str(Path(__file__).with_name("run.py"))
PLANNED_AT = "RECONCILER_PLANNED_AT"
# From SIGTERM to SIGKILL. Everything of a task is gone ten seconds after its timeout.
GRACE_S = 8.0
# Beyond which a runner is taken for stuck, or stopped by the app.
MARGIN_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLimits:
    """Limits of this host: how many occurrences run at once, at which niceness, and how large a log may be.

    `keep_s` is how long ended tasks are kept, `timeout_s` how long one may run that no schedule bounds.
    """

    concurrency: int
    nice: int
    keep_s: float
    timeout_s: float
    log_limit_bytes: int


@dataclass(slots=True, eq=False)
class _Runner:
    task: Task
    process: Process
    cell: Cell
    kill_at: float = 0.0


class Runners:
    """The running tasks of this state directory, by id. `ended` is called with a task whose runner is gone, and how."""

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        paths: StatePaths,
        limits: TaskLimits,
        cells: Cells,
        *,
        state_id: str,
        boot: str,
        ended: Callable[[Task, str], None],
    ) -> None:
        self._cells = cells
        self._paths = paths
        self._limits = limits
        self._state_id = state_id
        self._boot = boot
        self._ended = ended
        self._running: dict[str, _Runner] = {}
        self._out_of_memory: dict[str, bool] = {}

    def has(self, task: str) -> bool:
        """Return whether the runner of a task is alive."""
        return task in self._running

    def overdue_at(self, task: str) -> float | None:
        """Return when the runner of a task must have ended it, monotonic seconds; None without one."""
        runner = self._running.get(task)
        return None if runner is None else runner.kill_at

    def start(self, task: Task, place: Place, record: str, *, must_claim: bool) -> tuple[int, int | None]:
        """Start the runner of a task in its app's place, with its record; return its pid and start time.

        With `must_claim` nothing but its claim says that the task has begun: it then begins nothing without one. Raises
        OSError.
        """
        self._paths.tasks.mkdir(mode=0o700, exist_ok=True)
        log = self._paths.task_log(task.app, task.id)
        with suppress(OSError):  # it then has no log
            place.sandbox.make_directory(log.parent)
        environment = self._environment(task, place, record)
        limits = self._cells.limits_of(task.app)
        cell = self._cells.make(task.app, task.id, limits.controllers)
        held = hold(cell, limits, (), place.sandbox.nofile) if limits else {}
        words = CommandLine(words=task.words, expands=task.expands).arguments(environment)
        words, environment = place.confined(words, environment)
        order = {
            "id": task.id,
            "command": words,
            "directory": place.code.directory,
            "log": str(log),
            "log_limit": self._limits.log_limit_bytes,
            "log_mode": place.sandbox.log,
            "result": str(self._paths.task_result(task.id)),
            "must_claim": must_claim,
            "timeout_s": task.timeout_s,
            "grace_s": GRACE_S,
            "nice": self._limits.nice,
            "sandbox": place.sandbox.limited(limits, held).as_variable(),
            "cell": cell.entrances,
            "attached": str(terminal_socket(self._paths, task.attached)) if task.attached else "",
        }
        argv = (sys.executable, "-I", "-S", _SCRIPT)
        with memory_files(json.dumps(order).encode()) as (given,):
            command = Command(
                argv=argv,
                env=environment,
                listener=given,
                output=log,
                output_mode=place.sandbox.log,
            )
            try:
                process = spawn(command, lambda: self._on_end(task.id))
            except OSError:
                _end(cell)
                raise
        kill_at = time.monotonic() + task.timeout_s + GRACE_S + MARGIN_S
        self._running[task.id] = _Runner(task, process, cell, kill_at=kill_at)
        return process.pid, start_ticks(process.pid)

    def adopt(self, task: Task, found: Iterable[Marked]) -> tuple[int, int] | None:
        """Follow the runner of a task that an earlier daemon started; return its pid and start time, None without one.

        A daemon that was killed between starting it and writing down its pid has left only its mark.
        """
        pid, ticks = task.pid, task.ticks
        if pid is None or ticks is None:
            pid = next((process.pid for process in found if process.runner and process.task == task.id), None)
            ticks = None if pid is None else start_ticks(pid)
        process = None if pid is None or ticks is None else adopt(pid, ticks, lambda: self._on_end(task.id))
        if process is None or pid is None or ticks is None:
            return None
        began = task.started_at or 0.0
        ran_s = max(0.0, time.time() - began)  # noqa: TID251  the earlier daemon's clock
        left_s = max(0.0, task.timeout_s - ran_s)
        left_s = 0.0 if task.told_at is not None else left_s
        cell = self._cells.made(task.app, task.id)
        self._running[task.id] = _Runner(task, process, cell, kill_at=time.monotonic() + left_s + GRACE_S + MARGIN_S)
        return pid, ticks

    def tell(self, task: str) -> None:
        """Tell a runner to end what it runs."""
        runner = self._running.get(task)
        if runner is not None:
            runner.kill_at = min(runner.kill_at, time.monotonic() + GRACE_S + MARGIN_S)
            runner.process.signal(signal.SIGTERM)

    async def kill(self, task: str) -> None:
        """Kill the runner of a task, and whatever carries the task's mark."""
        runner = self._running.get(task)
        if runner is not None:
            runner.kill_at = time.monotonic() + MARGIN_S
            runner.process.kill_group()
            runner.cell.kill()
        await self.end_remains(task)

    async def end_remains(self, task: str) -> None:
        """Kill whatever a task left whose runner was killed."""
        search = Search(state_id=self._state_id, users=app_users(self._paths))
        await asyncio.to_thread(end_marked, search, tasks=(task,))

    def kill_now(self, pids: Iterable[int]) -> None:
        """Kill what tasks left whose runner is gone."""
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def found(self) -> list[Marked]:
        """Return every process of a task of this state directory, as the process table has it."""
        return [process for process in marked(self._state_id, apps=app_users(self._paths)) if process.task]

    def result(self, task: Task) -> Result | None:
        """Return how the command of a task whose runner is gone ended, None if that left no result."""
        found = read_result(self._paths.task_result(task.id), task.id)
        killed = self._out_of_memory.pop(task.id, None)
        if killed is None:
            killed = memory_kills(self._cells.made(task.app, task.id)) > 0
        memory = self._cells.limits_of(task.app).memory
        if found is None or not killed or memory is None:
            return found
        return replace(found, exceeded=f"it needed more than {size(memory)}")

    def is_claimed(self, task: str) -> bool:
        """Return whether a runner has ever begun a task: then it must not begin again."""
        result = self._paths.task_result(task)
        return result.exists() or claim_of(result).exists()

    def _environment(self, task: Task, place: Place, record: str) -> dict[str, str]:
        now = time.time()  # noqa: TID251  display
        identity = Identity(state=self._state_id, instance=secrets.token_hex(6), started_at=now)
        variables = place.environment(identity)
        del variables[INSTANCE_MARK]  # what carries it is ended with the instance
        planned = datetime.fromtimestamp(task.owed_at if task.planned_at is None else task.planned_at, UTC)
        return {
            **variables,
            TASK_MARK: task.id,
            RUNNER_MARK: "1",
            RECORD_MARK: record,
            PLANNED_AT: planned.isoformat(timespec="seconds").replace("+00:00", "Z"),
        }

    def _on_end(self, task: str) -> None:
        runner = self._running.pop(task)
        self._out_of_memory[task] = memory_kills(runner.cell) > 0
        _end(runner.cell)
        end_marked_orphans()  # of a runner that was killed
        self._ended(runner.task, runner.process.end or "")


def _end(cell: Cell) -> None:
    """End what is left in the cell of a task whose runner is gone, and remove it."""
    if cell:
        cell.kill()
        with suppress(RuntimeError):  # no thread left: the next daemon removes it
            asyncio.get_running_loop().run_in_executor(None, cell.end)


def terminal_socket(paths: StatePaths, name: str) -> Path:
    """Return the path of the socket of a terminal that is attached to a task."""
    return paths.tasks / f"terminal-{name}.sock"
