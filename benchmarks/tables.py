"""Figures as tables: a row for each contender, a column for each figure."""

from collections.abc import Sequence

from benchmarks.case import Figure, Figures, number


def holds(verdict: bool | None) -> str:
    """A bound's verdict in words."""
    return {True: "holds", False: "DOES NOT HOLD", None: "not measured"}[verdict]


def cell(figure: Figure | None) -> str:
    """The median; with the least and the most, where there are several."""
    if figure is None:
        return ""
    told = f"{number(figure.median)} {figure.unit}"
    several = len(set(figure.samples)) > 1
    return f"{told} ({number(min(figure.samples))} to {number(max(figure.samples))})" if several else told


def rows(figures: Figures) -> tuple[list[str], list[list[str]]]:
    """The heads and the rows. Contenders of which there is no figure at all say why."""
    whats = list(dict.fromkeys(each.what for each in figures.figures))
    names = list(dict.fromkeys(each.who for each in figures.figures))
    ways = {each.who: each.how for each in reversed(figures.figures) if each.how}
    heads = ["", *(["how it is asked"] if ways else []), *whats]
    body = [
        [name, *([ways.get(name, "")] if ways else []), *(cell(figures.of(what).get(name)) for what in whats)]
        for name in names
    ]
    return heads, body


def as_text(figures: Figures) -> str:
    """For a terminal: a figure a line, as many columns would not fit."""
    lines: list[str] = []
    for what in dict.fromkeys(each.what for each in figures.figures):
        lines.append(what)
        lines += [f"  {who:36} {cell(figure)}" for who, figure in figures.of(what).items()]
    lines += [f"  {each.who:36} cannot: {each.why}" for each in figures.absent]
    return "\n".join(lines)


def as_markdown(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A table; what would end a cell is escaped."""
    table = [heads, ["---"] * len(heads), *body]
    return "\n".join("| " + " | ".join(each.replace("|", "\\|") for each in row) + " |" for row in table)
