"""Pass every line of the apps' logs on to the target of the host's settings.

All that may block is done in one thread of its own, a look of about a second at a time, so neither the loop nor an app
ever waits for the target. What was sent is recorded now and then: after a crash of the daemon, the last moments are
sent again.
"""

import asyncio
import contextlib
import functools
import json
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import field
from typing import Any, TypeVar

from reconciler.convergence.ticks import next_tick
from reconciler.daemon.drains.backlog import Backlog
from reconciler.daemon.drains.followed_logs import FollowedLog, FollowedLogs
from reconciler.daemon.drains.targets import Target
from reconciler.documents.names import is_name
from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.listing import names_in
from reconciler.linux.regular_files import read_record
from reconciler.planning.reason import Reason
from reconciler.planning.wording import counted
from reconciler.settings.settings import Drain
from reconciler.state.paths import StatePaths
from reconciler.vault.secret_texts import SecretTexts

T = TypeVar("T")

GOOD_AFTER = 30  # looks: a target that fails now and then is one failure
_LARGEST_RECORD = 64 * 2**20
_LOOK_EVERY_S = 1.0
_LOOK_AT_ALL_EVERY = 30  # looks
_SAVE_EVERY = 5  # looks
_TOLD_AFTER = 3  # looks
_MOST_LISTED = 100_000
_SAVED_WITHIN_S = 2.0
_TOO_FAST = "apps write faster than lines are passed on"
_HANGS = "it does not answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How many bytes wait for the target, for how long a look reads, and after how long a target does not answer."""

    waiting_bytes: int = 8 * 2**20
    look_s: float = 1.0
    hangs_after_s: float = 30.0


@dataclass(slots=True)
class _Health:
    """The target's state. `failed` and `good` are looks in a row; `dropped` counts lines since the target was set."""

    problem: str = ""
    dropped: int = 0
    dropped_at: float = 0.0
    dropped_before: int = 0
    failed: int = 0
    good: int = 0
    good_with_lines: int = 0
    events: list[tuple[Reason, str]] = field(default_factory=list)


