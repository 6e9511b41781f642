"""The observed state of one app on this host, as far as planning needs it.

Times are seconds of the system's monotonic clock, which all processes of one boot share.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address, both
from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import CodeCommands
from reconciler.planning.apps.retry import Retry
from reconciler.planning.apps.revision import Bound, Revision, Source
from reconciler.planning.isolation.limits import NO_LIMITS, Limits

if TYPE_CHECKING:  # most hosts have no canary, and most apps a number of workers
    from reconciler.planning.canary.canary import Split
    from reconciler.planning.scaling.observed import ScalingState


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One running program of an app, or one that has exited and is not yet reaped: `end` then says how it ended.

    `address` is None for a program without a listener, `beside` the port at which it listens as well. `workers` is how
    many it was last set to run. `ready_at` is when all of them had passed their gate, so that it serves. A `detached`
    one listens on a socket that the daemon could not fetch back, and has to be replaced; so has an `unhealthy` one,
    whose probes fail for the reason given. `busy_at` is when it last worked on a request, None when that is not
    measured. `note` is a message of one of its workers;
    `workers_died` counts the workers that exited on their own, `worker_end` says how the last of them did. `said` is
    the last line that the app wrote before that, or before the instance's own end. `failed_start` is why it cannot
    become ready, once that is known: it is being ended. A `never_idle` one has workers that do not count their
    requests, so that they may be busy at any time. `stop_timeout_s` is how long it may take to finish its requests,
    `program` is what messages call it. `pid` is 0 for the revision in force of an app without a web server.
    `limits` are those in force, None if that is not known, and `unenforced` says which of them the kernel does not
    hold. `lacks` says which parts of its isolation are missing. `outgrown` says how near it is to a limit when a new
    instance is to take over for that, `exceeded` which limit
    was exceeded lately.
    """

    id: str
    revision: str
    build: str
    address: Address | None
    pid: int
    started_at: float
    workers: int
    ready_at: float | None = None
    stopping_since: float | None = None
    detached: bool = False
    unhealthy: str | None = None
    busy_at: float | None = None
    note: str | None = None
    workers_died: int = 0
    worker_end: str = ""
    end: str | None = None
    said: str = ""
    failed_start: str | None = None
    never_idle: bool = False
    stop_timeout_s: float = 30.0
    program: str = "gunicorn"
    limits: Limits | None = NO_LIMITS
    unenforced: str = ""
    lacks: str = ""
    outgrown: str = ""
    exceeded: str = ""
    beside: Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens: nowhere, at one address, or at a socket and a port beside it."""
        return both(self.address, self.beside)

    @property
    def called(self) -> str:
        """What messages call it: its program with its pid, or its revision where it has none."""
        return f"{self.program} {self.pid}" if self.pid else f"revision {self.revision}"

    @property
    def in_force(self) -> str:
        """The sentence that it has taken over."""
        return f"{self.called} serves revision {self.revision}" if self.pid else f"{self.called} is in force"

    @property
    def ready(self) -> bool:
        """Whether all its workers have passed their gate."""
        return self.ready_at is not None

    @property
    def serves(self) -> bool:
        """Whether it accepts requests: ready, alive and not told to stop."""
        return self.ready and self.end is None and self.stopping_since is None


FailurePhase: TypeAlias = Literal["staging", "releasing", "starting", "serving"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A revision that failed `count` times without a good run between.

    A known good revision `crashed`. Any other one was `rejected`, in a `phase`: as its build could not be made, by its
    release command, by its gate, or on probation, after it had served clients. `workers` is the number it failed with,
    0 when that is not known: with another number of workers it may succeed. `retry` is of a build.
    """

    revision: str
    kind: Literal["crashed", "rejected"]
    count: int
    last_at: float
    reason: str
    workers: int = 0
    phase: FailurePhase = "starting"
    retry: Retry = "soon"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceState:
    """The fingerprint of an app's source when it was last read; `stale` says that it may have changed since.

    A reading that failed leaves the last content in force; `problem` says why it failed, `tried_at` when. `busy` says
    that a file of it is written again and again, so that its changes take effect less and less often.
    """

    source: Source
    content: str
    stale: bool = False
    problem: str | None = None
    tried_at: float = 0.0
    busy: str | None = None


