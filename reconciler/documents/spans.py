"""Find where each value, key and comment of YAML text lies in it, so that an edit can leave everything else as it is.

Positions count characters. Only what is there is reported: nothing is resolved, expanded or checked.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Any

import yaml

from reconciler.documents.tree import LOADER
from reconciler.linux.dataclass import dataclass

# What ends a line for the parser, which keeps to YAML 1.1.
BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")

_COMMENT = re.compile("(?:(?<=[\\s\ufeff])|\\A)#[^\n\r\x85\u2028\u2029]*")


@dataclass(slots=True, eq=False, kw_only=True)
class Span:
    """A value in the text: with its anchor and tag, from `start` up to `end`; `last` is where its content ends.

    `style` is that of a scalar: `'`, `"`, `|`, `>`, or None if it is plain. `entries` are those of a mapping, `items`
    those of a sequence.
    """

    kind: str
    start: int
    end: int
    last: int
    style: str | None = None
    is_flow: bool = False
    anchor: str | None = None
    text: str = ""
    entries: list["Entry"] = field(default_factory=list)
    items: list["Span"] = field(default_factory=list)

    def entry(self, name: str) -> "Entry | None":
        """Return the first entry of a mapping that has this name."""
        return next((entry for entry in self.entries if entry.key.text == name), None)

    @property
    def is_block(self) -> bool:
        """True of a collection that is not in braces or brackets."""
        return self.kind in ("mapping", "sequence") and not self.is_flow


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Entry:
    """A name with its value in a mapping."""

    key: Span
    value: Span

    @property
    def last(self) -> int:
        """Where its content ends."""
        return max(self.key.end, self.value.last)


def roots_of(text: str) -> list[tuple[int, Span]]:
    """Return the value of each document with the line, from 1, that it begins in. Raises yaml.YAMLError."""
    events: Iterator[Any] = yaml.parse(text, Loader=LOADER)
    return [
        (root.start_mark.line + 1, _span(text, root, events))
        for event in events
        if isinstance(event, yaml.DocumentStartEvent)
        for root in (next(events),)
    ]


def comments_of(text: str, roots: Sequence[Span]) -> list[tuple[int, int]]:
    """Return where each comment begins and ends, in order; its line break is no part of it."""
    opaque = sorted(scalar for root in roots for scalar in _scalars(text, root))
    gaps = pairwise([(0, 0), *opaque, (len(text), len(text))])
    found = (_COMMENT.finditer(text, before, after) for (_, before), (after, _) in gaps if before < after)
    return [comment.span() for comments in found for comment in comments]


def line_start(text: str, position: int) -> int:
    """Return where the line of a position begins."""
    return max((found.end() for found in BREAK.finditer(text, 0, position)), default=0)


def line_end(text: str, position: int) -> int:
    """Return where the line of a position ends, before its line break."""
    found = BREAK.search(text, position)
    return len(text) if found is None else found.start()


def next_line(text: str, position: int) -> int:
    """Return where the line after that of a position begins, the end of the text if there is none."""
    found = BREAK.search(text, position)
    return len(text) if found is None else found.end()


def _span(text: str, event: Any, events: Iterator[Any]) -> Span:
    start, end = event.start_mark.index, event.end_mark.index
    if isinstance(event, yaml.AliasEvent):
        return Span(kind="alias", start=start, end=end, last=end, text=str(event.anchor))
    if isinstance(event, yaml.ScalarEvent):
        last = _end_of_block(text[start:end]) + start if event.style in ("|", ">") else end
        style = event.style or None
        return Span(
            kind="scalar", start=start, end=end, last=last, style=style, anchor=event.anchor, text=str(event.value)
        )
    span = Span(kind="sequence", start=start, end=end, last=end, is_flow=bool(event.flow_style), anchor=event.anchor)
    closing: Any = None
    if isinstance(event, yaml.MappingStartEvent):
        span.kind = "mapping"
        while not isinstance(closing := next(events), yaml.MappingEndEvent):
            key = _span(text, closing, events)
            span.entries.append(Entry(key=key, value=_span(text, next(events), events)))
    else:
        while not isinstance(closing := next(events), yaml.SequenceEndEvent):
            span.items.append(_span(text, closing, events))
    span.end = closing.end_mark.index
    contents = (*(entry.last for entry in span.entries), *(item.last for item in span.items))
    span.last = span.end if span.is_flow else max(contents, default=span.end)
    return span


def _end_of_block(written: str) -> int:
    """Return where a block scalar ends: with its last line, or with its last empty one if it keeps these."""
    header = written[: line_end(written, 0)].partition("#")[0]
    if "+" not in header:
        return len(written.rstrip())
    breaks = [found.start() for found in BREAK.finditer(written) if found.end() == len(written)]
    return breaks[0] if breaks else len(written)


def _scalars(text: str, span: Span) -> Iterator[tuple[int, int]]:
    """Yield where no comment can be: each scalar, of a block scalar what follows its first line."""
    if span.kind == "scalar" and span.start < span.end:
        begin = next_line(text, span.start) if span.style in ("|", ">") else span.start
        if begin < span.end:
            yield begin, span.end
    for entry in span.entries:
        yield from _scalars(text, entry.key)
        yield from _scalars(text, entry.value)
    for item in span.items:
        yield from _scalars(text, item)
