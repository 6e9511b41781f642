"""Turn an error of the YAML parser into a problem that quotes the line it is about, without what may be a secret."""

import re
from typing import Any

import yaml

from reconciler.documents.problem import NEVER_QUOTED, Problem
from reconciler.documents.schemas import schema
from reconciler.documents.syntax_in_words import in_words

_LONGEST_QUOTED = 80
_FIELD = re.compile(r"(?:- )?(?P<quote>[\"']?)(?P<name>[\w.-]{1,63})(?P=quote)(?P<colon>\s*:)?(?=\s|$)")

_MAY_HOLD_SECRET = re.compile("[{=#]")


def syntax_problem(file: str, text: str, error: yaml.MarkedYAMLError) -> Problem:
    """Return the problem of a text that is no YAML, with the line it is about where that can be shown."""
    # Of a name without a colon the parser tells only where it gave up looking for one.
    begun = error.context_mark if "simple key" in str(error.context) else None
    mark: Any = begun or error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())] if line < len(lines) else ""
    if "\t" in indent:
        column = indent.index("\t")
        message = "is indented with a tab; YAML allows only spaces"
    elif (mistake := in_words(lines, error)) is not None:
        line, column, message = mistake
    else:
        context = f" {error.context}" if error.context else ""
        message = f"is not valid YAML: {error.problem}{context}{_quote(lines, error)}"
    return Problem(file=file, line=line + 1, column=column + 1, path="", message=message)


def _quote(lines: list[str], error: yaml.MarkedYAMLError) -> str:
    """Return the end of the message: the line at which the parser went wrong, or of what it found no end."""
    begun = error.context_mark if "block" not in str(error.context) else None
    mark: Any = begun or error.problem_mark
    shown = _shown(lines[mark.line]) if mark and mark.line < len(lines) else ""
    return f"; line {mark.line + 1} is `{shown}`" if shown else ""


def _shown(line: str) -> str:
    """Return a line as it may be quoted: a top-level field of a manifest whole, of any other only its name.

    A line without a field may belong to a secret of several lines, one with braces may hold other fields.
    """
    field = _FIELD.match(line.lstrip())
    if field is None:
        return ""
    is_known = field["name"] in schema("app")["properties"] and field["name"] not in NEVER_QUOTED
    if is_known and line == line.lstrip() and not _MAY_HOLD_SECRET.search(line):
        return line.rstrip() if len(line) <= _LONGEST_QUOTED else f"{line[: _LONGEST_QUOTED - 1]}…"
    return f"{field[0].strip()} …" if field["colon"] else ""
