"""Assess an app that is to run and whose source is known: the facts that its plan is made from, and its situation."""

from collections.abc import Iterator
from enum import Enum, auto
from typing import TYPE_CHECKING

from reconciler.planning.apps.app import App
from reconciler.planning.apps.failures import has_failed, is_known_good, retry_delay_s
from reconciler.planning.apps.observed import Failure, Instance, Observed
from reconciler.planning.apps.plan_listener import answer_at, dormant
from reconciler.planning.apps.revision import Revision
from reconciler.planning.apps.revision_choice import best_instance, desired_revision, fallback, rolled_back
from reconciler.planning.canary.weights import WHOLE

if TYPE_CHECKING:  # most apps have none
    from reconciler.planning.canary.canary import Canary

READ_AGAIN_S = 30.0
NEVER = float("inf")


class Situation(Enum):
    """The situation of an app; each has a plan of its own."""

    WAITING_FOR_INPUTS = auto()
    CANARY = auto()
    SERVING = auto()
    SLEEPING = auto()
    FALLING_BACK = auto()
    BACKING_OFF = auto()
    WAITING_FOR_APPS = auto()
    STARTING = auto()


class Assessment:
    """What is known of an app at one moment.

    `desired` is the revision that the manifest describes, `target` the one that should serve: the desired one, or the
    one an operator rolled back to. `fallback` is what can serve instead. `current` is the instance of the target that
    is to stay, `others` are all others that are alive.
    """

    def __init__(self, app: App, observed: Observed, now: float) -> None:
        assert observed.source is not None
        self.app = app
        self.observed = observed
        self.now = now
        self.source = observed.source
        self.desired = desired_revision(app, observed)
        self.target = rolled_back(app, observed) or self.desired
        self.failure = self._failure_of(self.target)
        # Without all its inputs the target is unknown: what seems to be the target may be what served last.
        self.fallback = fallback(app, None if observed.inputs.missing else self.target, observed)
        self.current = best_instance(self.target, observed)
        self.others = tuple(i for i in observed.alive if i is not self.current)
        self.dormant = dormant(app, observed)

    @property
    def situation(self) -> Situation:
        """The first of these that holds."""
        if self.observed.inputs.missing and not self.is_rolled_back:
            return Situation.WAITING_FOR_INPUTS
        if self.canary is not None and self._proves_itself():
            return Situation.CANARY
        if self.current is not None and self.current.ready:
            return Situation.SERVING
        if self._sleeps():
            return Situation.SLEEPING
        if self._needs_fallback() and not self.observed.unmet_dependencies:
            return Situation.FALLING_BACK
        if self.current is None and self.try_at > self.now:
            return Situation.BACKING_OFF
        if self.current is None and self.observed.unmet_dependencies and not self.observed.serves:
            return Situation.WAITING_FOR_APPS
        return Situation.STARTING

    @property
    def is_rolled_back(self) -> bool:
        """Whether the target is what an operator rolled back to."""
        return self.target is not self.desired

    @property
    def is_staged(self) -> bool:
        """Whether the target's build is finished."""
        return self.target.build.id in self.observed.builds

    @property
    def cannot_stage(self) -> bool:
        """Whether the target's build has to be made from a source that cannot be read."""
        return not self.is_staged and self.source.problem is not None

    @property
    def failed_to_stage(self) -> Failure | None:
        """The failure to make the target's build, None if it is finished or was not tried."""
        return self.failure if self.failure is not None and self.failure.phase == "staging" else None

    @property
    def is_proven(self) -> bool:
        """Whether the target is the revision that passed its probation last."""
        return any(p.id == self.target.id for p in self.observed.known_good[:1])

    @property
    def is_well_served(self) -> bool:
        """Whether an instance serves that has not failed."""
        return any(not has_failed(i, self.observed) for i in self.observed.serving)

    @property
    def is_waking(self) -> bool:
        """Whether a connection ended the app's sleep."""
        return self.app.may_sleep and self.observed.sleep_state.activated_at is not None

    @property
    def serving(self) -> Instance | None:
        """The first instance that serves, of whatever revision: one that has not failed, if there is any."""
        return min(self.observed.serving, key=lambda i: has_failed(i, self.observed), default=None)

    @property
    def stable(self) -> Instance | None:
        """The instance of another revision that serves well at the app's address: what a canary is compared with."""
        found = (
            i
            for i in self.observed.serving
            if i.revision != self.target.id and i.address == self.app.address and not i.detached
        )
        return next((i for i in found if not has_failed(i, self.observed)), None)

    @property
    def canary(self) -> "Canary | None":
        """How the target is tried beside what serves: as its manifest says, or with few clients if it failed some."""
        failure = self.failure
        has_failed_clients = failure is not None and (failure.kind, failure.phase) == ("rejected", "serving")
        if self.app.canary is not None or not has_failed_clients:
            return self.app.canary
        from reconciler.planning.canary.canary import after_failing  # most apps have none

        return after_failing(self.app.probation_s)

    # The clock.

    @property
    def is_withheld(self) -> bool:
        """Whether the target failed in a way that is not repeated before an edit or a request of an operator.

        Its release command may have done half of what it does, unless the manifest says that it can be run again; and
        clients are not given again to a revision that failed them while another one can serve. One more try follows
        when a service has recovered that was down then. A build that cannot be made is not tried again if only an edit
        can change that.
        """
        failure = self.failure
        if failure is None or self.observed.restart_before > failure.last_at:
            return False
        if failure.phase == "staging":
            return failure.retry == "never"
        if failure.kind != "rejected" or self.failed_in_an_outage:
            return False
        if failure.phase == "releasing":
            return not self.app.retries_release
        return failure.phase == "serving" and self._has_predecessor()

    @property
    def failed_in_an_outage(self) -> bool:
        """Whether the target last failed while a service that it uses was down, which has recovered since."""
        failure = self.failure
        return failure is not None and any(
            since < failure.last_at < until for since, until in self.observed.inputs.outages
        )

    @property
    def try_at(self) -> float:
        """When the target may be started: a rejected one later where another revision can serve instead."""
        if self.is_withheld:
            return NEVER
        return self._due_at(self.failure, beside=self.fallback is not None or self.observed.serves)

    @property
    def keeps_failing(self) -> bool:
        """Whether nothing serves and the target failed more than once, with too little time since for a good run."""
        failure, current = self.failure, self.current
        if failure is None or self.observed.serves:
            return False
        if failure.phase == "staging":
            return True
        if failure.count < 2:
            return False
        return (self.now if current is None else current.started_at) < self._forgiven_at(failure)

    @property
    def fallback_at(self) -> float:
        """When the fallback may be started; its own failures delay it, too."""
        failure = None if self.fallback is None else self._failure_of(self.fallback)
        return self._due_at(failure, beside=self.observed.serves)

    def proven_at(self, current: Instance) -> float:
        """When the current instance will have passed its probation."""
        assert current.ready_at is not None
        return max(current.ready_at + self.app.probation_s, self.observed.processes.proven_at)

    def busy_at(self, current: Instance) -> float:
        """When the current instance last had something to do."""
        activated_at = self.observed.sleep_state.activated_at
        return max(current.busy_at or -NEVER, current.ready_at or -NEVER, activated_at or -NEVER)

    def idle_at(self, current: Instance) -> float:
        """When the current instance may be put to sleep."""
        if self.dormant:
            return -NEVER
        may_sleep = self.app.may_sleep and self.app.idle_after_s is not None
        return self.busy_at(current) + (self.app.idle_after_s or 0.0) if may_sleep else NEVER

    def retry_at(self) -> float | None:
        """When what failed is tried again, None if nothing failed or nothing is tried by itself."""
        if self.failed_to_stage is not None:
            return self.try_at if self.now < self.try_at < NEVER else None
        if self.current is not None or (self.failure is None and self.observed.serves):
            return None
        times = [self.try_at] if self.observed.serves else [self.try_at, self.fallback_at]
        return min((at for at in times if self.now < at < NEVER), default=None)

    def recheck_at(self) -> float | None:
        """When time alone could change the plan, None for never."""
        return min((at for at in self._times() if self.now < at < NEVER), default=None)

    def _times(self) -> Iterator[float]:
        if self.source.problem is not None and self.source.stale:
            yield self.source.tried_at + READ_AGAIN_S
        if self.current is not None and self.current.ready:
            yield self.idle_at(self.current)
            if not self.is_proven or self.failure is not None:  # after a failure, it has recovered by then
                yield self.proven_at(self.current)
            if self.failed_to_stage is not None:
                yield self.try_at
        elif self.current is None and not (self.dormant and self._sleeps() and self.failure is None):
            yield self.try_at
            yield self.fallback_at
            if self.failure is not None and not self.observed.serves:
                yield self._forgiven_at(self.failure)
        yield answer_at(self.app, self.observed)

    # The situation.

    def _sleeps(self) -> bool:
        """Whether it is dormant, and no start is due for a new revision to pass its gate."""
        if not self.dormant or self.current is not None:
            return False
        gate_passed = self.observed.sleep_state.gate_passed
        return gate_passed in (None, self.target.id) or self.try_at > self.now

    def _proves_itself(self) -> bool:
        """Whether the target is a canary, or is to be one: it is new, and another revision serves well beside it."""
        address, split = self.app.address, self.observed.split
        if address is None or address.path or self.is_rolled_back or self.dormant or self.observed.undivided:
            return False
        if self.cannot_stage or (self.current is None and self.try_at > self.now):
            return False
        if split is not None:
            if (split.revision, split.address) != (self.target.id, address) or split.weight >= WHOLE:
                return False
            mine = [i for i in self.observed.instances if i.revision == split.revision]
            if split.harm or any(i.end is not None or has_failed(i, self.observed) for i in mine):
                return False
            if split.weight and self.current is None:
                return False  # one that starts anew has no clients, who would wait for it
            return self.stable is not None or (self.current is not None and self.current.ready)
        if is_known_good(self.target.id, self.observed) or self._is_alive():
            return False
        return self.stable is not None

    def _is_alive(self) -> bool:
        return any(i.revision == self.target.id for i in self.observed.alive)

    def _has_predecessor(self) -> bool:
        serving = (i for i in self.observed.serving if i.revision != self.target.id)
        return self.fallback is not None or any(not has_failed(i, self.observed) for i in serving)

    def _needs_fallback(self) -> bool:
        if self.fallback is None or self.is_well_served or self.dormant or self.current is not None:
            return False
        if self.fallback_at > self.now:
            return False
        if self.app.canary is not None and not is_known_good(self.target.id, self.observed):
            return True  # which then has what it is to be compared with
        return not self.is_staged or (self.failure is not None and self.failure.kind == "rejected")

    def _forgiven_at(self, failure: Failure) -> float:
        """When a start is no longer one more try of what failed: it could have had a good run since."""
        return self._after_failing(failure, beside=False) + self.app.crash.good_run_s

    def _failure_of(self, revision: Revision) -> Failure | None:
        """Return how a revision failed last; that its build could not be made is over once the build is finished."""
        failure = self.observed.failure_of(revision.id, self.app.workers_of_failures)
        if failure is not None and failure.phase == "staging" and revision.build.id in self.observed.builds:
            return None
        return failure

    def _due_at(self, failure: Failure | None, *, beside: bool) -> float:
        """When a revision that failed may be tried again: at once if a restart was requested since."""
        if failure is None or self.observed.restart_before > failure.last_at:
            return -NEVER
        return self._after_failing(failure, beside=beside)

    def _after_failing(self, failure: Failure, *, beside: bool) -> float:
        """When a revision that failed is tried again by itself."""
        return failure.last_at + retry_delay_s(self.app.crash, failure, self.app.name, beside=beside)
