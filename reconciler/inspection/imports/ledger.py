"""Account for every item of foreign files: each is used for a field of a manifest, or left out with advice.

What no reader mentions is left out, too, and said: nothing of the input is dropped silently.
"""

from collections.abc import Iterable, Iterator
from dataclasses import field
from typing import TypeAlias

from reconciler.inspection.printable import plain
from reconciler.linux.dataclass import dataclass
from reconciler.vault.secret_patterns import is_secret_name, redacted, secrets_in

Path: TypeAlias = tuple[str, ...]

_LONGEST = 100
_UNKNOWN = "import does not know this"


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A value of a foreign file: its line and column from 1, the names that lead to it, and its text as written."""

    file: str
    line: int
    column: int
    path: Path
    value: str
    sign: str = ": "

    @property
    def name(self) -> str:
        """Return the last name that is no index of a list."""
        return next((part for part in reversed(self.path) if not part.isdigit()), "")

    @property
    def place(self) -> tuple[str, int, int]:
        """Return where the value stands: an alias repeats one, at the same place."""
        return self.file, self.line, self.column


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A part of a foreign file without a counterpart: where it is, the text without secrets, and what to do instead."""

    file: str
    line: int
    original: str
    advice: str


@dataclass(slots=True)
class Ledger:
    """The items of all files that one import reads, what became of each, and the notes that belong to no document."""

    items: list[Item] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    used: set[tuple[str, int, int]] = field(default_factory=set)
    left: set[tuple[str, int, int]] = field(default_factory=set)

    def add(self, items: Iterable[Item]) -> list[Item]:
        """Take the items of a file in, and return them."""
        added = list(items)
        self.items += added
        return added

    def under(self, *path: str) -> list[Item]:
        """Return the items at a path and below it, in the order of their files."""
        return [item for item in self.items if item.path[: len(path)] == path]

    def names(self, *path: str) -> tuple[str, ...]:
        """Return the names right below a path, each once."""
        depth = len(path)
        return tuple(dict.fromkeys(item.path[depth] for item in self.under(*path) if len(item.path) > depth))

    def use(self, *items: Item) -> None:
        """Record that a manifest says these, or that they go without saying here."""
        self.used.update(item.place for item in items)

    def leave(self, items: Iterable[Item], advice: str, notes: list[Note] | None = None) -> None:
        """Record that these have no counterpart, in one note, which is added to `notes` or to the ledger's own."""
        told = [item for item in items if item.place not in self.used and item.place not in self.left]
        if told:
            first = told[0]
            target = self.notes if notes is None else notes
            target.append(Note(file=first.file, line=first.line, original=quoted(told), advice=advice))
        self.left.update(item.place for item in told)

    def value(self, *path: str) -> str | None:
        """Return the last value at exactly this path and record its use; None if there is none."""
        found = [item for item in self.items if item.path == path]
        self.use(*found[-1:])
        return found[-1].value if found else None

    def unaccounted(self) -> Iterator[Item]:
        """Yield what neither is used nor left."""
        return (item for item in self.items if item.place not in self.used and item.place not in self.left)

    def leave_rest(self, *path: str, notes: list[Note] | None = None) -> None:
        """Leave everything below a path that nothing mentioned, one note for each name there."""
        depth = len(path)
        rest: dict[Path, list[Item]] = {}
        for item in self.unaccounted():
            if item.path[:depth] == path:
                rest.setdefault(item.path[: depth + 1], []).append(item)
        for items in rest.values():
            self.leave(items, _UNKNOWN, notes)


def quoted(items: list[Item]) -> str:
    """Return the text of items on one line, short and without secrets."""
    first = items[0]
    if len(items) == 1:
        return _one(first, first.name)
    common = first.path
    for item in items:
        common = tuple(a for a, b in zip(common, item.path, strict=False) if a == b)
    name = next((part for part in reversed(common) if not part.isdigit()), "")
    values = (_one(item, item.path[-1] if not item.path[-1].isdigit() else "") for item in items)
    if first.sign == "=" and len(common) == 1:
        return _short(f"[{name}] {', '.join(values)}")
    return _short(f"{name}{first.sign}{', '.join(values)}" if name else ", ".join(values))


def quoted_text(text: str) -> str:
    """Return a line of a foreign file, short and without secrets."""
    return _short(redacted(text))


def _one(item: Item, name: str) -> str:
    hidden = any(is_secret_name(part) for part in item.path) and item.value
    key, equals, value = item.value.partition("=")
    if hidden:
        value = "…"
    elif equals and is_secret_name(key.strip()):
        value = f"{key}=…"
    else:
        value = redacted(item.value, secrets_in({item.name: item.value}))
    return _short(f"{name}{item.sign}{value}" if name else value)


def _short(text: str) -> str:
    line = " ".join(plain(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
