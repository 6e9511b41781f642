"""Follow one origin in git: observe, plan, do the first action, look again."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from reconciler.linux.process_identity import boot_id
from reconciler.manifests import last_answer
from reconciler.manifests.git import record as records
from reconciler.manifests.git.effects import AGAIN_S, FIRST_PROOF_S, Effects, now_s
from reconciler.manifests.git.fleet_record import clock_s
from reconciler.manifests.git.objects import CannotFetch, DamagedStore
from reconciler.manifests.git.telling import verb_of
from reconciler.planning.origins import actions
from reconciler.planning.origins.observed import FetchFailure, ObservedOrigin
from reconciler.planning.origins.plan import OriginPlan, plan
from reconciler.planning.origins.proof import is_good, rejected, unbuilt, why_failed
from reconciler.planning.origins.webhook import LEAST_APART_S, QUICK_S, SLOW_S, looks_after_call

# After a request to look that found nothing new: a replica of the server may be behind.
_LOOKS_AFTER_REQUEST_S = (2.0, 5.0, 15.0)
_LONGEST_PROOF_S = 60.0


class Follower(Effects):
    """Follows one origin until cancelled."""

    _called_at: float | None = None
    _quick_at: float | None = None
    _measured: tuple[str | None, str | None] | None = None
    _done: actions.Action | None = None

    # What operators request

    @property
    def observed(self) -> ObservedOrigin:
        """What is true of the origin, as it was last observed."""
        return self._observed

    def wake(self) -> None:
        """Have the origin observed again soon."""
        self.is_at_rest = False
        self._wake.set()

    def look_now(self) -> int:
        """Fetch now; return the number of looks that are over once that is done."""
        self._looks_due, self._is_wanted = list(_LOOKS_AFTER_REQUEST_S), True
        self._proof_s = FIRST_PROOF_S
        self._observed = replace(self._observed, due_at=0.0)
        self.wake()
        return self.looks + (2 if self._is_fetching else 1)

    def hook(self) -> None:
        """Fetch soon, as the webhook was called; a server that had too many requests is left alone until its time.

        One commit that was fetched stays what it is, whatever is pushed.
        """
        self._called_at = now_s()
        failure, monotonic = self._observed.failure, time.monotonic()
        is_there = bool(self.origin.commit) and self.record.head is not None and failure is None
        if not is_there and (failure is None or failure.code != "rate-limited"):
            looks = looks_after_call(None if self._quick_at is None else monotonic - self._quick_at)
            self._quick_at = monotonic if looks is QUICK_S else self._quick_at
            self._looks_due = [*max(looks, self._looks_due, key=len)]
            # What was found has to be acted on between two looks, however many calls come.
            soon = max(monotonic, self._fetched_at + LEAST_APART_S)
            self._observed = replace(self._observed, due_at=min(self._observed.due_at, soon))
            self._proof_s = FIRST_PROOF_S
        self.wake()

    def caught_up(self) -> None:
        """Look less often after a call of the webhook: the server shows what was pushed, though of something else."""
        if len(self._looks_due) > len(SLOW_S):
            self._looks_due[:] = SLOW_S

    def request(self, change: Callable[[records.Record], records.Record]) -> None:
        """Have what an operator requested written down and acted on, as soon as the action under way is done."""
        self._requests.append(change)
        self.wake()

    # The loop

    async def run(self) -> None:
        """Follow the origin until cancelled."""
        await self.begin()
        while True:
            self._wake.clear()
            planned = await self.step()
            if planned.action is not None:
                continue
            self.is_at_rest = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rest_s()):
                    await self._wake.wait()

    async def once(self) -> None:
        """Fetch once, and go on until nothing is left to do, or something failed."""
        await self.begin()
        while True:
            planned = await self.step()
            if planned.action is None or (self._observed.failure is not None and self.looks):
                return

    async def begin(self) -> None:
        """Recall what an earlier daemon knew, and remove what it left half done. Raises OSError."""
        await asyncio.to_thread(self._prepare)
        with contextlib.suppress(OSError, TimeoutError):
            await self._store.clean()
        self.record = await asyncio.to_thread(self._recalled)
        self._observed = ObservedOrigin(began_at=now_s(), is_untidy=True)

    def _recalled(self) -> records.Record:
        record = records.read(self._directory / "record.json")
        return replace(record, heard_at=last_answer.noted(self._directory) or record.heard_at)

    def _prepare(self) -> None:
        self._git.prepare()
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def step(self) -> OriginPlan:
        """Observe, tell, and do the first action that is due; return the plan that it was of."""
        await self._note_call()
        while self._requests:
            await self._remember(self._requests[0](self.record))
            del self._requests[0]
        await self._observe()
        planned = self.plan()
        if planned.action is None or isinstance(planned.action, (actions.Tidy, actions.Report)):
            await self._measure()  # a commit that is on its way does not wait for that
        self._telling.tell(self.origin, self.record, self._observed, planned)
        if planned.action is not None:
            self.is_at_rest = False
            failures = 0 if self._observed.failure is None else self._observed.failure.count
            is_look = isinstance(planned.action, actions.Fetch)
            is_first = planned.action != self._done  # what is done twice in a row leads nowhere
            self._done = planned.action
            try:
                await self._do(planned.action)
                is_unfinished = is_look or (self._observed.is_unfinished and is_first)
                self._observed = replace(self._observed, is_unfinished=is_unfinished)
            except (OSError, TimeoutError) as error:
                self._observed = replace(self._observed, is_unfinished=False)
                self._telling.cannot(self.origin, verb_of(planned.action), error)
                if isinstance(planned.action, actions.Fetch):
                    self._note_failure(error, 1 + failures)
                await self._pause_before_retry(planned.action)
        return planned

    def _note_failure(self, error: Exception, count: int) -> None:
        """Note that this host itself kept a fetch from being made or noted, for so many times in a row."""
        text = getattr(error, "strerror", None) or str(error) or "it took too long"
        place = getattr(error, "filename", None)
        why = f"this host cannot fetch: {text}{f' ({place})' if place else ''}"
        self._observed = replace(self._observed, failure=FetchFailure(code="other", why=why, count=count))

    async def _note_call(self) -> None:
        """Write down when the webhook was called last; where that cannot be written, the look is made all the same."""
        called_at, self._called_at = self._called_at, None
        if called_at is not None:
            with contextlib.suppress(OSError):
                await self._remember(replace(self.record, webhook=self.record.webhook.called(called_at)))

    def plan(self) -> OriginPlan:
        """Return the plan for what was last observed."""
        return plan(
            self._observed,
            now=now_s(),
            monotonic=time.monotonic(),
            stale_after_s=self.origin.repository.stale_after_s,
        )

    async def _observe(self) -> None:
        in_force, trees, base, trust = await asyncio.to_thread(
            lambda: (self._trees.in_force(), self._trees.complete(), self._trees.base_of_trial(), self._trust())
        )
        if self.record.accepted is None and in_force is not None:  # the record was lost
            await self._remember(replace(self.record, accepted=base or in_force))
        self._observed = replace(
            self._observed,
            head=self.record.head,
            accepted=self.record.accepted,
            in_force=in_force,
            good=self.record.good,
            trees=trees,
            verdict=self.record.verdict,
            pause=None if self.record.pause is None else self.record.pause.by_machine(boot_id(), clock_s(), now_s()),
            trust=trust,
            heard_at=self.record.heard_at,
            failed="",
            rejected=None,
            unbuilt=None,
            trial=self.record.trial,
            base=base,
            is_trial_up_to_date=False,
        )
        # The tag that led to the commit in force is known only of the one that is accepted.
        if in_force is not None and in_force == self.record.accepted and not self.record.is_accepted_good:
            await self._judge_apps(in_force)
        elif in_force is not None and in_force == self.record.trial.commit != self.record.accepted:
            self._judge_apps_on_trial(in_force)
        await self._observe_fleet()

    async def _observe_fleet(self) -> None:
        """Note which commit the fleet lets this host go to: while that cannot be found out, the one that it has."""
        try:
            self._observed = await self.fleet.observed(self._observed, self.record)
        except (DamagedStore, CannotFetch, OSError, TimeoutError) as error:
            await self._wait_for_rules(error)

    async def _wait_for_rules(self, error: Exception) -> None:
        stays = self._observed.stands_at
        if stays == self._observed.head:
            return  # there is nothing to take
        if isinstance(error, DamagedStore):
            await self._renewed(str(error))
        why = f"the rules of the fleet cannot be read: {str(error) or 'it took too long'}"
        self._observed = replace(self._observed, goal=stays or "", waits=why)

    def _judge_apps_on_trial(self, in_force: str) -> None:
        """Note how the apps are with the commit on trial; and which fail because of it, if it is left for that."""
        apps, with_good = self._apps.with_commit(self.origin.name, in_force), self.record.wanted_with_good
        if apps is not None:
            failed = why_failed(apps, with_good) if self.origin.returns else ""
            self._observed = replace(self._observed, failed=failed, is_trial_up_to_date=is_good(apps, with_good))

    async def _measure(self) -> None:
        """Note how far the commit in force is behind, and how much was fetched, where either commit is another one."""
        head, in_force = self.record.head, self._observed.in_force
        if (head, in_force) == self._measured:
            return
        self._measured = (head, in_force)
        is_known = head is not None and in_force is not None
        behind = await self._store.distance(str(in_force), str(head)) if is_known else None
        size = await asyncio.to_thread(self._store.size)
        self._observed = replace(self._observed, behind=behind, store_bytes=size)

    async def _judge_apps(self, in_force: str) -> None:
        """Note that the commit in force is good, or which apps fail because of it, if it is to be left for that."""
        apps, record = self._apps.with_commit(self.origin.name, in_force), self.record
        if apps is not None and is_good(apps, record.wanted_with_good):
            try:
                await self._remember(record.with_accepted_good())
            except OSError as error:
                self._telling.cannot(self.origin, "write down that a commit is good", error)
                return  # with the next look; nothing else waits for it
            self._observed = replace(self._observed, good=in_force)
            return
        stays = in_force in {record.good, record.taken} or bool(self.origin.commit) or not self.origin.returns
        failed = "" if stays or apps is None else why_failed(apps, record.wanted_with_good)
        self._observed = replace(
            self._observed,
            failed=failed,
            rejected=None if apps is None else rejected(apps, record.wanted_with_good),
            unbuilt=None if apps is None else unbuilt(apps, record.wanted_with_good),
        )

    def _trust(self) -> str:
        """Return what identifies all that a commit is judged by. Blocks."""
        return f"{self._in_force.surroundings(self.origin)} {self._signatures.trust()} {self.record.tag_id}".rstrip()

    def _rest_s(self) -> float:
        rest_s = max(0.0, self._observed.due_at - time.monotonic())
        if self._observed.in_force is not None and self._observed.good != self._observed.in_force:
            self._proof_s = min(2 * self._proof_s, _LONGEST_PROOF_S)
            rest_s = min(rest_s, self._proof_s)
        pause = self._observed.pause
        if pause is not None and pause.until is not None:
            rest_s = min(rest_s, max(0.0, pause.until - now_s()))
        return min(rest_s, self.fleet.rest_s())

    async def _pause_before_retry(self, action: actions.Action) -> None:
        if isinstance(action, actions.Tidy):
            self._observed = replace(self._observed, is_untidy=False)
            return
        await self._pause(AGAIN_S)
