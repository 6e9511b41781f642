"""What is wrong with a manifest and where, as a value that prints the way compilers do: editors can jump there."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to mend in a file. `line` and `column` count from 1; `path` is like `health.interval`, or empty."""

    file: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}"
        return f"{where}: {self.path}: {self.message}" if self.path else f"{where}: {self.message}"


def dotted(path: Iterable[str | int]) -> str:
    """`("services", 0, "name")` as `services[0].name`; in one line, whatever a field is called."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{one_line(part)}" for part in path).removeprefix(".")


def one_line(text: str) -> str:
    """The text with an escape for each character that would not print: it may hold what somebody called a field."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
