"""Tell the git server of an origin how its newest commit fares, in a task that nothing waits for.

Only the latest status is told. What was told is written down, so that the next daemon does not repeat it at the same
place; a server that does not take it is told of once, and tried again ever more rarely, and as soon as the token is
another one.
"""

import asyncio
import hashlib
import json
import random
import sqlite3
from contextlib import suppress
from dataclasses import asdict
from typing import Protocol

from reconciler.convergence.backoff import Backoff
from reconciler.daemon.statuses.forges import post_of
from reconciler.daemon.statuses.posting import AWAY, NotTaken, send
from reconciler.notifications.own_thread import OwnThread
from reconciler.planning.origins.commit_status import CommitStatus, Told
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.settings.git import GitOrigin
from reconciler.settings.git_statuses import Statuses
from reconciler.settings.git_url import host_of
from reconciler.settings.tokens import token_of
from reconciler.state.journal import Journal

# A name lookup or a handshake may take longer than the time that is set for it.
_ANSWER_WITHIN_S, _WITHIN_S = 10.0, 15.0
_LOOK_AT_TOKEN_EVERY_S = 10.0
_SOON = Backoff(first_s=5.0, cap_s=900.0)
_RARELY = Backoff(first_s=900.0, cap_s=6 * 3600.0)


class Facts(Protocol):
    """Values that outlive the daemon, by name."""

    def fact(self, name: str) -> str | None: ...
    def set_fact(self, name: str, value: str) -> None: ...


class StatusReporter:
    """Tells one git server of the commits of one origin.

    `context` names this host there, and `link` is the URL of its page, "" without one.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self, origin: GitOrigin, statuses: Statuses, facts: Facts, journal: Journal, *, context: str, link: str
    ) -> None:
        self._origin = origin
        self._statuses = statuses
        self._facts = facts
        self._journal = journal
        self._context = context
        self._link = link
        self._key = f"status told of {origin.name}"
        self._place = f"{statuses.forge} {statuses.api} {statuses.project} {context}"
        self._told, self._troubles = _read(facts, self._key, self._place)
        self._wanted: CommitStatus | None = None
        self._changed = asyncio.Event()
        self._thread = OwnThread(f"statuses of {origin.name}")
        self._failures = 0
        self._sent_token, self._found_token = "", ""  # as their digests

    def tell(self, status: CommitStatus | None) -> None:
        """Take the status of the newest commit, None while it is not known. Never waits."""
        self._wanted = status
        self._changed.set()

    async def run(self) -> None:
        """Tell what is new, until cancelled."""
        while True:
            self._changed.clear()
            status = self._told.next(self._wanted)
            if status is None:
                await self._changed.wait()
                continue
            try:
                await self._thread.run(lambda status=status: self._post(status), _WITHIN_S)  # type: ignore[misc]
            except NotTaken as refusal:
                await self._pause_after(status, refusal)
            except TimeoutError:
                await self._pause_after(status, NotTaken("it does not answer in time", kind=AWAY))
            except (OSError, RuntimeError, MemoryError) as error:  # no thread or descriptor is left
                await self._pause_after(status, NotTaken(type(error).__name__))
            else:
                self._failures = 0
                self._note(self._told.with_told(status), ())

    def _post(self, status: CommitStatus) -> None:
        """Send a status. Raises NotTaken."""
        self._sent_token = ""
        try:
            token = token_of(self._statuses.token)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise NotTaken(f"cannot use the token in {self._statuses.token}: {why}") from None
        self._sent_token = _digest(token)
        post = post_of(self._statuses, status, context=self._context, link=self._link, token=token)
        send(post, self._origin.repository.ca, _ANSWER_WITHIN_S)

    async def _pause_after(self, status: CommitStatus, refusal: NotTaken) -> None:
        is_over = refusal.again == "never"
        if refusal.kind not in self._troubles:
            server = host_of(self._statuses.api)
            text = f"cannot tell {server} how commit {status.commit[:7]} fares: {refusal}"
            then = "the next status is told" if is_over else "tried again; nothing else waits for it"
            subject = Subject("origin", self._origin.name)
            self._journal.write(subject, "failed", text, then, Reason.STATUS_NOT_TAKEN)
        troubles = (*self._troubles, refusal.kind) if refusal.kind not in self._troubles else self._troubles
        self._note(self._told.with_told(status) if is_over else self._told, troubles)
        if is_over:
            self._failures = 0
            return
        self._failures += 1
        backoff = _SOON if refusal.again == "soon" else _RARELY
        await self._pause(backoff.delay_s(self._failures, random.random()), refusal, status.commit)

    async def _pause(self, pause_s: float, refusal: NotTaken, commit: str) -> None:
        """Wait until a status may be tried again: for as long as the server asks for, and not once the token differs.

        What is refused for good reason is also tried again with the next commit.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(refusal.pause_s)
        while (left_s := began + pause_s - loop.time()) > 0:
            await asyncio.sleep(min(left_s, _LOOK_AT_TOKEN_EVERY_S))
            self._found_token = ""
            with suppress(OSError, RuntimeError, MemoryError):
                await self._thread.run(self._look_at_token, _WITHIN_S)
            if self._found_token not in {"", self._sent_token}:
                self._failures = 0
                return
            if refusal.again == "rarely" and self._wanted is not None and self._wanted.commit != commit:
                return

    def _look_at_token(self) -> None:
        with suppress(OSError, ValueError):
            self._found_token = _digest(token_of(self._statuses.token))

    def _note(self, told: Told, troubles: tuple[str, ...]) -> None:
        """Write down what the server knows, and why it took no more; on a full disk, the next daemon tells it again."""
        if (told, troubles) != (self._told, self._troubles):
            self._told, self._troubles = told, troubles
            known = {"place": self._place, "told": asdict(told), "troubles": troubles}
            with suppress(sqlite3.Error):
                self._facts.set_fact(self._key, json.dumps(known))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(facts: Facts, key: str, place: str) -> tuple[Told, tuple[str, ...]]:
    """Return what an earlier daemon told at a place, and why it could not; nothing if that cannot be read."""
    with suppress(ValueError, TypeError, KeyError, AttributeError, sqlite3.Error):
        found = json.loads(facts.fact(key) or "{}")
        status = found["told"]["status"]
        told = Told(status=None if status is None else CommitStatus(**status), count=int(found["told"]["count"]))
        if found["place"] == place:
            return told, tuple(map(str, found["troubles"]))
    return Told(), ()