OverrideKind: TypeAlias = Literal["stopped", "maintenance", "rolled back"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """A request of an operator that holds until what it was made about changes.

    `holds_for` is the fingerprint of the app for a stop and for maintenance, the id of its revision without bindings
    for a rollback.
    """

    kind: OverrideKind
    holds_for: str
    revision: Revision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWorkers:
    """A number of workers that an operator asked for, whatever the manifest and the load say.

    It `holds_for` these workers of the manifest, and for so many seconds if a time was given: until `until`, monotonic
    seconds, which `ends_at` says as wall-clock seconds.
    """

    workers: int
    holds_for: str
    for_s: float | None = None
    until: float | None = None
    ends_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SleepState:
    """An app's sleep: the id of the revision that passed its gate before it, and when the last connection ended it."""

    gate_passed: str | None = None
    activated_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalInputs:
    """Credentials and secrets that an app receives from services and files.

    `bound` are its bindings that are ready, in the manifest's order; `env_secrets` the ids of the values of its secret
    variables. `missing` says what is not there yet and why; `again_at` is when that is tried again, `failures` how
    often it failed in a row. `stale` says what is there but not the newest, `down` which bound service does not answer
    and why. `outages` are the last times at which bound services did not, from when to when each, which are over.
    `held` are all credentials that work, by service, whether the manifest names the service or not.
    """

    bound: tuple[Bound, ...] = ()
    env_secrets: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    again_at: float | None = None
    failures: int = 0
    stale: tuple[str, ...] = ()
    down: tuple[str, ...] = ()
    outages: tuple[tuple[float, float], ...] = ()
    held: Mapping[str, Bound] = field(default_factory=dict)

    def revision(self, app: App, content: str) -> Revision:
        """Return the revision of an app with these inputs."""
        return app.revision(content, self.bound, self.env_secrets)

    def todays(self, earlier: Revision) -> Revision | None:
        """Return an earlier revision with today's credentials, since its own may be revoked; None if any is missing."""
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
class ProcessFailure:
    """A required process of a revision, or what runs of it elsewhere, that failed on probation; `reason` says how."""

    revision: str
    reason: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStandings:
    """What the processes of an app that are not web say of it.

    `failures` blame a revision each; `ailing` says of each process that is not well what is wrong with it. `proven_at`
    is when all that run will have passed their probation. `underway` says what the place of an app that runs elsewhere
    is still doing: until it is done, what serves here goes on.
    """

    failures: tuple[ProcessFailure, ...] = ()
    ailing: tuple[str, ...] = ()
    proven_at: float = float("-inf")
    underway: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The observed state of one app.

    `source_generation` counts the changes of its source, so that two actions to read it differ. `builds` are the
    finished ones, oldest first; `commands` are what the code of some of them asks to run before they serve; `released`
    marks the release commands that succeeded. `known_good` are the revisions
    that passed their probation, newest first. `unserved_since` is since when clients may be waiting at an open
    listener, None while an instance serves at each. `ceded` are addresses at which instances listen although another
    app desires them and serves there. `holding` are the listeners on which the daemon serves the holding page,
    `armed` those it watches for a connection. Instances started before `restart_before` are to be replaced.
    `unmet_dependencies` are the apps it depends on that do not serve, `unknown_dependencies` those of them that no
    manifest describes, `stopping_dependents` the apps that depend on it and still have to stop. `has_residue` says that
    records of the app are left. `written` are files that the app has written into a build, which goes with a later
    deploy. `builds_in_use` are those that something of the app uses beside its instances: a process, a task.
    `processes` is what those say that are not web. `dialled` are listeners at which the proxy still reaches the app.
    `split` is the division of its address while a canary is under way, `undivided` why there can be none here.
    """

    source: SourceState | None = None
    source_generation: int = 0
    builds: tuple[str, ...] = ()
    commands: Mapping[str, CodeCommands] = field(default_factory=dict)
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
    ceded: frozenset[Address] = frozenset()
    unmet_dependencies: tuple[str, ...] = ()
    unknown_dependencies: tuple[str, ...] = ()
    stopping_dependents: tuple[str, ...] = ()
    has_residue: bool = False
    inputs: ExternalInputs = ExternalInputs()
    written: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    builds_in_use: frozenset[str] = frozenset()
    processes: ProcessStandings = ProcessStandings()
    dialled: frozenset[Address] = frozenset()
    scaling: "ScalingState | None" = None
    split: "Split | None" = None
    undivided: str = ""
    held_workers: HeldWorkers | None = None

    @property
    def alive(self) -> tuple[Instance, ...]:
        """The instances that have not exited."""
        return tuple(i for i in self.instances if i.end is None)

    @property
    def serves(self) -> bool:
        """Whether any instance accepts requests at an address that is not another app's by now."""
        return bool(self.serving)

    @property
    def serving(self) -> tuple[Instance, ...]:
        """The instances that accept requests at an address that is not another app's by now."""
        return tuple(i for i in self.instances if i.serves and self.ceded.isdisjoint(i.addresses))

    def serves_at(self, address: Address | None) -> bool:
        """Whether an instance accepts requests at this address."""
        return any(address in i.addresses for i in self.serving)

    def is_canary(self, revision: str) -> bool:
        """Whether instances of this revision have the second listener of a canary."""
        return self.split is not None and self.split.revision == revision

    def failure_of(self, revision: str, workers: int | None = None) -> Failure | None:
        """Return the recorded failure of a revision, None if there is none, or if it had another number of workers."""
        known = next((failure for failure in self.failures if failure.revision == revision), None)
        if known is None or workers is None or known.workers in (0, workers):
            return known
        return None
