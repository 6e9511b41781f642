"""Summarise in one line what an installer wrote of its failure: its last error with the causes, and what a build said.

No output of a build is told but its last words: a build backend writes hundreds of lines.
"""

import re
from collections.abc import Sequence

from reconciler.planning.program_output import last_words

_LONGEST = 1000
_ERROR = re.compile(r"^(?:error|ERROR|Error): *")
_CAUSE = "cause: "
_HINT = "hint: "
_BUILD_SAID = ("[stdout]", "[stderr]", "--- stdout", "--- stderr")
# Causes that say nothing beside the words of the build.
_OF_BACKEND = re.compile(r"^(?:The build backend returned an error|Call to `.*` failed \(exit status: -?\d+\))$")
_MARKS = re.compile(r"^[\s~^]*$")
_WARNING = ("warning:", "WARNING:", "Warning:")


def error_block(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the last error of an installer with all that follows it; empty if it wrote none."""
    start = next((at for at in reversed(range(len(lines))) if _ERROR.match(lines[at])), None)
    return () if start is None else tuple(lines[start:])


def explained(lines: Sequence[str]) -> str:
    """Return why an installer failed, "" if it wrote nothing."""
    block = error_block(lines)
    if not block:
        return last_words(lines)
    parts, build = [_ERROR.sub("", block[0])], list[str]()
    in_build = False
    for line in block[1:]:
        text = line.strip()
        if text.startswith(_HINT):
            in_build = False
            parts.append(text)
        elif text in _BUILD_SAID:
            in_build, build = True, []
        elif in_build:
            build.append(line)
        elif text.startswith(_CAUSE):
            parts.append(text.removeprefix(_CAUSE))
        elif not _MARKS.match(line) and not text.startswith(_WARNING) and line[:1].isspace():
            parts[-1] += f" {text}"
    said = last_words(build)
    if said:
        told = [part for part in parts if not _OF_BACKEND.match(part)] or parts[:1]
        at = next((at for at, part in enumerate(told) if part.startswith(_HINT)), len(told))
        parts = [*told[:at], said, *told[at:]]
    return ": ".join(part.rstrip(".:") for part in parts)[:_LONGEST]
