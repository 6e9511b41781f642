"""Canaries of apps: the second listener, its weight, and the figures by which the new revision is judged.

What is known of a canary is on record, so that the next daemon goes on with it. The weights are in the kernel: whatever
becomes of the daemon, connections are divided as they were.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from reconciler.convergence.standing_tasks import survived
from reconciler.host.app_listeners import AppListeners
from reconciler.host.release_recorder import ReleaseRecorder
from reconciler.host.runtime import Runtime
from reconciler.host.stores import Stores
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import Start
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.canary.actions import BeginCanary, CanaryAction, EndCanary, WeighCanary
from reconciler.planning.canary.weights import WHOLE, percent
from reconciler.serving.instances import Instances
from reconciler.serving.second_listeners import CannotDivide
from reconciler.state.journal import EventKind

if TYPE_CHECKING:  # most hosts have no canary
    from reconciler.host.arms import Arms
    from reconciler.planning.canary.canary import Split
    from reconciler.planning.canary.judgement import Trial

_LOOK_S = 1.0
# How often what both arms have answered is told; what makes a difference is told at once.
_TOLD_S = 5.0


class Canaries:
    """Every canary that is under way; `on_end` is awaited before one is over that clients have had answers of."""

    def __init__(
        self,
        stores: Stores,
        instances: Instances,
        listeners: AppListeners,
        releases: ReleaseRecorder,
        runtime: Runtime,
    ) -> None:
        self._stores = stores
        self._history = stores.history
        self._instances = instances
        self._listeners = listeners
        self._second = listeners.second
        self._releases = releases
        self._wakeups = runtime.wakeups
        self._tasks = runtime.tasks
        self._apps: Mapping[str, App] = {}
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, Trial] = {}
        self._undivided: dict[str, str] = {}
        self._fetched: dict[tuple[str, Address], tuple[int, str]] = {}
        self.on_end: Callable[[str], Awaitable[None]] | None = None

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn what is desired of every app."""
        self._apps = apps

    def of(self, name: str) -> "Split | None":
        """Return the canary of an app with the figures that were told last, None without one."""
        split = self._history.of(name).canary
        if split is None or not self._second.held(split.address):
            return None
        return replace(split, trial=self._told.get(name, split.trial))

    def undivided(self, name: str) -> str:
        """Return why connections of an app cannot be divided on this host, "" if they can as far as is known."""
        return self._undivided.get(name, "")

    def listener(self, name: str, revision: Revision) -> int | None:
        """Return the descriptor that an instance of a revision gets as the canary of its app, None if it is none."""
        split = self.of(name)
        if split is None or (split.revision, split.address) != (revision.id, revision.address):
            return None
        return self._second.fd(split.address)

    # Adopt what an earlier daemon began

    def fetch(self, name: str, address: Address, pid: int, revision: str) -> None:
        """Take a copy of the listener of a process that runs this revision, unless it is open already.

        A canary that is not on record, as the database was lost or could not be written, is on record from now on, and
        begins with its first share again: otherwise no process would answer the clients of one listener.
        """
        split = self._history.of(name).canary
        if split is None and self._is_unrecorded(name, address, pid, revision):
            from reconciler.planning.canary.canary import Split

            split = Split(address=address, revision=revision, step=0, since=time.monotonic())
            self._history.set_canary(name, split)
        self._listeners.fetch(name, address, pid, second=split is not None and split.revision == revision)

    def _is_unrecorded(self, name: str, address: Address, pid: int, revision: str) -> bool:
        """Return whether a process listens on a second socket at an address, where an older revision has the first."""
        oldest, of_oldest = self._fetched.setdefault((name, address), (pid, revision))
        if self._second.is_known_to(address, pid):
            return True
        if revision == of_oldest or self._listeners.is_at_first(address, pid) is not False:
            return False
        return self._listeners.is_at_first(address, oldest) is True

    def restore(self) -> None:
        """Go on with every canary that an earlier daemon has begun, and forget one of which nothing is left."""
        self._fetched.clear()
        for name, address in self._listeners.divided():
            if self._history.of(name).canary is None:  # nor is a process left of it: its listener is to close
                from reconciler.planning.canary.canary import Split

                self._history.set_canary(name, Split(address=address, revision="", since=time.monotonic()))
        for name in self._history.names():
            split = self._history.of(name).canary
            if split is not None and self._listeners.complete(name, split.address):
                with survived(f"divide the connections of {name}"):
                    self._second.weigh(split.address, split.weight, split.by)
                self._look_from_now_on(name)
            elif split is not None:
                self._history.set_canary(name, None)

    # Actions

    async def do(self, name: str, action: CanaryAction) -> None:
        """Do one of its actions. Raises CannotDivide."""
        match action:
            case BeginCanary():
                await self._begin(name, action)
            case WeighCanary():
                self._weigh(name, action)
            case EndCanary():
                await self._end(name, action)

    def started(self, name: str, text: str, action: Start) -> bool:
        """Return whether the instance that has become ready is a canary, which serves no client yet, and tell that."""
        if self.listener(name, action.revision) is None:
            return False
        self._stores.record_event(name, "ready", text, action.cause, action.reason)
        return True

    async def before_stop(self, name: str, instance: str) -> None:
        """Wait until nothing waits any more for an instance whose listener gets no new connection."""
        split, live = self.of(name), self._instances.live(name, instance)
        if split is None or live is None or not live.runs or live.record.ready_at is None:
            return
        mine = live.record.revision == split.revision
        if split.weight == (0 if mine else WHOLE):
            await self._second.emptied(split.address, second=mine)

    async def _begin(self, name: str, action: BeginCanary) -> None:
        """Open the second listener; where the kernel cannot divide, that is told, and the app goes on without."""
        from reconciler.planning.canary.canary import Split

        self._told.pop(name, None)
        split = Split(address=action.address, revision=action.revision, since=time.monotonic())
        self._history.set_canary(name, split)
        try:
            await self._listeners.open_second(name, action.address)
        except CannotDivide as error:
            self._history.set_canary(name, None)
            self._undivided[name] = str(error)
            text = f"no canary: {error}; revision {action.revision} takes over at once"
            self._stores.record_event(name, "canary", text, action.cause, action.reason)

    def _weigh(self, name: str, action: WeighCanary) -> None:
        from reconciler.planning.canary.judgement import Trial

        split = self._history.of(name).canary
        if split is None:
            return
        changed = replace(split, weight=action.weight, step=action.step, by=action.by, since=time.monotonic())
        if 0 < action.weight < WHOLE:
            changed = replace(changed, trial=Trial())
        self._history.set_canary(name, changed)  # before it is so: the next daemon makes it so again
        self._told.pop(name, None)
        self._second.weigh(split.address, action.weight, action.by)
        self._tell(name, action, split)
        self._look_from_now_on(name)
        if action.weight == WHOLE:
            self._releases.served(name, split.revision)
            self._history.served(name, split.revision)

    async def _end(self, name: str, action: EndCanary) -> None:
        self._stop_looking(name)
        split = self._history.of(name).canary
        if self.on_end is not None and split is not None and split.has_clients:
            await self.on_end(name)
        await self._second.join(action.address, promoted=action.promoted)
        self._listeners.join(name, action.address, promoted=action.promoted)
        self._history.set_canary(name, None)
        self._told.pop(name, None)

    # Judge

    def _look_from_now_on(self, name: str) -> None:
        self._stop_looking(name)
        split = self._history.of(name).canary
        if split is not None and 0 < split.weight < WHOLE:
            from reconciler.host.arms import Arms

            arms = Arms(self._instances, name, split.revision)
            self._looking[name] = self._tasks.keep(f"judge the canary of {name}", partial(self._judge, name, arms))

    def _stop_looking(self, name: str) -> None:
        looking = self._looking.pop(name, None)
        if looking is not None:
            looking.cancel()

    async def _judge(self, name: str, arms: "Arms") -> None:
        """Look once a second, until it is promoted, aborted or over."""
        from reconciler.planning.canary.canary import after_failing

        told_at = time.monotonic()
        while (split := self._history.of(name).canary) is not None and not split.harm:
            app = self._apps.get(name)
            with contextlib.suppress(CannotDivide):  # an app has the socket, too, and may have set other weights
                self._second.weigh(split.address, split.weight, split.by)
            if app is not None:
                canary = app.canary or after_failing(app.probation_s)
                look = arms.look()
                share = split.weight / WHOLE
                trial = split.trial.after(look.canary, look.others, share, canary.worse, workers=look.workers)
                harm = look.harm or trial.harm(len(canary.share))
                due = bool(harm) or time.monotonic() >= told_at + _TOLD_S
                self._history.set_canary(name, replace(split, trial=trial, harm=harm), stored=due)
                if due or split.trial.canary.answered < canary.requests <= trial.canary.answered:
                    told_at = time.monotonic()
                    self._told[name] = trial
                    self._wakeups.wake(name)
            await asyncio.sleep(_LOOK_S)

    def _tell(self, name: str, action: WeighCanary, before: "Split") -> None:
        cause = action.cause
        kind: EventKind = "canary"
        if action.weight == WHOLE:
            kind, part = "promoted", "every new connection"
        elif action.weight == 0:
            kind, part = "aborted", "no new connection"
        else:
            part = f"{percent(action.weight / WHOLE)} of new connections"
            cause = f"{percent(before.weight / WHOLE)} before; {cause}" if before.weight else cause
        self._stores.record_event(name, kind, f"revision {action.revision} gets {part}", cause, action.reason)
