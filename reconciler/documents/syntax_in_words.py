"""Say in plain words what is wrong with a text that is no YAML: an indentation, a colon without a space, a second one.

Only names of fields are quoted, as values may be secrets.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from reconciler.planning.wording import counted

_NAMED = re.compile(r"(?P<indent> *)(?:- +)?(?P<name>[\w.-]{1,63}):(?=\s|$)")
_GLUED = re.compile(r"(?P<indent> *)(?:- +)?(?P<name>[A-Za-z_][\w-]{0,62}):(?![/\s])(?P<value>.+)")

# A mistake: its line and column, both from 0, and the message.
Mistake = tuple[int, int, str]


def in_words(lines: Sequence[str], error: yaml.MarkedYAMLError) -> Mistake | None:
    """Return the mistake behind an error of the parser, None when that is unclear."""
    return next(_mistakes(lines, error), None)


def _mistakes(lines: Sequence[str], error: yaml.MarkedYAMLError) -> Iterator[Mistake]:
    problem, mark = str(error.problem), error.problem_mark
    if mark is None:
        return
    if "could not find expected ':'" in problem and error.context_mark is not None:
        yield from _glued(lines, error.context_mark.line)
    if "mapping values are not allowed" in problem:
        before = _before(lines, mark.line)
        if before is not None:
            yield from _glued(lines, before)
        yield from _second_colon(lines, mark)
        yield from _indented(lines, mark.line)
    if "did not find expected key" in problem or "expected <document start>" in problem:
        yield from _indented(lines, mark.line)


def _glued(lines: Sequence[str], number: int) -> Iterator[Mistake]:
    """Yield a field whose value follows the colon without a space."""
    found = _GLUED.match(lines[number]) if number < len(lines) else None
    if found is not None:
        value = found["value"].strip()
        shown = value if value.isdecimal() and len(value) <= len("65535") else "…"
        message = f"'{found['name']}:{shown}' needs a space after the colon"
        yield number, found.start("name"), message


def _second_colon(lines: Sequence[str], mark: Any) -> Iterator[Mistake]:
    """Yield a value that contains a colon and a space, and is not quoted."""
    found = _NAMED.match(lines[mark.line]) if mark.line < len(lines) else None
    if found is not None and found.end() < mark.column:
        value = found.end() + len(lines[mark.line][found.end() :]) - len(lines[mark.line][found.end() :].lstrip())
        yield mark.line, value, f"quote the value of '{found['name']}', as it contains ': '"


def _indented(lines: Sequence[str], number: int) -> Iterator[Mistake]:
    """Yield a field that is indented differently from the one before it."""
    found = _NAMED.match(lines[number]) if number < len(lines) else None
    before = _before(lines, number)
    if found is None or before is None:
        return
    indent, neighbours = len(found["indent"]), len(lines[before]) - len(lines[before].lstrip(" "))
    if indent != neighbours:
        words = f"is indented by {counted(indent, 'space')}, its neighbours by {neighbours}"
        yield number, found.start("name"), f"'{found['name']}:' {words}"


def _before(lines: Sequence[str], number: int) -> int | None:
    """Return the number of the last line before this one that is neither empty nor a comment."""
    known = (n for n in range(min(number, len(lines)) - 1, -1, -1) if lines[n].strip() and not _is_comment(lines[n]))
    return next(known, None)


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")
