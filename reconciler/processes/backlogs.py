"""Ask how much waits for each process whose number is chosen by that, and decide the number.

What a command prints is noted; planning decides what follows. One that fails changes nothing.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.planning.processes.observed import ScaleState
from reconciler.planning.processes.process import AppProcess, parts_of
from reconciler.planning.reason import Reason
from reconciler.planning.scaling.backlog import Backlog, ByBacklog, number_of
from reconciler.planning.subject import Subject
from reconciler.processes.commands import Answer, Question, answer
from reconciler.serving.process_instances import ProcessInstances
from reconciler.state.journal import EventKind

_NOTHING = ScaleState()
_SOON_S = 1.0
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_MOST_SHOWN = 80


@dataclass(slots=True, kw_only=True)
class _Asked:
    by: ByBacklog
    task: asyncio.Task[None]


class Backlogs:
    """The commands that are run again and again, one task for each.

    `asking` makes the command of a process, None while it cannot be asked; `changed` gets the name of a process of
    which something else is known.
    """

    def __init__(
        self,
        stores: Stores,
        tasks: StandingTasks,
        instances: ProcessInstances,
        asking: Callable[[AppProcess], Question | None],
        changed: Callable[[str], None],
    ) -> None:
        self._journal, self._record = stores.journal, stores.record_event
        self._tasks = tasks
        self._instances = instances
        self._asking = asking
        self._changed = changed
        self._running: dict[str, _Asked] = {}
        self._states: dict[str, ScaleState] = {}

    def of(self, name: str) -> ScaleState:
        """Return what is known of the number of a process."""
        return self._states.get(name, _NOTHING)

    def update(self, name: str, asked: AppProcess | None) -> None:
        """Ask about a process from now on, or, for None, no longer."""
        by = None if asked is None else asked.process.scale
        known = self._running.get(name)
        if known is not None and known.by == by:
            return
        if known is not None:
            known.task.cancel()
            del self._running[name]
        if by is None or asked is None:
            self._states.pop(name, None)
            return
        task = self._tasks.keep(f"ask what waits for {name}", partial(self._watch, name, asked, by))
        self._running[name] = _Asked(by=by, task=task)

    async def _watch(self, name: str, asked: AppProcess, by: ByBacklog) -> None:
        backlog: Backlog | None = None
        while True:
            question = self._asking(asked)
            if question is None:
                await asyncio.sleep(_SOON_S)
                continue
            said = await answer(question, by.timeout_s)
            waiting, trouble = _waiting(said)
            if waiting is None:
                self._failed(name, trouble)
            else:
                now = time.monotonic()
                backlog = Backlog.first(by, waiting, now) if backlog is None else backlog.next(by, waiting, now)
                self._decide(name, by, backlog, now)
            await asyncio.sleep(by.every_s)

    def _decide(self, name: str, by: ByBacklog, backlog: Backlog, now: float) -> None:
        before = self.of(name)
        present = max((i.slot for i in self._instances.of(name) if i.runs), default=0)
        has = by.within(present if before.count is None else before.count)
        number = number_of(by, backlog, has, now)
        after = replace(before, count=number.count, trouble="", cause=number.cause or before.cause)
        if number.count != has:
            self._tell(name, "scaled", f"{has} → {number.count}", number.cause, Reason.SCALING)
        self._set(name, after)

    def _failed(self, name: str, why: str) -> None:
        subject, before = Subject("app", parts_of(name)[0]), self.of(name)
        trouble = self._journal.redacted(subject, f"its 'scale' command failed: {why}")
        if not before.trouble:
            self._tell(name, "failed", trouble, "", Reason.SCALE_UNKNOWN)
        self._set(name, replace(before, trouble=trouble))

    def _tell(self, name: str, kind: EventKind, text: str, cause: str, reason: Reason) -> None:
        app, process = parts_of(name)
        self._record(app, kind, f"{process}: {text}", cause, reason, process=process)

    def _set(self, name: str, after: ScaleState) -> None:
        if after != self._states.get(name):
            self._states[name] = after
            self._changed(name)


def _waiting(said: Answer) -> tuple[float | None, str]:
    """Return the number that a command printed last, None with the reason if it printed none."""
    if said.failed:
        return None, said.failed
    if _NUMBER.fullmatch(said.last) is None:
        return None, f"it printed {said.last[:_MOST_SHOWN]!r}, not a number" if said.last else "it printed nothing"
    return float(said.last), ""
