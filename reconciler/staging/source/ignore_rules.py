"""Match the paths of a source against the patterns of its ignore file, in the syntax and with the meaning of gitignore.

A pattern is made into a regular expression that never tries a star twice, so that no pattern and no name takes longer
than their lengths multiplied.
"""

import re
from collections.abc import Iterator, Sequence

from reconciler.linux.dataclass import dataclass
from reconciler.staging.errors import SourceError

_MOST_PATTERNS = 1000
_LONGEST_PATTERN = 1000
_NAME_ENDS = "(?=/|$)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    excludes: bool
    matches: re.Pattern[str]


class IgnoreRules:
    """The rules of one ignore file, in its order. Raises SourceError, with the line, for an invalid pattern."""

    def __init__(self, name: str, text: str) -> None:
        self._rules = tuple(_rules(name, text.splitlines()))

    def excludes(self, path: str) -> bool | None:
        """Return whether a path is left out, a directory's with a slash at its end; None where no rule says."""
        found: bool | None = None
        is_certain = False
        for rule in self._rules:
            match = rule.matches.match(path)
            if match is None:
                continue
            # What is below a directory that matches can be included again, and what matches itself counts for more.
            is_below = match["below"] is not None
            if (rule.excludes and is_below) or not (is_below and is_certain):
                found, is_certain = rule.excludes, not is_below
        return found


def _rules(name: str, lines: Sequence[str]) -> Iterator[_Rule]:
    count = 0
    for number, line in enumerate(lines, start=1):
        pattern = line if line.endswith("\\ ") else line.rstrip()
        if not pattern or pattern.startswith("#") or pattern == "/":
            continue
        count += 1
        if len(pattern) > _LONGEST_PATTERN:
            raise SourceError(f"{name}:{number} is not valid: a pattern has at most {_LONGEST_PATTERN} characters")
        if count > _MOST_PATTERNS:
            raise SourceError(f"{name}:{number} is not valid: there are more than {_MOST_PATTERNS} patterns")
        excludes = not pattern.startswith("!")
        try:
            yield _Rule(excludes=excludes, matches=re.compile(_expression(pattern.removeprefix("!")), re.DOTALL))
        except (_Invalid, re.error) as error:
            raise SourceError(f"{name}:{number} is not valid: {error}") from error


class _Invalid(Exception):
    """A pattern that means nothing."""


def _expression(pattern: str) -> str:
    """Return a regular expression whose group `below` says that a directory above the path is what matched."""
    segments = pattern.split("/")
    is_directory = not segments[-1]
    if not segments[0]:
        del segments[0]
    elif len(segments) == 1 or (len(segments) == 2 and is_directory):
        segments.insert(0, "**")
    if not segments:
        raise _Invalid("it names nothing")
    if is_directory:
        segments[-1] = "**"
    ends_below = segments[-1] == "**"
    blocks = _blocks(segments)
    if not blocks:
        return "(?P<below>/)?" if not is_directory else ".*?(?P<below>/)"
    end = "/" if ends_below and not is_directory else "(?P<below>/)" if ends_below else "(?:(?P<below>/)|$)"
    expression = ""
    for number, (block, is_anchored) in enumerate(blocks):
        inner = "/".join(_segment(segment) for segment in block)
        if number < len(blocks) - 1:  # the first place is as good as any, as whatever comes then is looked for after it
            expression += f"(?>{'' if is_anchored else '(?:[^/]+/)*?'}{inner}/)"
        else:
            expression += f"{'' if is_anchored else '(?:[^/]+/)*'}{inner}{end}"
    if "(?P<below>" not in expression:
        expression += "(?P<below>(?!))?"
    return expression


def _blocks(segments: Sequence[str]) -> list[tuple[list[str], bool]]:
    """Return what is between double stars, and whether it has to be at the top."""
    blocks: list[tuple[list[str], bool]] = []
    begins_new, is_anchored = True, True
    for segment in segments:
        if segment == "**":
            begins_new, is_anchored = True, False
        elif begins_new:
            blocks.append(([segment], is_anchored))
            begins_new = False
        else:
            blocks[-1][0].append(segment)
    return blocks


def _segment(glob: str) -> str:
    """Return a regular expression for one name."""
    if glob == "*":
        return "[^/]+"
    chunks = _chunks(glob)
    if len(chunks) == 1:
        return f"{chunks[0]}{_NAME_ENDS}"
    middle = "".join(f"(?>[^/]*?{chunk})" for chunk in chunks[1:-1] if chunk)
    return f"{chunks[0]}{middle}(?>[^/]*{chunks[-1]}{_NAME_ENDS})"


def _chunks(glob: str) -> list[str]:
    """Return what is between the stars of a name, each character as a regular expression."""
    chunks, at = [""], 0
    while at < len(glob):
        letter = glob[at]
        at += 1
        if letter == "*":
            chunks.append("")
        elif letter == "?":
            chunks[-1] += "[^/]"
        elif letter == "\\":
            if at == len(glob):
                raise _Invalid("it ends with a backslash")
            chunks[-1] += re.escape(glob[at])
            at += 1
        elif letter == "[" and (end := _class_end(glob, at)) is not None:
            chunks[-1] += _class(glob[at:end])
            at = end + 1
        else:
            chunks[-1] += re.escape(letter)
    return chunks


def _class_end(glob: str, at: int) -> int | None:
    """Return where the class ends that begins before `at`; None if it does not end."""
    if glob[at : at + 1] in ("!", "^"):
        at += 1
    if glob[at : at + 1] == "]":
        at += 1
    while at < len(glob) and glob[at] != "]":
        at += 2 if glob[at] == "\\" else 1
    return at if at < len(glob) else None


def _class(content: str) -> str:
    negated = content.startswith(("!", "^"))
    letters, at, parts = content[negated:], 0, []
    while at < len(letters):
        if letters[at] == "\\" and at + 1 < len(letters):
            at += 1
        first = letters[at]
        at += 1
        if letters[at : at + 1] == "-" and at + 1 < len(letters):
            at += 1
            if letters[at] == "\\" and at + 1 < len(letters):
                at += 1
            last = letters[at]
            at += 1
            if first > last:
                raise _Invalid(f"the range {first}-{last} runs backwards")
            parts.append(f"{re.escape(first)}-{re.escape(last)}")
        else:
            parts.append(re.escape(first))
    return f"(?!/)[{'^' if negated else ''}{''.join(parts)}]"
