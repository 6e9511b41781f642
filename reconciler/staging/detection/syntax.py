"""Parse a Python file of an app within bounds of time and memory, whatever is written in it."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.staging.source import allowance

if TYPE_CHECKING:
    from reconciler.staging.detection.modules import Scope

# Parsed in this process: a tenth of a second and a hundred megabytes at worst.
LARGEST_HERE = 64 << 10
_CHILD_CPU_S = 10
_CHILD_S = 60.0
_CHILD_BYTES = 2 << 30


# Looks at names, and files, that one question may take: an app needs a handful.
_MOST_LOOKS = 10_000
MOST_FILES = 200


class Effort:
    """What a question about a file has taken so far, with the files read for it."""

    def __init__(self) -> None:
        self.looks = 0
        self.scopes: dict[tuple[Path, int], Scope] = {}

    def is_too_much(self) -> bool:
        """Count another look at a name; return whether there were too many."""
        self.looks += 1
        return self.looks > _MOST_LOOKS


class Unparsed(Exception):
    """A file that this Python cannot parse, or not within bounds."""


class NotParsed(Unparsed):
    """A file that was not tried, as a look parses only so much of a source."""


def parsed(source: bytes, name: str, *, is_one_of_many: bool = False) -> list[ast.stmt]:
    """Return the statements of the file `name`; raises Unparsed.

    Of a large file only those that bind names, with what decides their interface. One of many raises NotParsed once
    this look has parsed a lot.
    """
    allowance.check(name)
    here = min(len(source), LARGEST_HERE)
    if is_one_of_many and not allowance.take_parsed_here(here):
        raise NotParsed("too much of the source was parsed before")
    if len(source) > LARGEST_HERE:
        allowance.take_parsed(name, len(source))
        source = _outline(source, name)
        if len(source) > 4 * LARGEST_HERE:
            raise Unparsed("it is too large")
        if is_one_of_many:
            allowance.take_parsed_here(max(0, len(source) - here))  # it is parsed all the same, and no other
    try:
        return ast.parse(source).body
    except SyntaxError as error:
        raise Unparsed(f"line {error.lineno}: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise Unparsed(str(error)) from error


def text_of_node(node: ast.AST) -> str:
    """Return the source of an expression, "" if it is nested too deeply to be of any use."""
    try:
        return ast.unparse(node)
    except RecursionError:
        return ""


def _outline(source: bytes, name: str) -> bytes:
    command = (sys.executable, "-I", "-S", str(Path(__file__).with_name("outline.py")))
    try:
        status, outline = allowance.run_child(
            (*command, str(_CHILD_CPU_S), str(_CHILD_BYTES)), name, _CHILD_S, _CHILD_BYTES, input=source
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise Unparsed(str(error)) from error
    if status != 0:
        raise Unparsed("it is no Python, or takes too much to parse")
    return outline
