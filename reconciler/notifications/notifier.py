"""Reports in; messages to one target out, in a task of its own that nothing waits for.

What is told is written down before the target may have it and once it took it: a daemon killed in between tells it
once more, and one started later repeats nothing. A target that takes nothing is tried again for ever, and what it
missed is one message then.
"""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from reconciler.convergence.world import Report
from reconciler.notifications.delivery import Delivery
from reconciler.notifications.digest import Digest, Entry, Severity
from reconciler.notifications.targets import Target
from reconciler.notifications.transports import NotSent
from reconciler.planning.subject import HOST, Subject

_TRIES = 5
_LOOK_EVERY_S = 5.0
_STANDINGS: dict[str, Severity] = {
    "failing": "failing",
    "invalid": "failing",
    "degraded": "degraded",
    "running": "healthy",
    "sleeping": "healthy",
    "stopped": "healthy",
    "maintenance": "healthy",
    "ready": "healthy",
    "retained": "healthy",
}


class Facts(Protocol):
    """What outlives the daemon, by name."""

    def fact(self, name: str) -> str | None: ...
    def set_fact(self, name: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds: nothing is told before it stood for `settle_s`, nor twice in `every_s`; tries `cap_s` apart at most.

    A try takes `within_s` at most.
    """

    every_s: float = 600.0
    settle_s: float = 5.0
    cap_s: float = 60.0
    within_s: float = 10.0


class Notifier:
    """Tells one target how the apps and the host stand.

    `mask` hides what is secret of an app, a service or the host in a text; `trouble` is the host's own, or empty.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        target: Target,
        facts: Facts,
        *,
        host: str,
        pace: Pace,
        mask: Callable[[Subject, str], str],
        trouble: Callable[[], str],
        failed: Callable[[str, str], None],
    ) -> None:
        self._target = target
        self._facts = facts
        self._delivery = Delivery(target, host, within_s=pace.within_s)
        self._pace = pace
        self._mask = mask
        self._trouble = trouble
        self._failed = failed
        self._news = Digest(every_s=pace.every_s, settle_s=pace.settle_s)
        self._key = "told " + hashlib.sha256(repr((str(target), target)).encode()).hexdigest()[:16]
        self._refused = self._written = ""
        self._changed = asyncio.Event()
        with contextlib.suppress(
            ValueError, TypeError, AttributeError, sqlite3.Error
        ):  # what is unreadable was not told
            self._news.restore(json.loads(facts.fact(self._key) or "{}"))

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report on an app or a service; None once it is gone. Never waits."""
        if report is None:
            self._news.gone(subject)
            return
        standing = _STANDINGS.get(report.state)
        if standing is not None and (standing != "healthy" or report.settled):
            text = report.message if standing != "healthy" else ""
            if self._news.stands(subject, standing, text, _now()):
                self._changed.set()

    async def run(self) -> None:
        """Tell what is due, until cancelled."""
        while True:
            self._changed.clear()
            trouble = self._trouble()
            self._news.stands(HOST, "failing" if trouble else "healthy", trouble, _now())
            await self._catch_up()
            due_at = self._news.next_at()
            wait_s = _LOOK_EVERY_S if due_at is None else min(_LOOK_EVERY_S, max(0.1, due_at - _now()))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _catch_up(self) -> None:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(NotSent),
            stop=stop_after_attempt(_TRIES),
            wait=wait_random_exponential(multiplier=1, max=self._pace.cap_s),
        )
        try:
            await tries(self._bring)
        except RetryError as error:
            why = self._mask(HOST, str(error.last_attempt.exception()))
            if why != self._refused:
                self._failed(f"cannot notify {self._target}: {why}", f"again in {self._pace.cap_s:g} s")
            self._refused = why
            await asyncio.sleep(self._pace.cap_s)

    async def _bring(self) -> None:
        """Bring what is due by now; raises NotSent."""
        items = tuple(self._masked(item) for item in self._news.due(_now()))
        if not items:
            return
        self._news.trying(items)
        self._write_down()
        await self._delivery.send(items)
        self._refused = ""
        self._news.tell(items, _now())
        self._write_down()

    def _write_down(self) -> None:
        told = json.dumps(self._news.told())
        if told != self._written:
            with contextlib.suppress(sqlite3.Error):
                self._facts.set_fact(self._key, told)
                self._written = told

    def _masked(self, item: Entry) -> Entry:
        return replace(item, text=self._mask(item.subject, item.text))


def _now() -> float:
    return asyncio.get_running_loop().time()
