"""Words that messages of every layer share."""

import re
from collections.abc import Sequence

# What YAML takes for text, and for something else, without quotes.
_PLAIN = re.compile(r"[^\W\d][\w./-]*")
_OTHER_VALUES = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))
_MOST_NAMED = 10  # in a field that is proposed


def counted(number: int, noun: str) -> str:
    """Return the number with its noun: `1 app`, `3 apps`, `2 processes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('ss') else 's'}"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Join names, the first few of many: `a, b, c and 4 more`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def span(seconds: float) -> str:
    """Return a duration for people, in two units at most: `1h5m`."""
    total = max(0, round(seconds))
    for size, unit, smaller, sub in ((86400, "d", 3600, "h"), (3600, "h", 60, "m"), (60, "m", 1, "s")):
        if total >= size:
            rest = total % size // smaller
            return f"{total // size}{unit}{rest}{sub}" if rest else f"{total // size}{unit}"
    return f"{total}s"


def quoted(said: str | None) -> str:
    """Return the last line that an app wrote, as the end of a sentence; empty if it wrote none."""
    return f"; it said: {said}" if said else ""


def written_into_build(places: Sequence[str]) -> str:
    """Say of an app what it has written into its build, and how to keep that."""
    written = f"wrote {listed(places)} into its build, which the next deploy replaces"
    if field := persist_field(places):
        return f"{written}; '{field}' in its manifest keeps it{unnamed(places)}"
    return f"{written}; no manifest can name it, as its name is not UTF-8: have it written elsewhere"


def stayed_in_build(places: Sequence[str], build: str) -> str:
    """Say of an app what it wrote into a build that does not serve any more, and how to take it over."""
    stayed = f"{listed(places)}, which it wrote, stayed in build {build}"
    field = persist_field(places)
    return f"{stayed}; '{field}' in its manifest takes it over{unnamed(places)}" if field else stayed


def persist_field(places: Sequence[str]) -> str:
    """Return the field of a manifest that keeps these places, the first few of many, as YAML; "" if it can name none.

    Of a place whose name is not UTF-8, shown with an escape, the nearest directory above that can be.
    """
    named = _named(places)[:_MOST_NAMED]
    return f"persist: [{', '.join(map(_as_yaml, named))}]" if named else ""


def unnamed(places: Sequence[str]) -> str:
    """Return how many of these places their `persist_field` does not name, as the end of a sentence."""
    more = len(_named(places)) - _MOST_NAMED
    return f"; {more} more can be named there, or a directory that has them" if more > 0 else ""


def _named(places: Sequence[str]) -> list[str]:
    return [*dict.fromkeys(filter(None, map(_held, places)))]


def _held(place: str) -> str:
    """Return a place, or the directory above it, whose name has no escape; "" if there is none."""
    while "\\" in place:
        above, slash, _ = place.rstrip("/").rpartition("/")
        place = above + slash
    return place


def _as_yaml(text: str) -> str:
    """Return a text as it stands in a list in brackets."""
    if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_VALUES:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def shortly(seconds: float) -> str:
    """Return a time that requests wait, `120 ms` or `1.5 s`."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
