"""The observed state of one process of an app, as far as planning needs it; times are monotonic seconds."""

from collections.abc import Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.processes.process import Target
from reconciler.planning.processes.stop import StopSequence
from reconciler.planning.reason import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessInstance:
    """One running program of a process, or one that has exited and is not yet reaped: `end` says how it ended.

    `slot` is its number, from 1. `version` is what it runs. `stop` is how it is stopped, `steps` how many steps of that
    were taken. `says_ready`: it, or its ready command, said so. `hung` is why it is no longer of use although it is
    alive; a `silent` one says nothing any more, so that it is not likely to obey. `said` is its last line.
    `limits` and what follows are as those of an instance of an app.
    """

    id: str
    slot: int
    version: str
    revision: str
    build: str
    pid: int
    started_at: float
    stop: StopSequence
    steps: int = 0
    ready_at: float | None = None
    stopping_since: float | None = None
    end: str | None = None
    said: str = ""
    says_ready: bool = False
    hung: str | None = None
    silent: bool = False
    limits: Limits | None = NO_LIMITS
    unenforced: str = ""
    lacks: str = ""
    outgrown: str = ""
    exceeded: str = ""

    @property
    def runs(self) -> bool:
        """Whether it is alive and was not told to stop."""
        return self.end is None and self.stopping_since is None

    @property
    def drains(self) -> bool:
        """Whether it is alive and finishes what it works on."""
        return self.end is None and self.stopping_since is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash:
    """The last of `count` crashes in a row of what one slot ran, none of them after a good run.

    It `blames` the revision when that had run for less than the app's probation.
    """

    count: int
    last_at: float
    reason: str
    version: str
    blames: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleState:
    """How many of a process are to run by what waits for it, and why; `count` is None before that is known.

    `trouble` is why it cannot be told just now, so that the number stays.
    """

    count: int | None = None
    cause: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedProcess:
    """The observed state of one process.

    `target` is what it is to run, None as long as no revision of the app has served; `trouble` is why there is none
    although one has. `lacking` says which variables from files there are not, `stale` which are out of date. `held` is
    why none of it is to run. `crashes` are by slot. Instances started before `restart_before` are to be replaced.
    `is_locked`: something of a single process holds its lock. `outlived`: that is what an instance left which has
    ended, and nothing else is ending it. `scaling` is about one whose number is chosen by what waits for it.
    """

    target: Target | None = None
    trouble: str = ""
    lacking: tuple[str, ...] = ()
    stale: tuple[str, ...] = ()
    held: Cause | None = None
    instances: tuple[ProcessInstance, ...] = ()
    crashes: Mapping[int, Crash] = field(default_factory=dict)
    restart_before: float = float("-inf")
    is_locked: bool = False
    outlived: bool = False
    has_residue: bool = False
    scaling: ScaleState = ScaleState()

    @property
    def alive(self) -> tuple[ProcessInstance, ...]:
        """The instances that have not exited."""
        return tuple(i for i in self.instances if i.end is None)
