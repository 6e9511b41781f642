"""A fleet: its hosts, and the waves in which they take a commit. Pure.

Every host finds the same waves and the same order in them, from the fleet and the commit alone.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import field
from functools import lru_cache
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Gate: TypeAlias = Literal["reports", "time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A host of the fleet: its labels, and the public key that its reports are signed with, "" if it makes none."""

    labels: Mapping[str, str] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Portion:
    """A number of hosts, or a fraction of them between 0 and 1."""

    count: int | None = None
    fraction: float | None = None

    def of(self, total: int) -> int:
        """Return how many hosts that is, at least one."""
        if self.count is not None:
            return self.count
        return max(1, math.ceil(round((self.fraction or 0.0) * total, 9)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """Hosts that may take a commit at the same stage: those with all of `labels`, or a `share` of them.

    The next wave waits until this one has been well with the commit for `well_for_s`; `at_once` hosts of it change at
    the same time, all if None. With `eager`, a host takes the next commit before the last one was well for long enough,
    and its time counts for that one, too. With a gate of time, hosts take a commit `after_s` from when they saw it.
    """

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    share: Portion | None = None
    well_for_s: float = 0.0
    at_once: Portion | None = None
    eager: bool = False
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """A time in which only urgent commits are taken, in wall-clock seconds; `until` is its end as it is written."""

    begin: float
    end: float
    until: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fleet:
    """The hosts by name, and the waves in their order. A host that was not heard of for `silent_after_s` is silent.

    It is compared by identity, so that what follows from it is found once.
    """

    hosts: Mapping[str, Member]
    waves: tuple[Wave, ...]
    gate: Gate = "reports"
    silent_after_s: float = 3600.0
    freezes: tuple[Freeze, ...] = ()

    def freeze(self, now: float) -> Freeze | None:
        """Return the freeze in effect at this time of day."""
        return next((each for each in self.freezes if each.begin <= now < each.end), None)


@lru_cache(128)
def waves_of(fleet: Fleet, commit: str) -> tuple[tuple[str, ...], ...]:
    """Return the hosts of each wave for a commit, in the order in which they take any.

    A host is in the first wave that it fits. Which hosts a share is depends on the commit.
    """
    left = sorted(fleet.hosts, key=lambda host: _digest(f"{commit}/{host}"))
    found = []
    for wave in fleet.waves:
        fitting = [host for host in left if _fits(fleet.hosts[host], wave)]
        if wave.share is not None:
            total = sum(1 for member in fleet.hosts.values() if _fits(member, wave))
            fitting = fitting[: wave.share.of(total)]
        found.append(tuple(sorted(fitting, key=_digest)))
        taken = frozenset(fitting)
        left = [host for host in left if host not in taken]
    return tuple(found)


def without_wave(fleet: Fleet) -> tuple[str, ...]:
    """Return the hosts that are in no wave, whatever the commit."""
    whole = [wave for wave in fleet.waves if wave.share is None]
    return tuple(host for host, member in fleet.hosts.items() if not any(_fits(member, wave) for wave in whole))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _fits(member: Member, wave: Wave) -> bool:
    return all(member.labels.get(label) == value for label, value in wave.labels.items())
