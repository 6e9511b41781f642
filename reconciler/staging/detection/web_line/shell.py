"""Split a shell command line into its simple commands, in one pass over its characters.

Nothing is expanded: `$NAME`, `${NAME}`, `$(command)` and backquotes stay in their word as they are written.
"""

import re
from collections.abc import Iterator

from reconciler.linux.dataclass import dataclass

ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

_OPERATORS = ("&&", "||", ";;", ";", "|", "&", "\n")
_REDIRECTION = re.compile(r"\d*(?:>>|>&|<&|>\||<>|<<<|<<|&>>|&>|>|<)")
_KEYWORDS = frozenset(("{", "}", "(", ")", "!", "if", "then", "elif", "else", "fi", "do", "done", "while", "until"))
_BLANK = " \t\r"
_MAX_LENGTH = 64 << 10
_CLOSING = {"(": ")", "{": "}"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SimpleCommand:
    """The assignments and words of one command, without redirections; `operator` stands behind it, "" at the end."""

    assignments: tuple[tuple[str, str], ...]
    words: tuple[str, ...]
    operator: str = ""

    def __str__(self) -> str:
        return " ".join((*(f"{name}=…" for name, _ in self.assignments), *self.words))


def simple_commands(line: str) -> list[SimpleCommand]:
    """Return the commands of a line or script in order; raises ValueError if a quotation has no end."""
    found: list[SimpleCommand] = []
    words: list[str] = []
    skip = False
    for token, quoted in _tokens(line[:_MAX_LENGTH]):
        if not quoted and token in _OPERATORS:
            found += _command(words, token)
            words, skip = [], False
        elif not quoted and _REDIRECTION.fullmatch(token):
            skip = True
        elif skip:
            skip = False
        elif quoted or words or token not in _KEYWORDS:
            words.append(token)
    return [*found, *_command(words, "")]


def _command(words: list[str], operator: str) -> list[SimpleCommand]:
    words = _without_subshell(words)
    assigned: list[tuple[str, str]] = []
    for word in words:
        match = ASSIGNMENT.fullmatch(word)
        if match is None:
            break
        assigned.append((match[1], match[2]))
    rest = tuple(words[len(assigned) :])
    if not rest and not assigned:
        return []
    return [SimpleCommand(assignments=tuple(assigned), words=rest, operator=operator)]


def _without_subshell(words: list[str]) -> list[str]:
    """Return the words without the parentheses of a subshell that are written against the first and the last."""
    bare = list(words)
    if bare:
        bare[0] = bare[0].lstrip("(")
        surplus = bare[-1].count(")") - bare[-1].count("(")
        if surplus > 0 and bare[-1].endswith(")" * surplus):
            bare[-1] = bare[-1][:-surplus]
    return [word for word in bare if word] if bare != words else words


def _tokens(line: str) -> Iterator[tuple[str, bool]]:
    """Yield words, operators and redirections, and whether any of it was quoted."""
    at, end = 0, len(line)
    while at < end:
        character = line[at]
        if character in _BLANK:
            at += 1
        elif line.startswith("\\\n", at):
            at += 2
        elif character == "#":
            at = _find(line, "\n", at)
        elif match := _REDIRECTION.match(line, at):
            yield match[0], False
            at = match.end()
        elif operator := next((each for each in _OPERATORS if line.startswith(each, at)), ""):
            yield operator, False
            at += len(operator)
        else:
            word, quoted, at = _word(line, at)
            yield word, quoted


def _word(line: str, at: int) -> tuple[str, bool, int]:
    """Return the word at a position, without its quotes, whether it had any, and the position behind it."""
    parts: list[str] = []
    quoted, end = False, len(line)
    while at < end and line[at] not in f"{_BLANK}\n;&|<>":
        character = line[at]
        if character == "'":
            close = _closing(line, "'", at)
            parts.append(line[at + 1 : close])
            quoted, at = True, close + 1
        elif character == '"':
            text, at = _double_quoted(line, at)
            parts.append(text)
            quoted = True
        elif character == "\\":
            parts.append("" if line[at + 1 : at + 2] == "\n" else line[at + 1 : at + 2])
            at += 2
        else:
            span = _substitution(line, at)
            parts.append(line[at : at + span])
            at += span
    return "".join(parts), quoted, at


def _double_quoted(line: str, at: int) -> tuple[str, int]:
    parts: list[str] = []
    at += 1
    while at < len(line) and line[at] != '"':
        if line[at] == "\\" and line[at + 1 : at + 2] in tuple('"\\$`\n'):
            parts.append(line[at + 1].strip("\n"))
            at += 2
        else:
            span = _substitution(line, at)
            parts.append(line[at : at + span])
            at += span
    if at >= len(line):
        raise ValueError("No closing quotation")
    return "".join(parts), at + 1


def _substitution(line: str, at: int) -> int:
    """Return the length of the `$(…)`, `${…}` or backquotes at a position; 1 for any other character."""
    if line[at] == "`":
        return _closing(line, "`", at) + 1 - at
    opening = line[at + 1 : at + 2]
    if line[at] != "$" or opening not in _CLOSING:
        return 1
    depth = 0
    for position in range(at + 1, len(line)):
        depth += (line[position] == opening) - (line[position] == _CLOSING[opening])
        if depth == 0:
            return position + 1 - at
    raise ValueError(f"No closing {_CLOSING[opening]}")


def _closing(line: str, quote: str, at: int) -> int:
    close = line.find(quote, at + 1)
    if close < 0:
        raise ValueError("No closing quotation")
    return close


def _find(line: str, character: str, at: int) -> int:
    found = line.find(character, at)
    return len(line) if found < 0 else found
