"""Figures as bars, one plot for each: whoever reads the report sees at a glance who is ahead."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt

from benchmarks.case import OURS, Figures, number

_OURS, _THEIRS, _INK = "#1d6fd1", "#b6bdc6", "#4a5560"
# Beside a bar a hundred times as long, another one cannot be seen.
_FAR_APART = 100


def draw(figures: Figures, what: str, place: Path) -> bool:
    """Write the plot of one figure; False when there are not two contenders to compare."""
    found = sorted(figures.of(what).values(), key=lambda each: each.median, reverse=True)
    if len(found) < 2:
        return False
    medians = [each.median for each in found]
    # The file is the same for the same figures: no random ids, and no date.
    with mpl.rc_context({"svg.hashsalt": "reconciler", "svg.fonttype": "none", "font.family": "sans-serif"}):
        drawing, axes = plt.subplots(figsize=(7.5, 0.7 + 0.38 * len(found)))
        places = range(len(found))
        axes.barh(places, medians, color=[_color(each.who) for each in found], height=0.62)
        axes.set_yticks(places, [each.who for each in found])
        for row, each in enumerate(found):
            axes.plot([min(each.samples), max(each.samples)], [row, row], color=_INK, linewidth=1)
            end = (max(each.samples), row)
            axes.annotate(
                number(each.median), end, (5, 0), textcoords="offset points", va="center", color=_INK, fontsize=9
            )
        if min(medians) > 0 and max(medians) / min(medians) > _FAR_APART:
            axes.set_xscale("log")
        axes.set_xlabel(f"{what}, {found[0].unit}", color=_INK)
        axes.margins(x=0.12, y=0.02)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False, colors=_INK)
        drawing.savefig(place, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(drawing)
    return True


def _color(who: str) -> str:
    return _OURS if who.startswith(OURS) else _THEIRS
