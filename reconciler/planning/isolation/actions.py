"""What is done to hold an instance that runs, of a web server or of a process, to its limits."""

from reconciler.linux.dataclass import dataclass
from reconciler.planning.isolation.limits import Limits
from reconciler.planning.plan import PlannedAction


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyLimits(PlannedAction):
    """Hold a running instance to other limits; it is not restarted, and no revision changes."""

    instance: str
    limits: Limits

    def __str__(self) -> str:
        return f"limit instance {self.instance} to {self.limits.told() or 'nothing'}"
