"""Judge whether a canary is worse than the release beside it, by a test that may be looked at at any time.

What came wrong in one look, of either arm, is the canary's with a probability that is known as long as it is no worse:
its share. An e-value multiplies, look by look, how much likelier the division is that was seen if the odds are higher.
If the canary is no worse, the e-value is a non-negative supermartingale that begins at 1: that it is ever above 1/alpha
has at most the probability alpha, however often and whenever it is looked at (Ville's inequality).
"""

from collections.abc import Sequence
from dataclasses import field, replace
from math import comb, sqrt
from typing import TYPE_CHECKING, TypeVar

from reconciler.linux.dataclass import dataclass
from reconciler.planning.canary.weights import percent

if TYPE_CHECKING:  # only the tests reckon with fractions
    from fractions import Fraction

# The most probable it may be that a canary is aborted although it is no worse.
ALPHA = 0.01
# How many times the smallest odds that matter are weighed against "no worse".
TIMES: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
# Of what goes wrong within one look, so many at most count: a burst has one cause.
MOST_OF_A_LOOK = 3
# Looks in which something of the canary went wrong, before it is aborted for it.
FEWEST_LOOKS = 3
# The first requests of each worker are slow for other reasons than its code.
WARM_UP = 20
# The stake of the first look; of the rest, one part in so many is put in with each, for what goes wrong late.
_STAKE, _PARTS = 2, 100
# As many requests as if they had been divided by the weights before anything is known.
_PRIOR = 100

Number = TypeVar("Number", float, "Fraction")


def likelihood_ratio(canary: int, others: int, share: Number, odds: int) -> Number:
    """Return how much likelier it is that so many are the canary's and so many are not, with these odds."""
    ratio: Number = odds**canary / (1 + share * (odds - 1)) ** (canary + others)
    return ratio


def bounded_ratio(canary: int, others: int, share: Number, odds: int) -> Number:
    """Return the likelihood ratio of one look: of more than can count, its mean over all draws of so many.

    The mean of draws at random is expected to be 1 as well if the canary is no worse, and a burst moves it little.
    """
    drawn = min(canary + others, MOST_OF_A_LOOK)
    ratio = 0 * share
    for mine in range(max(0, drawn - others), min(canary, drawn) + 1):
        ways = comb(canary, mine) * comb(others, drawn - mine)
        ratio += ways * likelihood_ratio(mine, drawn - mine, share, odds)
    return ratio / comb(canary + others, drawn)


def share_answered(asked: float, canary: int, others: int) -> float:
    """Return the canary's share: the one given, or of what was answered if kept connections make that more."""
    return max(asked, (canary + _PRIOR * asked) / (canary + others + _PRIOR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """The evidence that a canary is worse: what each of the odds has made of its stake; `looks` had something wrong."""

    stakes: tuple[float, ...] = (1 / _STAKE / len(TIMES),) * len(TIMES)
    reserve: float = 1 - 1 / _STAKE
    looks: int = 0

    def after(self, canary: int, others: int, share: float, worse: int) -> "Evidence":
        """Return the evidence after a look in which so many of the canary, and of the other release, went wrong."""
        if not canary + others or not 0.0 < share < 1.0:
            return self
        added = self.reserve / _PARTS
        stakes = tuple(
            (stake + added / len(TIMES)) * bounded_ratio(canary, others, share, worse * times)
            for stake, times in zip(self.stakes, TIMES, strict=True)
        )
        return Evidence(stakes=stakes, reserve=self.reserve - added, looks=self.looks + (canary > 0))

    @property
    def e_value(self) -> float:
        """How strong the evidence is: 1 before the first look."""
        return sum(self.stakes) + self.reserve

    def convinces(self, alpha: float) -> bool:
        """Whether it is enough to abort."""
        return self.looks >= FEWEST_LOOKS and self.e_value * alpha >= 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one arm has answered: how many requests, how many of them with an error of its own, and how many slowly."""

    answered: int = 0
    failed: int = 0
    slow: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            answered=self.answered + other.answered, failed=self.failed + other.failed, slow=self.slow + other.slow
        )

    @property
    def rate(self) -> float:
        """The part of its answers that failed."""
        return self.failed / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What is known of a canary since its share was last changed: the counts of both arms, and the evidence."""

    canary: Counts = field(default_factory=Counts)
    others: Counts = field(default_factory=Counts)
    failing: Evidence = field(default_factory=Evidence)
    slowing: Evidence = field(default_factory=Evidence)
    warm: int = 0

    def after(self, canary: Counts, others: Counts, share: float, worse: int, *, workers: int = 1) -> "Trial":
        """Return the trial after one more look, with what each arm has answered since the look before.

        `share` is the one given, `worse` the smallest odds that matter.
        """
        known = share_answered(share, self.canary.answered, self.others.answered)  # before this look
        warmed = self.warm >= WARM_UP * workers
        return replace(
            self,
            canary=self.canary + canary,
            others=self.others + others,
            failing=self.failing.after(canary.failed, others.failed, known, worse),
            slowing=self.slowing.after(canary.slow, others.slow, known, worse) if warmed else self.slowing,
            warm=self.warm + canary.answered,
        )

    def harm(self, steps: int) -> str:
        """Return how the canary is worse, "" if that is not shown; each of so many steps is judged by itself."""
        alpha = ALPHA / (2 * steps)
        mine, theirs = self.canary, self.others
        if self.failing.convinces(alpha):
            return f"it fails more often: {_part(mine.failed, mine)}, the other release {_part(theirs.failed, theirs)}"
        if self.slowing.convinces(alpha):
            return f"it is slower: {_part(mine.slow, mine)} slow, the other release {_part(theirs.slow, theirs)}"
        return ""

    @property
    def told(self) -> str:
        """The figures of both arms, in words, and what so many requests could not have shown."""
        mine, theirs = self.canary, self.others
        if not mine.answered:
            return "it has answered nothing yet"
        seen = f"it may still fail in up to {percent(upper_rate(mine.failed, mine.answered))} of requests"
        return f"{_part(mine.failed, mine)} failed, the other release {percent(theirs.rate)}; {seen}"


def upper_rate(failed: int, answered: int) -> float:
    """Return the rate that so many failures leave possible, with 95%: 3/n of none in n (Wilson and Hilferty, 1931)."""
    more = failed + 1
    return min(1.0, more * (1 - 1 / (9 * more) + 1.645 / (3 * sqrt(more))) ** 3 / answered)


def slow_bound(counts: Sequence[int], bounds: Sequence[float]) -> int | None:
    """Return the index of the first bound that at least 95 % of answers keep, with a quarter to spare; None without.

    `counts` says how many took up to each bound, and more than the last.
    """
    wanted, so_far = 0.95 * sum(counts), 0
    if not wanted:
        return None
    for low, high, count in zip((0.0, *bounds), bounds, counts, strict=False):
        if so_far + count >= wanted:
            p95 = low + (high - low) * (wanted - so_far) / count
            return next((index for index, bound in enumerate(bounds) if bound >= 1.25 * p95), None)
        so_far += count
    return None


def _part(number: int, counts: Counts) -> str:
    return f"{number} of {counts.answered} ({percent(number / counts.answered if counts.answered else 0.0)})"
