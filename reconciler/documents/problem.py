"""A problem of a document with its position, printed the way compilers do, so that editors can jump to it."""

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from reconciler.documents.names import LONGEST_NAME
from reconciler.linux.dataclass import dataclass

Path: TypeAlias = tuple[str | int, ...]

# Of one file: a longer list is no help, and every app of a file that is refused has all of it.
MOST_PROBLEMS = 100

# Fields whose values may be secrets: no message quotes what is in them.
NEVER_QUOTED = frozenset(("env", "credentials", "parameters", "command", "release", "recipients"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to fix in a file. `line` and `column` count from 1; `path` is like `health.interval`, or empty.

    `proposed` is the name that the end of the message proposes, "" for none.
    """

    file: str
    line: int
    column: int
    path: str
    message: str
    proposed: str = ""

    def __str__(self) -> str:
        position = f"{self.file}:{self.line}:{self.column}"
        return f"{position}: {self.path}: {self.message}" if self.path else f"{position}: {self.message}"


def first_problems(file: str, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the first problems of a file by their places, each in one line, and at last whether there are more."""
    ordered = sorted(problems, key=lambda problem: (problem.line, problem.column))
    first = tuple(replace(problem, message=one_line(problem.message)) for problem in ordered[:MOST_PROBLEMS])
    if len(ordered) <= MOST_PROBLEMS:
        return first
    more = f"has more than {MOST_PROBLEMS} problems; fix these first"
    return (*first, Problem(file=file, line=1, column=1, path="", message=more))


def proposal(name: str) -> str:
    """Return the end of a message that proposes a name."""
    return f"; for example '{name}'"


def with_free_name(problem: Problem, taken: Container[str]) -> Problem:
    """Return a problem whose message proposes a name that is not taken."""
    free, number = problem.proposed, 2
    while free in taken:
        free, number = f"{problem.proposed[: LONGEST_NAME - len(str(number)) - 1]}-{number}", number + 1
    if free == problem.proposed:
        return problem
    message = f"{problem.message.removesuffix(proposal(problem.proposed))}{proposal(free)}"
    return replace(problem, message=message, proposed=free)


def dotted(path: Iterable[str | int]) -> str:
    """Format `("services", 0, "name")` as `services[0].name`, in one line whatever a field is called.

    Of `NAME=value`, where a name belongs, the value is left out.
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{one_line(_name_of(part))}" for part in path)
    return "".join(parts).removeprefix(".")


def _name_of(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}{equals and '=…'}"


def one_line(text: str) -> str:
    """Escape each character of a text that would not print: field names can contain any."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
