"""What can be done about a difference between what is asked and what is true.

Each action carries the smallest value it needs and compares by it, never by its cause: "is this still the first thing
to do?" is `==`. Doing an action twice, or after it was interrupted anywhere, must come to the same as doing it once.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from reconciler.planning.apps.observed import Failure
from reconciler.planning.desired import Address, Build, Revision, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSource:
    """Take the fingerprint of the source; `source_generation` tells one reading from the next."""

    source: Source
    source_generation: int
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"read source {self.source.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Make the build: snapshot, environment, finished directory."""

    build: Build
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"stage build {self.build.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Open the listener, or fetch it back from an instance that holds it."""

    address: Address
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"listen on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Run the release command in the build and environment of a revision; `release` is its `release_id`.

    At least once: one that was interrupted is run again. `failing` is what to remember when it does not succeed.
    """

    release: str
    revision: Revision = field(compare=False, repr=False)
    failing: Failure = field(compare=False)
    cause: str = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failing.count

    def __str__(self) -> str:
        return f"run the release command of build {self.revision.build.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Bring up an instance of a revision and wait until every worker has passed its gate.

    `failing` is what to remember when it does not get that far; its reason and time are filled in then.
    """

    revision: Revision
    failing: Failure = field(compare=False)
    cause: str = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failing.count

    def __str__(self) -> str:
        return f"start revision {self.revision.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkGood:
    """A revision got through its probation: remember it as one to go back to."""

    revision: Revision
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"note that revision {self.revision.id} is good"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Stop an instance that nobody asks for; its listener stays open, and a connection wakes the app."""

    instance: str
    revision: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"put instance {self.instance} to sleep"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeHoldingPage:
    """Answer 503 at the listener until an instance can; `page` is a file to answer with, None for a plain one."""

    address: Address
    page: str | None
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"answer for the app on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopHoldingPage:
    """Stop answering at the listener."""

    address: Address
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"stop answering for the app on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmActivation:
    """Wait for somebody to knock at the listener of a sleeping app."""

    address: Address
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"wait for a connection on {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reap:
    """End what an instance that is gone left behind, and remember the trouble, None when it was told to end."""

    instance: str
    failure: Failure | None = field(compare=False)
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"clean up after instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFailure:
    """Remember that an instance failed although it lives, before its revision had proven itself."""

    instance: str
    failure: Failure = field(compare=False)
    cause: str = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.failure.count

    def __str__(self) -> str:
        return f"note that instance {self.instance} failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Let an instance finish its requests and end: SIGTERM, its stop timeout, SIGKILL for its whole group."""

    instance: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"stop instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlisten:
    """Close a listener that nothing asks for."""

    address: Address
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"close {self.address}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveBuild:
    """Remove a build that nothing refers to."""

    build: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"discard build {self.build}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetApp:
    """Forget an app that is no longer asked for: its records, its port lease, its generated files."""

    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "forget the app"


Action: TypeAlias = (
    ReadSource | Stage | Release | Listen | Start | MarkGood | Sleep | Stop | Reap | RecordFailure | Unlisten
    | RemoveBuild | ForgetApp | ServeHoldingPage | StopHoldingPage | ArmActivation
)  # fmt: skip
