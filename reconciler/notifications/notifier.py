"""Notify one target of apps, services, origins, the proxy and the host, in a task of its own that nothing waits for.

What is sent is recorded before the target may have it, and again once it took it: a daemon killed in between sends it
once more, and a later one repeats nothing. A target that takes nothing is retried for ever, and then gets what it
missed as one message.
"""

import asyncio
import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from tenacity import AsyncRetrying, RetryError, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from reconciler.convergence.world import Report
from reconciler.linux.dataclass import dataclass
from reconciler.notifications.delivery import Delivery
from reconciler.notifications.digest import Digest, Entry
from reconciler.notifications.target import NotSent, Target
from reconciler.planning.states import (
    APP_STATES,
    ORIGIN_STATES,
    SCHEDULE_STATES,
    SERVICE_STATES,
    Severity,
    StateInfo,
)
from reconciler.planning.subject import HOST, Subject, SubjectKind

_TRIES = 5
_CHECK_EVERY_S = 5.0
_STATES: Mapping[SubjectKind, tuple[StateInfo, ...]] = {
    "app": APP_STATES, "service": SERVICE_STATES, "origin": ORIGIN_STATES, "schedule": SCHEDULE_STATES,
    "proxy": SERVICE_STATES,
}  # fmt: skip
_SEVERITIES: Mapping[tuple[SubjectKind, str], Severity] = {
    (kind, state.name): state.severity
    for kind, states in _STATES.items()
    for state in states
    if state.severity is not None
}


class Facts(Protocol):
    """Values that outlive the daemon, by name."""

    def fact(self, name: str) -> str | None: ...
    def set_fact(self, name: str, value: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Limits in seconds: trouble is reported after `delay_s`, and a subject once in `every_s`.

    Retries are at most `cap_s` apart, and each takes at most `within_s`.
    """

    every_s: float = 600.0
    delay_s: float = 5.0
    cap_s: float = 60.0
    within_s: float = 10.0


class Notifier:
    """Notifies one target.

    `redact` removes the secrets of a subject from a text; `host_failure` is what is wrong with the host, or empty;
    `failed` records why a target takes nothing, and what happens next.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        target: Target,
        facts: Facts,
        *,
        host: str,
        pace: Pace,
        redact: Callable[[Subject, str], str],
        host_failure: Callable[[], str],
        failed: Callable[[str, str], None],
    ) -> None:
        self._target = target
        self._facts = facts
        self._delivery = Delivery(target, host, within_s=pace.within_s)
        self._pace = pace
        self._redact = redact
        self._host_failure = host_failure
        self._failed = failed
        self._digest = Digest(every_s=pace.every_s, delay_s=pace.delay_s)
        self._key = "told " + hashlib.sha256(repr((str(target), target)).encode()).hexdigest()[:16]
        self._refusal = self._recorded = ""
        self._changed = asyncio.Event()
        with contextlib.suppress(
            ValueError, TypeError, AttributeError, sqlite3.Error
        ):  # what cannot be read counts as not sent
            self._digest.restore(json.loads(facts.fact(self._key) or "{}"))

    def on_report(self, subject: Subject, report: Report | None) -> None:
        """Take the newest report on an app, a service or an origin; None after its removal. Never waits."""
        if report is None:
            self._digest.forget(subject)
            return
        severity = _SEVERITIES.get((subject.kind, report.state))
        if severity is not None and (severity != "healthy" or report.settled):
            text = report.message if severity != "healthy" else ""
            if self._digest.update(subject, severity, text, _now()):
                self._changed.set()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        while True:
            self._changed.clear()
            failure = self._host_failure()
            self._digest.update(HOST, "failing" if failure else "healthy", failure, _now())
            await self._catch_up()
            due_at = self._digest.next_at()
            wait_s = _CHECK_EVERY_S if due_at is None else min(_CHECK_EVERY_S, max(0.1, due_at - _now()))
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
            await tries(self._send)
        except RetryError as error:
            why = self._redact(HOST, str(error.last_attempt.exception()))
            if why != self._refusal:
                self._failed(f"cannot notify {self._target}: {why}", f"again in {self._pace.cap_s:g} s")
            self._refusal = why
            await asyncio.sleep(self._pace.cap_s)

    async def _send(self) -> None:
        """Send what is due by now; raises NotSent."""
        entries = tuple(self._redacted(entry) for entry in self._digest.due(_now()))
        if not entries:
            return
        self._digest.begin(entries)
        self._record()
        await self._delivery.send(entries)
        self._refusal = ""
        self._digest.complete(entries, _now())
        self._record()

    def _record(self) -> None:
        reported = json.dumps(self._digest.reported())
        if reported != self._recorded:
            with contextlib.suppress(sqlite3.Error):
                self._facts.set_fact(self._key, reported)
                self._recorded = reported

    def _redacted(self, entry: Entry) -> Entry:
        return replace(entry, text=self._redact(entry.subject, entry.text))


def _now() -> float:
    return asyncio.get_running_loop().time()
