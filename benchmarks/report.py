"""Write docs/evidence/performance.md from the last results: cases, figures, and where reconciler is behind."""

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import plots, results, tables
from benchmarks.case import OURS, Case, Figures, from_json, told
from benchmarks.known import CASES, LONG, case

_TOP = """# Performance

The cost and speed of reconciler, measured beside gunicorn started by hand and the programs that people run gunicorn
with. `make bench` measures everything again, in one run on one machine, each contender in turn with the others, and
writes this page. `python -m benchmarks drop` measures one case and keeps its samples below `benchmarks/results/`, which
is not part of the repository.

A cell is the median, with minimum and maximum. Every contender runs the same app with the same gunicorn and one worker,
the way its users would (a column shows how); uWSGI Emperor can only run uWSGI. A contender without a row cannot do what
is measured, and a line below the table says why.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One case with what it found last."""

    case: Case
    found: dict[str, Any]
    figures: Figures


def write(place: Path, docs: Path) -> Path:
    """Write the page and its plots; returns the page."""
    parts = []
    for name in (*CASES, *LONG):
        found = results.read(name, place)
        if found is not None:
            parts.append(_Part(case=case(name), found=found, figures=from_json(found)))
    folder = docs / "performance"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    sections = [_TOP, _machine(parts), _bounds(parts), _behind(parts)]
    sections += [_section(part, folder) for part in parts]
    page = docs / "performance.md"
    page.write_text("\n".join(sections))
    return page


def _machine(parts: Sequence[_Part]) -> str:
    lines = ["## Environment", ""]
    machines = [part.found["machine"] for part in parts]
    for cpu, cores, memory, kernel, python in dict.fromkeys(
        (each["cpu"], each["cores"], each["memory_gib"], each["kernel"], each["python"]) for each in machines
    ):
        lines.append(f"- {cpu}, {cores} cores, {memory} GiB; {kernel}; Python {python}")
    lines.extend(f"- reconciler {ours}" for ours in dict.fromkeys(part.found["ours"] for part in parts))
    peers = {name: version for part in parts for name, version in part.found["peers"].items()}
    if peers:
        lines.append(f"- {', '.join(peers.values())}")
    if machines:
        loads = [each["load"][0] for each in machines]
        lines.append(f"- from {machines[0]['at']}; load average when a case began: {min(loads)} to {max(loads)}")
    if any(part.found["quick"] for part in parts):
        lines.append("- **some cases were run with `--quick`: their figures mean little**")
    return "\n".join([*lines, ""])


def _bounds(parts: Sequence[_Part]) -> str:
    body = [
        [
            f"[{part.case.name}](#{_anchor(part.case.title)})",
            each["says"],
            each["measured"],
            tables.holds(each["holds"]),
        ]
        for part in parts
        for each in part.found["bounds"]
    ]
    table = tables.as_markdown(["", "target", "measured", ""], body)
    return f"## Targets\n\n{table}\n"


def _behind(parts: Sequence[_Part]) -> str:
    """Whatever anybody else does better, and every bound that is missed."""
    lines = ["## Where reconciler is behind", ""]
    for part in parts:
        lost = [
            f"- {part.case.name}: {each['says']}: {each['measured']}"
            for each in part.found["bounds"]
            if each["holds"] is False
        ]
        for what in part.case.plotted:
            lost += _lost(part, what)
        if lost and part.case.because:
            lost += ["", _wrapped(part.case.because), ""]
        lines += lost
    return "\n".join([*lines, *([] if len(lines) > 2 else ["Nowhere in these measurements."]), ""])


def _lost(part: _Part, what: str) -> list[str]:
    found = part.figures.of(what)
    if OURS not in found:
        return []
    sign = -1 if what in part.case.more_is_better else 1
    better = [each for who, each in found.items() if who != OURS and sign * each.median < sign * found[OURS].median]
    if not better:
        return []
    who = ", ".join(f"{each.who} {told(each)}" for each in better)
    return [f"- {part.case.name}: {what}: ours is {told(found[OURS])}; better: {who}"]


def _section(part: _Part, folder: Path) -> str:
    lines = [f"## {part.case.title}", "", _wrapped(part.case.measures), ""]
    for number, what in enumerate(part.case.plotted):
        plot = folder / f"{part.case.name}-{number + 1}.svg"
        if plots.draw(part.figures, what, plot):
            lines += [f"![{what}]({folder.name}/{plot.name})", ""]
    lines += [tables.as_markdown(*tables.rows(part.figures)), ""]
    lines += [_wrapped(f"- {each.who} has no figure: {each.why}.") for each in part.figures.absent]
    return "\n".join([*lines, *([""] if part.figures.absent else [])])


def _wrapped(text: str) -> str:
    return textwrap.fill(text, width=120, break_on_hyphens=False, break_long_words=False)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
