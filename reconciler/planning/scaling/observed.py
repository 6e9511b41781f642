"""What is known of the number of an app's workers beside its manifest."""

from reconciler.linux.dataclass import dataclass
from reconciler.planning.scaling.scale import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingState:
    """The last decision about an app with a range, None before the first one: at `decided_at`, about `instance`.

    `at_door` is how many workers the connections ask for that wait at its listener while nothing serves there, 0 if
    none do.
    `saturated` is what the limit is of an app whose requests wait with all the workers that it gets, "" if they do not.
    """

    decision: Decision | None = None
    decided_at: float = float("-inf")
    instance: str = ""
    at_door: int = 0
    saturated: str = ""


UNDECIDED = ScalingState()