class LogDrain:
    """Follows the logs of `apps`, and of every other app more seldom.

    `apps` returns the logs to which processes of each app write beside its web, such as `worker.1`; `secrets` returns
    what an app was given; `record` gets what an operator should know. All are called on the loop.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        drain: Drain,
        target: Target,
        paths: StatePaths,
        *,
        limit_bytes: int,
        apps: Callable[[], Mapping[str, Iterable[str]]],
        secrets: Callable[[str], SecretTexts],
        record: Callable[[Reason, str], None],
        bounds: Bounds = Bounds(),
    ) -> None:
        self._to = drain.to
        self._target = target
        self._paths = paths
        self._limit_bytes = limit_bytes
        self._apps = apps
        self._secrets = secrets
        self._record = record
        self._bounds = bounds
        self._logs = FollowedLogs(paths.logs, drain.streams, limit_bytes=limit_bytes)
        self._backlog = Backlog(target, most_bytes=bounds.waiting_bytes)
        self._health = _Health()
        self._unfinished: deque[FollowedLog] = deque()
        self._saved: tuple[object, ...] = ()
        self._thread = DaemonThreads("drain", 1)

    async def run(self) -> None:
        """Look each second until cancelled."""
        try:
            await self.begin()
            looks, before, has_more = 0, set[str](), False
            while True:
                if not has_more:
                    await next_tick(_LOOK_EVERY_S)
                running = set(self._apps())
                has_more = await self.look(running | before, everything=looks % _LOOK_AT_ALL_EVERY == 0)
                before, looks = running, looks + 1
                if looks % _SAVE_EVERY == 0:
                    await self._threaded(self._save)
        finally:
            await self.end()

    async def begin(self) -> None:
        """Go on where the last drain of this state directory stopped; the first one begins at the ends of the logs."""
        await self._threaded(self._begin)

    async def end(self) -> None:
        """Record what was sent, and close every file; a target that hangs is left."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SAVED_WITHIN_S):
                await self._threaded(self._end)

    async def look(self, apps: Collection[str], *, everything: bool = False) -> bool:
        """Pass on what these apps have written since, or every app; return whether there is more."""
        self._logs.follow_processes(self._apps())
        changed = await self._threaded(functools.partial(self._changed, apps, everything=everything))
        secrets = {app: self._secrets(app) for app in {log.app for log in changed}}
        for log in changed:
            log.hide(secrets[log.app])
        is_told = bool(self._health.problem)
        passing = asyncio.ensure_future(self._threaded(functools.partial(self._pass_on, changed)))
        try:
            done, _ = await asyncio.wait((passing,), timeout=self._bounds.hangs_after_s)
            if not done and not is_told:
                self._health.problem, self._health.dropped_before = _HANGS, self._health.dropped
                self._record(Reason.DRAIN_FAILED, self._told(_HANGS))
            has_more = await passing
        finally:
            passing.cancel()
        events, self._health.events = self._health.events, []
        for reason, text in events:
            self._record(reason, text)
        return has_more and not self._backlog.failure

    async def _threaded(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.run(work))

    def _begin(self) -> None:
        try:
            record: Any = read_record(self._paths.drained, _LARGEST_RECORD)
            self._logs.restore(record["logs"])
            if record["to"] == self._to:
                self._health.problem, self._health.dropped = str(record["problem"]), int(record["dropped"])
                self._health.dropped_at = float(record["dropped_at"])
        except FileNotFoundError:
            self._logs.begin_at_ends(self._listed())
            self._save()
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return  # what no record says to have been sent is sent again

    def _listed(self) -> list[str]:
        try:
            return [name for name in names_in(self._paths.logs, _MOST_LISTED) if is_name(name)]
        except OSError:
            return []

    def _changed(self, apps: Collection[str], *, everything: bool) -> list[FollowedLog]:
        return self._logs.changed({*apps, *self._listed()} if everything else apps)

    def _pass_on(self, changed: list[FollowedLog]) -> bool:
        """Read and send some lines of each log in turn; return whether one has more."""
        dropped, sent, unread = self._backlog.dropped, self._backlog.sent, 0
        self._backlog.begin()
        for log in changed:
            try:
                unread += log.open(self._limit_bytes)
            except OSError:
                log.seen = None  # tried again by the next look
        self._unfinished = deque(dict.fromkeys((*self._unfinished, *changed)))
        ends_at = time.monotonic() + self._bounds.look_s
        while self._unfinished and time.monotonic() < ends_at:
            log = self._unfinished.popleft()
            with contextlib.suppress(OSError):
                if self._read(log):
                    self._unfinished.append(log)
        self._logs.close_idle(changed)
        self._judge(dropped=self._backlog.dropped - dropped, sent=self._backlog.sent - sent, unread=unread)
        return bool(self._unfinished)

    def _read(self, log: FollowedLog) -> bool:
        found, has_more = log.read()
        for entry, file, end in found:
            self._backlog.add(self._target.format(entry), log, file, end)
        return has_more

    def _judge(self, *, dropped: int, sent: int, unread: int) -> None:
        """Note what is to be told: once that lines are not passed on, and once that they have been again for a while.

        `unread` are lines of files that were rotated away before they were read.
        """
        health = self._health
        problem = self._backlog.failure or (_TOO_FAST if unread else "")
        health.failed = health.failed + 1 if problem else 0
        health.good = 0 if problem else health.good + 1
        health.good_with_lines = 0 if problem else health.good_with_lines + (sent > 0)
        if dropped or unread:
            health.dropped += dropped + unread
            health.dropped_at = time.time()  # noqa: TID251  shown to people
        if problem and not health.problem and (dropped or unread or health.failed >= _TOLD_AFTER):
            health.problem = problem
            health.dropped_before = health.dropped - dropped - unread
            self._tell(Reason.DRAIN_FAILED, self._told(problem))
        elif health.problem and health.good >= GOOD_AFTER and health.good_with_lines >= _TOLD_AFTER:
            lost = health.dropped - health.dropped_before
            health.problem = ""
            were = f"{counted(lost, 'line')} dropped meanwhile" if lost else "no line was dropped"
            self._tell(Reason.DRAIN_RECOVERED, f"logs are passed on to {self._to} again; {were}")

    def _told(self, problem: str) -> str:
        if problem == _TOO_FAST:
            lost = "lines of logs that are rotated away before they are read are dropped"
            return f"cannot pass every line on to {self._to}: {problem}; {lost}"
        room = f"{self._bounds.waiting_bytes / 2**20:.3g} MiB"
        return f"cannot pass logs on to {self._to}: {problem}; lines wait, and beyond {room} the oldest are dropped"

    def _tell(self, reason: Reason, text: str) -> None:
        self._health.events.append((reason, text))
        self._save()

    def _save(self) -> None:
        """Record how far each log was passed on, unless nothing has changed."""
        health, backlog = self._health, self._backlog
        now = (health.problem, health.dropped, backlog.sent, backlog.dropped)
        if now == self._saved:
            return
        facts = {
            "to": self._to,
            "problem": health.problem,
            "dropped": health.dropped,
            "dropped_at": health.dropped_at,
            "logs": dict(self._logs.positions()),
        }
        with contextlib.suppress(OSError):  # a full disk: more is sent again after a restart
            replace_file(self._paths.drained, json.dumps(facts), durable=False)
            self._saved = now

    def _end(self) -> None:
        self._save()
        self._logs.close()
        self._target.close()
