"""Read the trailers of a commit's message: the lines `Name: value` in its last paragraph. Pure.

A line elsewhere in the message, or its subject, is never one: what a trailer permits has to be written on purpose.
"""

import re
from collections.abc import Iterator

from reconciler.linux.dataclass import dataclass

REMOVES = "Reconciler-Removes"
URGENT = "Reconciler-Urgent"

_TRAILER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)[ \t]*:[ \t]*(.*)")
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_COUNT = re.compile(r"([0-9]{1,6})[ \t]+apps?")
_PARAGRAPHS = re.compile(r"\n(?:[ \t]*\n)+")
# What git itself writes, and thereby marks a paragraph of mixed lines as trailers: git-interpret-trailers(1).
_OF_GIT = ("Signed-off-by: ", "(cherry picked from commit ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removals:
    """What a commit says that it removes: apps and services (`service NAME`) by name, or a number of apps."""

    names: frozenset[str] = frozenset()
    count: int = 0


class UnclearTrailer(ValueError):
    """A trailer whose value cannot be understood; the message says what was expected."""


def trailers(message: str) -> tuple[tuple[str, str], ...]:
    """Return the trailers of a message in their order, with values that continue over lines joined by a space."""
    _, *more = _PARAGRAPHS.split(message.replace("\r\n", "\n").strip("\n").rstrip())
    lines = more[-1].split("\n") if more else []
    if not lines or not _is_block(lines):
        return ()
    found: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t") and found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}".strip())
        elif match := _TRAILER.fullmatch(line):
            found.append((match[1], match[2].strip()))
    return tuple(found)


def removals(message: str) -> Removals:
    """Return what a commit's message says that it removes: `shop, blog`, or `30 apps`. Raises UnclearTrailer."""
    names: set[str] = set()
    count = 0
    for name, value in trailers(message):
        if name.lower() != REMOVES.lower():
            continue
        if number := _COUNT.fullmatch(value):
            count = max(count, int(number[1]))
        else:
            names |= set(_names(value))
    return Removals(names=frozenset(names), count=count)


def urgency(message: str) -> str:
    """Return why a commit says that it is urgent, "" if it does not, or gives no reason."""
    return next((value for name, value in trailers(message) if name.lower() == URGENT.lower()), "")


def _names(value: str) -> Iterator[str]:
    for part in value.split(","):
        *kind, name = part.split() or [""]
        if not _NAME.fullmatch(name) or kind not in ([], ["service"]):
            raise UnclearTrailer(f"{REMOVES}: expected names such as 'shop, blog', or '30 apps', not {value[:64]!r}")
        yield " ".join((*kind, name))


def _is_block(lines: list[str]) -> bool:
    """Return whether a paragraph is one of trailers, by the rules of git."""
    if lines[0][:1] in (" ", "\t"):
        return False
    known = sum(1 for line in lines if line[:1] in (" ", "\t") or _TRAILER.fullmatch(line) or line.startswith(_OF_GIT))
    return known == len(lines) or (any(line.startswith(_OF_GIT) for line in lines) and 4 * known >= len(lines))
