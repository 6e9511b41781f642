"""Canaries in a simulation: what two releases answer, and the rules by which a canary is aborted, ours and others'.

The others are written after their documentation: Flagger's defaults (a success rate of 99% in each look, five strikes
in all) and the first example of Argo Rollouts (a success rate of 95% in each measurement, `failureLimit: 3`).
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from reconciler.planning.canary.judgement import Counts, Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What both arms have answered between one look and the next."""

    canary: Counts
    others: Counts


# Whether the rule aborts the canary, and at which look and after how many of its requests; None if it never does.
Verdict: TypeAlias = "tuple[int, int] | None"
Rule: TypeAlias = Callable[[list[Look]], Verdict]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Two releases with so many requests in a look; a burst fails everything of some looks, of whichever release.

    A client that `hammers` one bad address adds so many failing requests, each on a connection of its own.
    """

    canary: float
    others: float
    share: float = 0.1
    requests: int = 120
    looks: int = 60
    bursts: float = 0.0
    hammers: int = 0
    slow_canary: float = 0.04
    slow_others: float = 0.04

    def told(self, luck: random.Random) -> list[Look]:
        """Return what is seen of it, once."""
        return list(self._looks(luck))

    def _looks(self, luck: random.Random) -> Iterator[Look]:
        for _ in range(self.looks):
            burst = luck.random() < self.bursts
            mine = _drawn(luck, self.requests, self.share)
            hammered = _drawn(luck, self.hammers, self.share)
            arms = (
                (mine, self.canary, hammered, self.slow_canary),
                (
                    self.requests - mine,
                    self.others,
                    self.hammers - hammered,
                    self.slow_others,
                ),
            )
            canary, others = (
                Counts(
                    answered=number + bad,
                    failed=bad + (_drawn(luck, number, 0.5) if burst else _drawn(luck, number, rate)),
                    slow=_drawn(luck, number, slow),
                )
                for number, rate, bad, slow in arms
            )
            yield Look(canary=canary, others=others)


def by_evidence(looks: list[Look], share: float = 0.1, worse: int = 2, steps: int = 1) -> Verdict:
    """Judge as the daemon does."""
    trial = Trial()
    for number, look in enumerate(looks, 1):
        trial = trial.after(look.canary, look.others, share, worse)
        if trial.harm(steps):
            return number, trial.canary.answered
    return None


def as_flagger(looks: list[Look]) -> Verdict:
    """Judge by Flagger's defaults."""
    return _strikes(looks, least=0.99, most=5)


def as_argo(looks: list[Look]) -> Verdict:
    """Judge by the first example of Argo Rollouts."""
    return _strikes(looks, least=0.95, most=4)


def _strikes(looks: list[Look], *, least: float, most: int) -> Verdict:
    strikes = answered = 0
    for number, look in enumerate(looks, 1):
        answered += look.canary.answered
        strikes += look.canary.answered > 0 and 1 - look.canary.rate < least
        if strikes >= most:
            return number, answered
    return None


def _drawn(luck: random.Random, number: int, chance: float) -> int:
    if not number or chance <= 0.0:
        return 0
    if chance >= 1.0:
        return number
    draw = luck.random
    return sum(draw() < chance for _ in range(number))
