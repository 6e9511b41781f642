"""The command of a process: a list of arguments, or a line that is split as a shell would, though none is run."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_VARIABLE = re.compile(
    r"\$(?:(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?-(?P<otherwise>[^}]*))?\})", re.ASCII
)
_OPERATORS = frozenset("();<>|&")
_LONGEST = 8192


class NoCommand(ValueError):
    """A line is no command that can be started without a shell; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The arguments of a program, and variables that stand before it.

    In one that `expands`, `$NAME`, `${NAME}` and `${NAME:-otherwise}` are replaced when it is started.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    expands: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)

    def arguments(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return the arguments in an environment."""
        return tuple(_expanded(word, environment) for word in self.words) if self.expands else self.words

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that stand before it."""
        return {name: _expanded(text, environment) if self.expands else text for name, text in self.env.items()}


def words_in(line: str) -> tuple[str, ...]:
    """Split a line as a shell would; its operators are words, too. Raises ValueError."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        return tuple(lexer)
    except ValueError as error:
        raise ValueError(f"a quotation has no end ({error})") from error


def operator_in(words: Sequence[str]) -> str:
    """Return the first operator of a shell among the words of a line, "" without one."""
    return next((word for word in words if word and set(word) <= _OPERATORS), "")


def command_of(line: str) -> Command:
    """Return the command that a line says. Raises NoCommand."""
    if len(line) > _LONGEST:
        raise NoCommand(f"is longer than {_LONGEST} characters")
    try:
        words = list(words_in(line))
    except ValueError as error:
        raise NoCommand(str(error)) from error
    if operator := operator_in(words):
        raise NoCommand(f"needs a shell, for '{operator}': write [sh, -c, '…'], with exec before what is to be stopped")
    if "$(" in line or "`" in line:
        raise NoCommand(
            "needs a shell, for a command in it: write [sh, -c, '…'], with exec before what is to be stopped"
        )
    if words[:1] == ["exec"]:
        words.pop(0)
    assigned: dict[str, str] = {}
    while words and (match := _ASSIGNMENT.fullmatch(words[0])):
        assigned[match[1]] = match[2]
        words.pop(0)
    if words[:1] == ["exec"]:
        words.pop(0)
    if not words:
        raise NoCommand("names no program")
    return Command(words=tuple(words), env=assigned, expands="$" in line)


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    return _VARIABLE.sub(
        lambda found: environment.get(found["name"] or found["braced"]) or found["otherwise"] or "", text
    )
