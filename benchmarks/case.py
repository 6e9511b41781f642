"""The shape every benchmark has: what it measures, of whom, the bounds it has to keep, and the figures it found."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.setting import Setting

OURS = "reconciler"
BY_HAND = "gunicorn by hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """What was measured of one contender; `how` is the way it was asked, as its users ask."""

    what: str
    who: str
    unit: str
    samples: tuple[float, ...]
    how: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A contender of which there is no figure, and why."""

    who: str
    why: str


@dataclass
class Figures:
    """Collects what a run finds, sample by sample."""

    figures: list[Figure] = field(default_factory=list)
    absent: list[Absence] = field(default_factory=list)

    def add(self, what: str, who: str, unit: str, samples: float | Iterable[float], how: str = "") -> None:
        """Another sample, or several, of one figure."""
        more = (samples,) if isinstance(samples, float | int) else tuple(samples)
        for index, known in enumerate(self.figures):
            if (known.what, known.who) == (what, who):
                self.figures[index] = Figure(
                    what=what, who=who, unit=unit, samples=known.samples + more, how=known.how or how
                )
                return
        self.figures.append(Figure(what=what, who=who, unit=unit, samples=more, how=how))

    def cannot(self, who: str, why: str) -> None:
        absence = Absence(who=who, why=why)
        if absence not in self.absent:
            self.absent.append(absence)

    def of(self, what: str) -> dict[str, Figure]:
        """The figures of one kind, by contender."""
        return {each.who: each for each in self.figures if each.what == what}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a bound holds; None when what it is about was not measured."""

    says: str
    measured: str
    holds: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A sentence about figures that can be checked."""

    says: str
    check: Callable[[Figures], tuple[str, bool]]

    def verdict(self, figures: Figures) -> Verdict:
        try:
            measured, holds = self.check(figures)
        except (KeyError, ValueError):
            return Verdict(says=self.says, measured="not measured in this run", holds=None)
        return Verdict(says=self.says, measured=measured, holds=holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One benchmark. `measures` says what and how, for the report, and `because` why ours is behind where it is.

    `plotted` names the figures that are drawn, and in which all are compared: less is better but in `more_is_better`.
    """

    name: str
    title: str
    measures: str
    bounds: Sequence[Bound]
    run: Callable[[Setting], Figures]
    plotted: Sequence[str] = ()
    more_is_better: Sequence[str] = ()
    because: str = ""

    def verdicts(self, figures: Figures) -> list[Verdict]:
        return [bound.verdict(figures) for bound in self.bounds]


def ahead(what: str) -> Bound:
    """Ours is lower than everybody else's."""

    def check(figures: Figures) -> tuple[str, bool]:
        found = figures.of(what)
        ours = found[OURS]
        best = min((each for each in found.values() if each.who != OURS), key=lambda each: each.median)
        return f"{told(ours)}; best of the others: {best.who}, {told(best)}", ours.median < best.median

    return Bound(says=f"{what}: ahead of every other", check=check)


def at_most(what: str, limit: float, unit: str) -> Bound:
    """Ours is below a limit."""

    def check(figures: Figures) -> tuple[str, bool]:
        ours = figures.of(what)[OURS]
        return told(ours), ours.median <= limit

    return Bound(says=f"{what}: at most {limit:g} {unit}", check=check)


def ratio_at_most(what: str, beside: str, limit: float) -> Bound:
    """Ours is a part of somebody else's; both were measured in the same run."""

    def check(figures: Figures) -> tuple[str, bool]:
        found = figures.of(what)
        ratio = found[OURS].median / found[beside].median
        return f"{ratio:.2f} ({told(found[OURS])} to {told(found[beside])})", ratio <= limit

    return Bound(says=f"{what}: at most {limit:g} of {beside}", check=check)


def told(figure: Figure) -> str:
    """Its median, with its unit."""
    return f"{number(figure.median)} {figure.unit}"


def number(value: float) -> str:
    """Three digits that mean something."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 10 else f"{value:.1f}"


def as_json(case: Case, figures: Figures) -> dict[str, Any]:
    """What a run found, for a file."""
    return {
        "case": case.name,
        "figures": [
            {
                "what": each.what,
                "who": each.who,
                "how": each.how,
                "unit": each.unit,
                "median": each.median,
                "samples": list(each.samples),
            }
            for each in figures.figures
        ],
        "absent": [{"who": each.who, "why": each.why} for each in figures.absent],
        "bounds": [
            {"says": each.says, "measured": each.measured, "holds": each.holds} for each in case.verdicts(figures)
        ],
    }


def from_json(found: dict[str, Any]) -> Figures:
    """The figures of a file."""
    return Figures(
        figures=[
            Figure(what=f["what"], who=f["who"], how=f["how"], unit=f["unit"], samples=tuple(f["samples"]))
            for f in found["figures"]
        ],
        absent=[Absence(who=a["who"], why=a["why"]) for a in found["absent"]],
    )
