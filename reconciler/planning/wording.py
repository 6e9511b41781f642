"""Words that messages of every layer share."""

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: `1 app`, `3 apps`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join names, the first few of many: `a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def quoted(said: str | None) -> str:
    """Return the last line that an app wrote, as the end of a sentence; empty if it wrote none."""
    return f"; it said: {said}" if said else ""


def written_into_build(places: Sequence[str]) -> str:
    """Say of an app what it has written into its build, and how to keep that."""
    remedy = f"'persist: [{', '.join(places)}]' in its manifest keeps it"
    return f"wrote {listed(places)} into its build, which the next deploy replaces; {remedy}"


def stayed_in_build(places: Sequence[str], build: str) -> str:
    """Say of an app what it wrote into a build that does not serve any more, and how to take it over."""
    remedy = f"'persist: [{', '.join(places)}]' in its manifest takes it over"
    return f"{listed(places)}, which it wrote, stayed in build {build}; {remedy}"
