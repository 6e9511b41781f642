"""The actions that bring one app from what is observed to what is desired.

Each carries the smallest value it needs and compares by it: "is this still the first thing to do?" is `==`. Doing an
action twice, or again after it was interrupted anywhere, comes to the same as doing it once.
"""

from collections.abc import Iterable
from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address
from reconciler.planning.apps.observed import Failure, Instance
from reconciler.planning.apps.revision import Build, Revision, Source
from reconciler.planning.canary.actions import CanaryAction
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import PlannedAction
from reconciler.planning.reason import Cause
from reconciler.planning.wording import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSource(PlannedAction):
    """Take the fingerprint of the source; `source_generation` tells one reading from the next."""

    source: Source
    source_generation: int

    @property
    def counted_as(self) -> object:
        return self.source

    def __str__(self) -> str:
        return f"read source {self.source.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(PlannedAction):
    """Make a build: snapshot, environment, finished directory.

    `revision` is what it is made for, None while that is not known. `failing` is the failure to record when the build
    cannot be made.
    """

    build: Build
    failing: Failure = field(compare=False)
    revision: Revision | None = field(default=None, compare=False, repr=False)

    @property
    def attempt(self) -> int:
        return self.failing.count

    def __str__(self) -> str:
        return f"stage build {self.build.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen(PlannedAction):
    """Open a listener, or fetch it back from an instance that holds it."""

    address: Address

    def __str__(self) -> str:
        return f"listen on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(PlannedAction):
    """Run the release command in the build and environment of a revision; `release` marks what runs.

    It runs at least once: an interrupted one runs again. `failing` is the failure to record when it fails.
    """

    release: str
    revision: Revision = field(compare=False, repr=False)
    failing: Failure = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failing.count

    def __str__(self) -> str:
        return f"run the release command of build {self.revision.build.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start(PlannedAction):
    """Start an instance of a revision with a number of workers, and wait until every worker has passed its gate.

    `failing` is the failure to record when it does not get that far; its reason and time are filled in then.
    """

    revision: Revision
    workers: int
    failing: Failure = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failing.count

    def __str__(self) -> str:
        return f"start revision {self.revision.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale(PlannedAction):
    """Change the number of workers of a running instance; it keeps serving, and no revision changes."""

    instance: str
    workers: int

    def __str__(self) -> str:
        return f"scale instance {self.instance} to {counted(self.workers, 'worker')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkGood(PlannedAction):
    """Remember a revision that passed its probation as one to fall back to."""

    revision: Revision

    def __str__(self) -> str:
        return f"mark revision {self.revision.id} as good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep(PlannedAction):
    """Stop an idle instance; its listener stays open, and the next connection wakes the app."""

    instance: str
    revision: str

    def __str__(self) -> str:
        return f"put instance {self.instance} to sleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeHoldingPage(PlannedAction):
    """Answer 503 at the listener until an instance can; `page` is the file to answer with, None for a plain one."""

    address: Address
    page: str | None

    def __str__(self) -> str:
        return f"serve the holding page on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopHoldingPage(PlannedAction):
    """Stop answering at the listener."""

    address: Address

    def __str__(self) -> str:
        return f"stop serving the holding page on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmActivation(PlannedAction):
    """Watch the listener of a sleeping app for the next connection."""

    address: Address

    def __str__(self) -> str:
        return f"wait for a connection on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reap(PlannedAction):
    """Clear away an instance that has exited, and record its failure, None when it was told to stop."""

    instance: str
    failure: Failure | None = field(compare=False)

    def __str__(self) -> str:
        return f"clean up after instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFailure(PlannedAction):
    """Record that an instance failed on probation although it is alive."""

    instance: str
    failure: Failure = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failure.count

    def __str__(self) -> str:
        return f"record the failure of instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(PlannedAction):
    """Let an instance finish its requests and end: SIGTERM, its stop timeout, SIGKILL for its whole group.

    One that never served has no requests to finish, and is killed `at_once`.
    """

    instance: str
    at_once: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        return f"stop instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlisten(PlannedAction):
    """Close a listener that the manifest does not name."""

    address: Address

    def __str__(self) -> str:
        return f"close {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveBuild(PlannedAction):
    """Remove a build that no revision worth keeping was made from."""

    build: str

    def __str__(self) -> str:
        return f"remove build {self.build}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetApp(PlannedAction):
    """Forget an app whose manifest was removed: its records, its port lease, its generated files."""

    def __str__(self) -> str:
        return "forget the app"


Action: TypeAlias = (
    ReadSource | Stage | Release | Listen | Start | Scale | ApplyLimits | MarkGood | Sleep | Stop | Reap
    | RecordFailure | Unlisten | RemoveBuild | ForgetApp | ServeHoldingPage | StopHoldingPage | ArmActivation
    | CanaryAction
)  # fmt: skip


def stops(instances: Iterable[Instance], cause: Cause) -> list[Stop]:
    """Stop each instance."""
    return [Stop(instance=i.id, at_once=not i.ready, cause=cause.text, reason=cause.reason) for i in instances]
