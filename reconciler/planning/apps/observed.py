"""What is true right now about one app on this host, as far as deciding needs to know it.

Times are seconds of the system's monotonic clock, which every process of one boot shares.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from reconciler.planning.desired import Address, App, Bound, Revision, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One gunicorn master: alive, or gone and not yet buried (`end` then says how it ended).

    `ready_at` is when every worker had once passed its gate, so that it serves. A `stranded` one listens on a socket
    of its own, which the daemon could not fetch back, and has to be replaced; so has an `unwell` one, whose health path
    keeps failing for the reason given. `busy_at` is when it was last seen to work on a request, None when nobody looks.
    `note` is what one of its workers says of itself. `fallen` counts the workers that died on their own.
    """

    id: str
    revision: str
    build: str
    address: Address
    pid: int
    started_at: float
    ready_at: float | None = None
    stopping_since: float | None = None
    detached: bool = False
    unhealthy: str | None = None
    busy_at: float | None = None
    note: str | None = None
    workers_died: int = 0
    end: str | None = None

    @property
    def ready(self) -> bool:
        """True once every worker had passed its gate."""
        return self.ready_at is not None

    @property
    def serves(self) -> bool:
        """True while it accepts requests: ready, alive and not told to stop."""
        return self.ready and self.end is None and self.stopping_since is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A revision that failed `count` times without a good run between: `crashed` after it had proven itself, or `bad`.

    Bad is what never proved itself: it failed its gate or its release command, or died on probation.
    """

    revision: str
    kind: Literal["crashed", "rejected"]
    count: int
    last_at: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The last successful look at an app's source, which source that was, and whether it may have changed since.

    A look that failed leaves the last content in force; `problem` says why, `tried_at` when.
    """

    source: Source
    content: str
    stale: bool = False
    problem: str | None = None
    tried_at: float = 0.0


OverrideKind: TypeAlias = Literal["stopped", "rolled back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A one-off wish of an operator, which holds as long as what it was said about does.

    `about` is the fingerprint of the manifest's app for a stop, the id of the wanted revision for a rollback.
    """

    kind: OverrideKind
    holds_for: str
    revision: Revision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepState:
    """What is known of an app that may sleep: the revision that was gated before it slept, and when one knocked."""

    gate_passed: str | None = None
    activated_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalInputs:
    """What an app gets from outside its manifest and its source: credentials of services, secrets from files.

    `bound` are the bindings it asks for that are ready, in its order; `env_secrets` the ids of the values of its
    variables. `missing` says what is not there yet, and why, each in an operator's words; `again_at` is when that is
    tried again, monotonic seconds, `failures` how often it failed in a row. `stale` says what is there and is not the
    newest. `held` are all the credentials that open something, by service, asked for or not.
    """

    bound: tuple[Bound, ...] = ()
    env_secrets: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    again_at: float | None = None
    failures: int = 0
    stale: tuple[str, ...] = ()
    held: Mapping[str, Bound] = field(default_factory=dict)

    def revision(self, app: App, content: str) -> Revision:
        """What should run of an app that is supplied with this."""
        return app.revision(content, self.bound, self.env_secrets)

    def todays(self, earlier: Revision) -> Revision | None:
        """An earlier revision with the credentials of today, as its own are taken back; None when it has none today."""
        if not earlier.bindings:
            return earlier
        found = tuple(self._todays(bound) for bound in earlier.bindings)
        bindings = tuple(bound for bound in found if bound is not None)
        if bindings == earlier.bindings:
            return earlier
        return replace(earlier, bindings=bindings) if len(bindings) == len(found) else None

    def _todays(self, bound: Bound) -> Bound | None:
        now = self.held.get(bound.service)
        if now is None or now.instance != bound.instance:
            return None
        return replace(bound, grant=now.grant, credentials=now.credentials)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything known of one app.

    `changes` counts how often its source was seen to change, so that two wishes to read it can be told apart.
    `builds` are the finished ones, oldest first; `released` marks the release commands that have worked. `proven` are
    the revisions that got through their probation, newest first. `unserved_since` is since when clients may be waiting
    at an open listener, None while something serves. `holding` are the listeners at which the daemon itself answers,
    `attended` those at which it waits for somebody to knock. Instances started before `restart_before` are to be
    replaced. `absent` are the apps it depends on that do not serve, `leaning` those that depend on it and are still up.
    `traces` is True when anything else is kept for the app that removing it would have to clean up.
    """

    source: SourceState | None = None
    source_generation: int = 0
    builds: tuple[str, ...] = ()
    released: frozenset[str] = frozenset()
    listeners: frozenset[Address] = frozenset()
    holding: frozenset[Address] = frozenset()
    armed: frozenset[Address] = frozenset()
    instances: tuple[Instance, ...] = ()
    failures: tuple[Failure, ...] = ()
    known_good: tuple[Revision, ...] = ()
    override: Override | None = None
    sleep_state: SleepState = SleepState()
    restart_before: float = float("-inf")
    unserved_since: float | None = None
    unmet_dependencies: tuple[str, ...] = ()
    stopping_dependents: tuple[str, ...] = ()
    has_residue: bool = False
    inputs: ExternalInputs = ExternalInputs()

    @property
    def alive(self) -> tuple[Instance, ...]:
        """The instances that are not gone."""
        return tuple(i for i in self.instances if i.end is None)

    @property
    def serves(self) -> bool:
        """True while any instance accepts requests."""
        return any(i.serves for i in self.instances)

    def failure_of(self, revision: str) -> Failure | None:
        """How a revision failed lately, None when it did not."""
        return next((t for t in self.failures if t.revision == revision), None)
