"""Decide how many of a process run by what waits for it: a number that a command of its manifest prints.

More come at once. Fewer are left once fewer have been enough for a while. Nothing is stored: what runs says it.
"""

import math
from dataclasses import replace

from reconciler.linux.dataclass import dataclass
from reconciler.planning.command_line import Command
from reconciler.planning.wording import span


@dataclass(frozen=True, slots=True, kw_only=True)
class ByBacklog:
    """A number of processes by need: between `least` and `most`, one for each `per` that `command` says wait.

    The command is run every `every_s`, and ended after `timeout_s`. Fewer must have been enough for `calm_s`.
    """

    command: Command
    per: float
    most: int
    least: int = 1
    every_s: float = 30.0
    timeout_s: float = 10.0
    calm_s: float = 300.0

    def within(self, number: int) -> int:
        """Return the number nearest to this one that it allows."""
        return max(self.least, min(self.most, number))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What the command has printed lately: that so many are `waiting`, first at `since`, monotonic seconds.

    `needs` are the most processes that were needed lately, with the time: each more than all after it.
    """

    waiting: float
    since: float
    needs: tuple[tuple[float, int], ...]

    @classmethod
    def first(cls, asked: ByBacklog, waiting: float, at: float) -> "Backlog":
        """Return what the first number shows."""
        return cls(waiting=waiting, since=at, needs=((at, _need(asked, waiting)),))

    def next(self, asked: ByBacklog, waiting: float, at: float) -> "Backlog":
        """Return what is known after another number, which was printed later."""
        need = _need(asked, waiting)
        needs = (*(each for each in self.needs if each[0] > at - asked.calm_s and each[1] > need), (at, need))
        return replace(self, waiting=waiting, needs=needs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """So many of a process, and why, "" if that is as many as there are."""

    count: int
    cause: str = ""


def number_of(asked: ByBacklog, backlog: Backlog, has: int, now: float) -> Number:
    """Return how many of a process are to run now, of which there are so many."""
    wait, need, highest = f"{backlog.waiting:g} waiting", backlog.needs[-1][1], max(each for _, each in backlog.needs)
    if need > has:
        return Number(count=need, cause=f"{wait}, {asked.per:g} for each")
    if has > asked.most:
        return Number(count=asked.most, cause=f"at most {asked.most}")
    if highest < has and now >= backlog.since + asked.calm_s:
        enough = "none was needed" if not highest else f"{highest} {'was' if highest == 1 else 'were'} enough"
        return Number(count=highest, cause=f"{enough} for {span(asked.calm_s)} ({wait})")
    return Number(count=has)


def _need(asked: ByBacklog, waiting: float) -> int:
    return asked.within(math.ceil(min(waiting / asked.per, asked.most)))
