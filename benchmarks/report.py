"""Write docs/evidence/performance.md from the last results: cases, figures, and where reconciler is behind.

A case of which there is no result keeps what the page says of it, and so do figures measured since the last whole run.
"""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import results, tables
from benchmarks.case import OURS, Case, Figures, from_json, told
from benchmarks.known import CASES, LONG, case

# Draws one figure into a file; False when there is nothing to compare.
Draw: TypeAlias = Callable[[Figures, str, Path], bool]
_TOP = """# Performance

The cost and speed of reconciler, measured beside gunicorn started by hand and the programs that people run gunicorn
with. `make bench` measures everything again, in one run on one machine, each contender in turn with the others, and
writes this page. `python -m benchmarks drop` measures one case and keeps its samples below `benchmarks/results/`, which
is not part of the repository.

A cell is the median, with minimum and maximum. Every contender runs the same app with the same gunicorn and one worker,
the way its users would (a column shows how); uWSGI Emperor can only run uWSGI. A contender without a row cannot do what
is measured, and a line below the table says why.
"""

# Figures that were measured apart from a whole run, in words of their own; a whole run replaces them.
_SINCE = "Measured since"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One case with what it found last."""

    case: Case
    found: dict[str, Any]
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """What a page says of a case, in its own words: its section, its targets, and where it is behind."""

    case: Case
    section: str
    targets: Sequence[str]
    behind: str


def write(place: Path, docs: Path, draw: Draw) -> Path:
    """Write the page, and with `draw` its plots; returns the page."""
    page, folder = docs / "performance.md", docs / "performance"
    folder.mkdir(exist_ok=True)
    before = _sections_of(page.read_text() if page.exists() else "")
    parts: list[_Part | _Kept] = []
    for name in (*CASES, *LONG):
        found, about = results.read(name, place), case(name)
        if found is not None:
            parts.append(_Part(case=about, found=found, figures=from_json(found)))
            for old in folder.glob(f"{name}-*.svg"):
                old.unlink()
        elif about.title in before:
            parts.append(_kept(about, before))
    since = [before[_SINCE]] if _SINCE in before and any(isinstance(part, _Kept) for part in parts) else []
    sections = [_TOP, _machine(parts, before), *since, _bounds(parts), _behind(parts)]
    sections += [part.section if isinstance(part, _Kept) else _section(part, folder, draw) for part in parts]
    page.write_text("\n".join(sections))
    return page


def _sections_of(page: str) -> dict[str, str]:
    """Return the sections of a page by their titles."""
    return {each.partition("\n")[0]: f"## {each.strip()}\n" for each in re.split(r"^## ", page, flags=re.MULTILINE)[1:]}


def _kept(about: Case, before: Mapping[str, str]) -> _Kept:
    targets = [line for line in before.get("Targets", "").splitlines() if line.startswith(f"| [{about.name}](")]
    blocks = re.split(rf"^(?=- (?!{about.name}:))", before.get("Where reconciler is behind", ""), flags=re.MULTILINE)
    behind = "".join(each[each.index(f"- {about.name}:") :] for each in blocks if f"- {about.name}:" in each)
    return _Kept(case=about, section=before[about.title], targets=targets, behind=behind)


def _machine(all_parts: Sequence[_Part | _Kept], before: Mapping[str, str]) -> str:
    parts = [part for part in all_parts if isinstance(part, _Part)]
    kept = [part.case.name for part in all_parts if isinstance(part, _Kept)]
    lines = ["## Environment", ""]
    machines = [part.found["machine"] for part in parts]
    for cpu, cores, memory, kernel, python in dict.fromkeys(
        (each["cpu"], each["cores"], each["memory_gib"], each["kernel"], each["python"]) for each in machines
    ):
        lines.append(f"- {cpu}, {cores} cores, {memory} GiB; {kernel}; Python {python}")
    for ours in dict.fromkeys(part.found["ours"] for part in parts):
        names = [part.case.name for part in parts if part.found["ours"] == ours]
        lines.append(_wrapped(f"- reconciler {ours}: {', '.join(names)}", indent="  "))
    peers = {name: version for part in parts for name, version in part.found["peers"].items()}
    if peers:
        lines.append(f"- {', '.join(peers.values())}")
    if machines:
        loads = [each["load"][0] for each in machines]
        lines.append(f"- from {machines[0]['at']}; load average when a case began: {min(loads)} to {max(loads)}")
    if kept:
        was = [line.removeprefix("- ") for line in before.get("Environment", "").splitlines()]
        said = [line for line in was if line.startswith(("reconciler ", "from ")) or line.partition(",")[0] in kept]
        lines.append(_wrapped(f"- of an earlier run ({'; '.join(said)}): {', '.join(kept)}", indent="  "))
    if any(part.found["quick"] for part in parts):
        lines.append("- **some cases were run with `--quick`: their figures mean little**")
    return "\n".join([*lines, ""])


def _bounds(parts: Sequence[_Part | _Kept]) -> str:
    rows = [tables.as_markdown(["", "target", "measured", ""], [])]
    for part in parts:
        rows += part.targets if isinstance(part, _Kept) else _targets(part)
    return "## Targets\n\n" + "\n".join(rows) + "\n"


def _targets(part: _Part) -> list[str]:
    """Return a row for each bound of a case."""
    link = f"[{part.case.name}](#{_anchor(part.case.title)})"
    body = [[link, each["says"], each["measured"], tables.holds(each["holds"])] for each in part.found["bounds"]]
    return tables.as_markdown(["", "target", "measured", ""], body).splitlines()[2:]


def _behind(parts: Sequence[_Part | _Kept]) -> str:
    """Whatever anybody else does better, and every bound that is missed."""
    lines = ["## Where reconciler is behind", ""]
    for part in parts:
        if isinstance(part, _Kept):
            lines += part.behind.splitlines()
            continue
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


def _section(part: _Part, folder: Path, draw: Draw) -> str:
    lines = [f"## {part.case.title}", "", _wrapped(part.case.measures), ""]
    for number, what in enumerate(part.case.plotted):
        plot = folder / f"{part.case.name}-{number + 1}.svg"
        if draw(part.figures, what, plot):
            lines += [f"![{what}]({folder.name}/{plot.name})", ""]
    lines += [tables.as_markdown(*tables.rows(part.figures)), ""]
    lines += [_wrapped(f"- {each.who} has no figure: {each.why}.") for each in part.figures.absent]
    return "\n".join([*lines, *([""] if part.figures.absent else [])])


def _wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, width=120, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)


def _anchor(title: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
