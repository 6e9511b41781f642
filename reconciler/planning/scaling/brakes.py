"""Hold back what a host cannot give: workers beyond its budget, its memory or its processors; say what the limit is."""

from collections.abc import Mapping
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.scaling.load import Load
from reconciler.planning.scaling.scale import Decision
from reconciler.planning.scaling.worker_range import WorkerRange

SATURATED_S = 60.0
_COMPUTING, _WAITING = 0.5, 0.25
_MB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """What a host can give an app just now.

    `pressure` is the share of the time in which some process waited for a processor; above `most_pressure` nothing is
    added. `room` is how many more workers its memory has room for, None if that is not known, at
    `worker_bytes` each.
    """

    pressure: float = 0.0
    most_pressure: float = 1.0
    room: int | None = None
    worker_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What an app has of the budget of all: at least `least` workers, `has` now, `wanted` if there is enough.

    `need` is how many it needs to be no busier than it shall be.
    """

    least: int
    has: int
    wanted: int
    need: int

    @property
    def gives(self) -> int:
        """How many it can give to others."""
        return max(0, self.has - max(self.least, self.need))


def held_back(decision: Decision, has: int, room: HostRoom) -> tuple[Decision, str]:
    """Return what the host can give of a decision to add workers, and what the limit is, "" if it gives all."""
    if decision.workers <= has:
        return decision, ""
    if room.room is not None and room.room < decision.workers - has:
        given = has + max(0, room.room)
        return replace(decision, workers=given), f"memory: each worker takes {room.worker_bytes // _MB} MB"
    if room.pressure > room.most_pressure:
        return replace(decision, workers=has), f"the processor: {room.pressure:.0%} pressure"
    return decision, ""


def shared(budget: int, shares: Mapping[str, Share]) -> dict[str, int]:
    """Return how many workers each app gets of a budget; none gets less than its least, nor more than it wants.

    What is free goes to those that want it, the one that has the least of what it wants first. If that is not enough,
    apps that have more than they need give, the most idle first; what they give is free once it is gone.
    """
    given = {name: max(share.least, min(share.has, share.wanted)) for name, share in shares.items()}
    free = budget - sum(max(share.has, given[name]) for name, share in shares.items())
    wanting = {name for name, share in shares.items() if share.wanted > given[name]}
    while wanting and free > 0:
        name = min(wanting, key=lambda name: (given[name] / max(1, shares[name].wanted), name))
        given[name] += 1
        free -= 1
        wanting = {name for name in wanting if shares[name].wanted > given[name]}
    missing = sum(shares[name].wanted - given[name] for name in wanting)
    over = max(missing, sum(given.values()) - budget, 0)
    for name in sorted(shares.keys() - wanting, key=lambda name: (-shares[name].gives, name)):
        gives = min(over, shares[name].gives, max(0, given[name] - shares[name].least))
        given[name] -= gives
        over -= gives
    return given


def limit_of(asked: WorkerRange, load: Load, *, cpu: float, pressed: bool, held: str) -> str:
    """Say what the limit is of an app whose requests wait with all the workers that it gets, and what would help.

    `cpu` are the cores it used lately, `pressed` says whether processes wait for processors, `held` what held it back.
    """
    if held:
        return held
    share = cpu / max(1, load.look.workers)  # all of them are busy
    if share >= _COMPUTING and pressed:
        return "the processor"
    if share <= _WAITING and not pressed:
        return "waiting, not computing (database?)"
    return f"{asked.most} workers: more would help"
