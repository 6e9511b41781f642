"""Read a command line as a shell would, though none is run: the one parser of commands, schedules and processes.

Operators, substitutions and line breaks, for which it takes a shell, are refused; patterns such as `*.tmp` are passed
on as they stand. Quoting is heeded: what stands in single quotes, or behind a backslash, is taken as it is.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.ASCII | re.DOTALL)
_VARIABLE = re.compile(
    r"\$(?:(?P<itself>\$)|(?P<name>[A-Za-z_]\w*)|\{(?P<braced>[A-Za-z_]\w*)(?::?-(?P<otherwise>[^}]*))?\})", re.ASCII
)
_RUNNERS = frozenset(("poetry", "pipenv", "uv", "pdm", "rye"))
_OPERATORS = "&|;<>()`\n"
_TWICE = "&|<>;"
_LONGEST = 8192
# A dollar sign that stands for itself, in words that are filled in.
_ITSELF = "$$"


class NoCommand(ValueError):
    """A line is no command that can be started without a shell; says why."""


class NeedsShell(NoCommand):
    """A line is one of a shell, for some part of it."""

    def __init__(self, part: str) -> None:
        named = "a line break" if part == "\n" else f"'{part}'"
        super().__init__(f"needs a shell, for {named}: write [sh, -c, '…'], with exec before what is to be stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """The arguments of a program, and variables that stand before it.

    In one that `expands`, `$NAME`, `${NAME}` and `${NAME:-otherwise}` are replaced when it is started, and `$$` stands
    for a dollar sign.
    """

    words: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    expands: bool = False

    def __str__(self) -> str:
        return shlex.join(self.words)

    @property
    def with_env(self) -> tuple[str, ...]:
        """The arguments of a program that sets the variables first."""
        return ("env", *(f"{name}={text}" for name, text in self.env.items()), *self.words) if self.env else self.words

    def arguments(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """Return the arguments in an environment, without `poetry run` and its like in front."""
        words = without_runner(self.words)
        return tuple(_expanded(word, environment) for word in words) if self.expands else words

    def variables(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variables that stand before it."""
        return {name: _expanded(text, environment) if self.expands else text for name, text in self.env.items()}


def without_runner(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return a command without what would run it in an environment of a developer's: it runs in that of its build.

    One with options of its own, or named by a path, is left as it is.
    """
    if len(words) < 3 or words[0] not in _RUNNERS or words[1] != "run":
        return words
    rest = words[3:] if words[2] == "--" else words[2:]
    if not rest or rest[0].startswith("-"):
        return words
    return ("python", *rest) if words[0] == "uv" and rest[0].endswith(".py") else rest


def split(line: str) -> tuple[str, ...]:
    """Return the words of a line, with what names a variable as it stands there. Raises NoCommand."""
    return _split("".join(_parts(line, itself="$")))


def command_of(line: str) -> Command:
    """Return the command that a line says. Raises NoCommand."""
    words = list(_split("".join(_parts(line, itself=_ITSELF))))
    expands = any(found["itself"] is None for word in words for found in _VARIABLE.finditer(word))
    if not expands:
        words = [word.replace(_ITSELF, "$") for word in words]
    assigned: dict[str, str] = {}
    if words[:1] == ["exec"]:
        words.pop(0)
    while words and (match := _ASSIGNMENT.fullmatch(words[0])):
        assigned[match[1]] = match[2]
        words.pop(0)
    if words[:1] == ["exec"]:
        words.pop(0)
    if not words or not words[0]:
        raise NoCommand("names no program")
    return Command(words=tuple(words), env=assigned, expands=expands)


def _split(line: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise NoCommand(f"a quotation has no end ({str(error).lower()})") from error


def _parts(line: str, *, itself: str) -> Iterator[str]:
    """Yield the line with each literal dollar sign as `itself`. Raises NoCommand for what only a shell could do."""
    line = line.strip()
    if len(line) > _LONGEST:
        raise NoCommand(f"is longer than {_LONGEST} characters")
    quote, at = "", 0
    while at < len(line):
        char, after = line[at], line[at + 1 : at + 2]
        step = 1
        if char == "\\" and quote != "'":
            step = 2
            yield itself if after == "$" else "" if after == "\n" else char + after
        elif char == "$":
            if quote != "'" and after in {"(", "$"}:
                raise NeedsShell(char + after)
            yield itself if quote == "'" else char
        elif (char in _OPERATORS and not quote) or (char == "`" and quote == '"'):
            raise NeedsShell(char * 2 if char in _TWICE and after == char else char)
        else:
            if char == quote:
                quote = ""
            elif not quote and char in "'\"":
                quote = char
            yield char
        at += step


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        if found["itself"]:
            return "$"
        return environment.get(found["name"] or found["braced"]) or found["otherwise"] or ""

    return _VARIABLE.sub(value, text)
