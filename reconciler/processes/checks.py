"""Ask the commands of a manifest how each instance of a process is: whether it is up yet, whether it is still of use.

What they say is noted on the instance; planning decides what follows.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from typing import TypeAlias

from reconciler.convergence.standing_tasks import StandingTasks
from reconciler.planning.command_line import Command
from reconciler.planning.processes.process import Alive, Answers, AppProcess
from reconciler.planning.wording import counted
from reconciler.processes.commands import Question, answer
from reconciler.serving.live_instance import LiveInstance

_READY_EVERY_S = 1.0
_READY_TIMEOUT_S = 10.0


Asking: TypeAlias = Callable[[AppProcess, LiveInstance, Command], Question | None]
_Key: TypeAlias = tuple[str, str]  # an instance, and what is asked of it


class Checks:
    """The questions that are asked again and again, one task for each; `changed` gets the key of an instance."""

    def __init__(self, tasks: StandingTasks, asking: Asking, changed: Callable[[str], None]) -> None:
        self._tasks = tasks
        self._asking = asking
        self._changed = changed
        self._running: dict[str, dict[_Key, asyncio.Task[None]]] = {}

    def update(self, name: str, asked: AppProcess | None, lives: Iterable[LiveInstance]) -> None:
        """Ask what is to be asked of the instances of a process now, and no longer what is not."""
        wanted = {} if asked is None else dict(self._wanted(asked, lives))
        known = self._running.setdefault(name, {})
        for key in known.keys() - wanted.keys():
            known.pop(key).cancel()
        for key in wanted.keys() - known.keys():
            known[key] = self._tasks.keep(f"ask how a process of {name} is", wanted[key])
        if not known:
            del self._running[name]

    def _wanted(
        self, asked: AppProcess, lives: Iterable[LiveInstance]
    ) -> Iterator[tuple[_Key, Callable[[], Awaitable[None]]]]:
        process = asked.process
        for live in lives:
            if not live.runs or live.unhealthy is not None:
                continue
            if live.record.ready_at is None and isinstance(process.ready, Answers):
                yield (live.record.id, repr(process.ready)), partial(self._until_ready, asked, live, process.ready)
            if live.record.ready_at is not None and process.alive is not None:
                yield (live.record.id, repr(process.alive)), partial(self._while_alive, asked, live, process.alive)

    async def _until_ready(self, asked: AppProcess, live: LiveInstance, ready: Answers) -> None:
        while not live.says_ready:
            why = await self._ask(asked, live, ready.command, _READY_TIMEOUT_S)
            if why is None:
                live.says_ready = True
                self._changed(live.record.key)
                return
            await asyncio.sleep(_READY_EVERY_S)

    async def _while_alive(self, asked: AppProcess, live: LiveInstance, alive: Alive) -> None:
        failures, why = 0, None
        while failures < alive.failures:
            await asyncio.sleep(alive.interval_s)
            why = await self._ask(asked, live, alive.command, alive.timeout_s)
            failures = 0 if why is None else failures + 1
        live.unhealthy = f"its 'alive' command failed {counted(failures, 'time')} in a row, most recently: {why}"
        self._changed(live.record.key)

    async def _ask(self, asked: AppProcess, live: LiveInstance, command: Command, timeout_s: float) -> str | None:
        """Run a command, and return why it failed; None when it did not, or is not to be asked now."""
        question = self._asking(asked, live, command)
        if question is None:
            return None
        return (await answer(question, timeout_s)).failed or None
