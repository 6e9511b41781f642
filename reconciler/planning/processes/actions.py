"""The actions that bring one process of an app from what is observed to what is desired.

None of them waits for a program to end or to be ready: that takes as long as it takes, and is observed.
"""

from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import PlannedAction
from reconciler.planning.processes.observed import Crash
from reconciler.planning.processes.process import Target
from reconciler.planning.processes.stop import StopSequence


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProcess(PlannedAction):
    """Start an instance in a slot; `version` is what it is to run, `crash` what to record if it cannot be started."""

    slot: int
    version: str
    target: Target = field(compare=False, repr=False)
    crash: Crash = field(compare=False)

    @property
    def attempt(self) -> int:
        return self.crash.count

    def __str__(self) -> str:
        return f"start number {self.slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkReady(PlannedAction):
    """Record that an instance is ready."""

    instance: str

    def __str__(self) -> str:
        return f"mark instance {self.instance} as ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class StopProcess(PlannedAction):
    """Record that an instance is to stop, and send it the first signal of its stop sequence.

    `crash` is what to record of an instance that is of no use although it is alive.
    """

    instance: str
    crash: Crash | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return f"stop instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalProcess(PlannedAction):
    """Send an instance that stops the next signal of its stop sequence, the step of this number."""

    instance: str
    step: int
    signal: str

    def __str__(self) -> str:
        return f"send SIG{self.signal} to instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KillProcess(PlannedAction):
    """Kill an instance with all that it started, as its stop sequence is over."""

    instance: str

    def __str__(self) -> str:
        return f"kill instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReapProcess(PlannedAction):
    """Clear away an instance that has ended, and record its crash, None when it was told to stop."""

    instance: str
    crash: Crash | None = field(compare=False)

    def __str__(self) -> str:
        return f"clean up after instance {self.instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndHolders(PlannedAction):
    """Kill what holds the lock of a single process of which no instance is left."""

    def __str__(self) -> str:
        return "kill what holds its lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeStop(PlannedAction):
    """Record another way to stop an instance that runs; it is not restarted for that."""

    instance: str
    stop: StopSequence

    def __str__(self) -> str:
        return f"have instance {self.instance} stopped by {self.stop}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetProcess(PlannedAction):
    """Forget a process that the manifest does not name any more; its logs are kept."""

    def __str__(self) -> str:
        return "forget the process"


Action: TypeAlias = (
    StartProcess
    | MarkReady
    | StopProcess
    | SignalProcess
    | KillProcess
    | ReapProcess
    | EndHolders
    | ChangeStop
    | ApplyLimits
    | ForgetProcess
)
