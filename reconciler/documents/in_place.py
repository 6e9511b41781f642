"""Set and remove single fields in YAML text, and leave every other character of it as it is.

The text is changed where the field lies, and nowhere else. Each result is parsed and compared with what was
asked, so that it either says exactly that, with every comment kept, or is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence

import yaml

from reconciler.documents.scalars import value_of
from reconciler.documents.spans import (
    BREAK,
    Entry,
    Span,
    comments_of,
    line_end,
    line_start,
    next_line,
    roots_of,
)
from reconciler.documents.tree import Node, trees_of
from reconciler.documents.written_scalars import scalar
from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json

_STEP = 2
_COLON = re.compile(r"\s*:")
_COMMA = re.compile(r"[ \t]*,[ \t]*")
_BETWEEN = re.compile(r"\s*,\s*")
_REST = re.compile("[ \t]*+,?[ \t]*+(?:(?<=[ \t,])#.*)?")


class CannotEdit(ValueError):
    """The text cannot be changed in this way without changing more of it; says why."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to write, in quotes where it would not be read as text without them."""

    text: str


@dataclass(frozen=True, slots=True)
class Plain:
    """A number or a word to write without quotes."""

    value: int | str


@dataclass(frozen=True, slots=True)
class FileReference:
    """`{file: PATH}`."""

    path: str


Value = Text | Plain | FileReference


def with_field(text: str, line: int, path: Sequence[str], value: Value) -> str:
    """Return the text with the field at `path` set, in the document whose value begins in `line`.

    Mappings that are missing on the way are added. Raises CannotEdit.
    """
    edit = _Edit(text, line)
    edit.set(edit.root, path, value)
    return _checked(edit, line, path, value)


def without_field(text: str, line: int, path: Sequence[str]) -> str:
    """Return the text without the field at `path`, which it has, in the document whose value begins in `line`.

    A mapping that is empty then goes, too, unless it holds comments, which stay. Raises CannotEdit.
    """
    edit = _Edit(text, line)
    edit.remove([edit.root], path)
    return _checked(edit, line, path, None)


class _Edit:
    """Collects replacements of parts of a text; no two overlap."""

    def __init__(self, text: str, line: int) -> None:
        try:
            roots = roots_of(text)
        except yaml.YAMLError as error:
            raise CannotEdit("it is not valid YAML") from error
        found = [root for begins, root in roots if begins == line and root.kind == "mapping"]
        if not found:
            raise CannotEdit(f"there is no document with fields at line {line}")
        self.root = found[0]
        self.text = text
        self.comments = comments_of(text, [root for _, root in roots])
        first = BREAK.search(text)
        self._break = first[0] if first else "\n"
        self._replaced: list[tuple[int, int, str]] = []

    @property
    def result(self) -> str:
        """The text with every replacement."""
        text = self.text
        # Of two at one place, the one that was asked for first comes first.
        for start, end, new in sorted(self._replaced, key=lambda each: each[:2])[::-1]:
            text = text[:start] + new + text[end:]
        return text

    def set(self, mapping: Span, path: Sequence[str], value: Value) -> None:
        """Set a field in a mapping, or in the mappings on the way to it."""
        name, *inner = path
        entry = mapping.entry(name)
        if entry is None:
            self._add(mapping, path, value)
        elif not inner:
            self._replace(mapping, entry, value)
        elif entry.value.kind == "mapping" and (entry.value.entries or mapping.is_flow or self._is_long(entry.value)):
            self.set(entry.value, inner, value)
        elif entry.value.kind == "mapping" or self._is_nothing(entry.value):
            self._fill(mapping, entry, inner, value)
        else:
            raise CannotEdit(f"'{name}' is not written as a mapping here")

    def remove(self, mappings: Sequence[Span], path: Sequence[str]) -> None:
        """Remove a field from the last of the mappings, each of which is in the one before."""
        mapping, (name, *inner) = mappings[-1], path
        entry = mapping.entry(name)
        if entry is None:
            raise CannotEdit(f"there is no '{name}'")
        if inner:
            if entry.value.kind != "mapping":
                raise CannotEdit(f"'{name}' is not written as a mapping here")
            self._remove_inner(mapping, entry, inner)
        elif mapping.is_flow:
            self._remove_from_flow(mapping, entry)
        else:
            self._remove_lines(entry)

    def _remove_inner(self, mapping: Span, entry: Entry, path: Sequence[str]) -> None:
        """Remove what is in an entry, and the entry itself if that is all it holds and no comment is in it."""
        inner = entry.value
        if len(path) > 1 or len(inner.entries) > 1 or inner.entry(path[0]) is None:
            self.remove([inner], path)
            return
        end = self._below(inner) if inner.is_block else inner.end
        if not self._comments(entry.key.start, line_end(self.text, end)):
            self.remove([mapping], [entry.key.text])
        elif inner.is_flow:
            self._remove_from_flow(inner, inner.entries[0])
        else:
            self._put(self._colon(entry), self._colon(entry), " {}")
            self._remove_lines(inner.entries[0])

    # A new entry

    def _add(self, mapping: Span, path: Sequence[str], value: Value) -> None:
        if not mapping.is_flow:
            column = self._column(mapping.entries[0].key)
            open_ended = self._is_open_ended(mapping)
            above = self._before(line_start(self.text, mapping.entries[-1].key.start))
            self._add_lines(above if open_ended else self._below(mapping), column, path, value)
            return
        new = self._in_flow(path, value)
        if not mapping.entries:
            self._put(mapping.start + self.text[mapping.start :].index("{") + 1, None, new)
            return
        last = mapping.entries[-1]
        comma = _COMMA.match(self.text, last.last)
        end = line_end(self.text, last.last)
        has_own_line = self._begins_line(last.key) and BREAK.search(self.text, mapping.start, last.key.start)
        if not has_own_line or end >= mapping.end:
            self._put(last.last, None, f", {new}")
            return
        if comma is None:
            self._put(last.last, None, ",")
        indent = " " * self._column(last.key)
        self._put(end, None, f"{self._break}{indent}{new}{',' if comma else ''}")

    def _add_lines(self, position: int, column: int, path: Sequence[str], value: Value) -> None:
        """Add an entry, and the mappings on the way to it, below the line of a position."""
        *outer, name = path
        lines = [f"{' ' * (column + depth * self._step())}{scalar(each)}:" for depth, each in enumerate(outer)]
        lines.append(f"{' ' * (column + len(outer) * self._step())}{scalar(name)}: {_shown(value)}")
        self._put(line_end(self.text, position), None, "".join(f"{self._break}{line}" for line in lines))

    def _fill(self, mapping: Span, entry: Entry, path: Sequence[str], value: Value) -> None:
        """Give an entry without a value, or with an empty mapping in braces, an entry of its own."""
        empty = entry.value
        if empty.anchor is not None:
            raise CannotEdit(f"'{entry.key.text}' has an anchor, '&{empty.anchor}'")
        if mapping.is_flow:
            self._put(empty.start, empty.end, f"{self._space(empty.start)}{{{self._in_flow(path, value)}}}")
            return
        colon = self._colon(entry)
        self._put(colon, empty.end, "")
        column = self._column(entry.key)
        self._add_lines(self._deeper(max(colon, empty.end), column), column + self._step(), path, value)

    def _in_flow(self, path: Sequence[str], value: Value) -> str:
        *outer, name = path
        opened = "".join(f"{scalar(each, in_flow=True)}: {{" for each in outer)
        return f"{opened}{scalar(name, in_flow=True)}: {_shown(value, in_flow=True)}{'}' * len(outer)}"

    # Another value

    def _replace(self, mapping: Span, entry: Entry, value: Value) -> None:
        old = entry.value
        new = _shown(value, old.style, in_flow=mapping.is_flow)
        start = self._colon(entry) if old.is_block else old.start
        end = old.last
        space = " " if old.is_block else self._space(start)
        inside = self._comments(start, end)
        is_last = not self.text[end : line_end(self.text, end)].strip()
        if len(inside) == 1 and is_last:
            new += f"  {inside[0]}"
        elif inside:
            self._put_above(entry, inside)
        self._put(start, end, f"{space}{new}")

    def _put_above(self, entry: Entry, comments: Sequence[str]) -> None:
        """Give comments lines of their own above that of an entry."""
        if not self._begins_line(entry.key):
            raise CannotEdit(f"there are comments inside of '{entry.key.text}'")
        indent = " " * self._column(entry.key)
        lines = "".join(f"{comment}{self._break}{indent}" for comment in comments)
        self._put(entry.key.start, None, lines)

    # One entry less

    def _remove_lines(self, entry: Entry) -> None:
        """Remove the lines of an entry, which has them for itself; their comments stay in its place."""
        start, end = line_start(self.text, entry.key.start), line_end(self.text, entry.last)
        if not self._begins_line(entry.key):
            raise CannotEdit(f"'{entry.key.text}' does not begin its line")
        indent = self.text[start : entry.key.start]
        kept = self._break.join(f"{indent}{comment}" for comment in self._comments(start, end))
        if kept:
            self._put(start, end, kept)
        elif (following := next_line(self.text, end)) > end:
            self._put(start, following, "")
        else:
            self._put(self._before(start), end, "")

    def _remove_from_flow(self, mapping: Span, entry: Entry) -> None:
        number = mapping.entries.index(entry)
        end = line_end(self.text, entry.last)
        if self._begins_line(entry.key) and _REST.fullmatch(self.text, entry.last, end) and end < mapping.end:
            self._remove_lines(entry)
            return
        following = _COMMA.match(self.text, entry.last)
        start, end = entry.key.start, entry.last
        if following is not None:
            end = following.end()
        elif number:
            start = mapping.entries[number - 1].last
            if _BETWEEN.fullmatch(self.text, start, entry.key.start) is None:
                raise CannotEdit(f"there is more than a comma before '{entry.key.text}'")
        if self._comments(start, end):
            raise CannotEdit(f"there are comments inside of '{entry.key.text}'")
        self._put(start, end, "")

    # Places

    def _put(self, start: int, end: int | None, new: str) -> None:
        self._replaced.append((start, start if end is None else end, new))

    def _colon(self, entry: Entry) -> int:
        """Return where the colon behind a name ends."""
        found = _COLON.match(self.text, entry.key.end)
        if found is None:
            raise CannotEdit(f"there is no colon behind '{entry.key.text}'")
        return found.end()

    def _space(self, position: int) -> str:
        return "" if self.text[position - 1 : position] in ("", " ", "\t") else " "

    def _begins_line(self, key: Span) -> bool:
        return not self.text[line_start(self.text, key.start) : key.start].strip(" ")

    def _column(self, key: Span) -> int:
        return key.start - line_start(self.text, key.start)

    def _before(self, start: int) -> int:
        """Return where the line break before the beginning of a line begins."""
        return next((found.start() for found in BREAK.finditer(self.text) if found.end() == start), start)

    def _below(self, mapping: Span) -> int:
        """Return where the last line of a block mapping ends, with the comments below it that are its own."""
        return self._deeper(mapping.last, self._column(mapping.entries[0].key))

    def _deeper(self, position: int, column: int) -> int:
        """Return where the last of the comments ends that follow a line and begin behind a column."""
        found = line_end(self.text, position)
        following = next_line(self.text, position)
        while following < len(self.text) and following > found:
            end = line_end(self.text, following)
            line = self.text[following:end]
            if not line.strip():
                following = next_line(self.text, end)
                continue
            if not line.lstrip().startswith("#") or len(line) - len(line.lstrip()) <= column:
                break
            found, following = end, next_line(self.text, end)
        return found

    def _comments(self, start: int, end: int) -> list[str]:
        return [self.text[begins:ends] for begins, ends in self.comments if start <= begins < end]

    def _is_open_ended(self, mapping: Span) -> bool:
        """Return whether the text ends in a block scalar of a mapping, to which a line break would be added."""
        last = mapping.entries[-1].value
        while last.kind == "mapping" and last.entries:
            last = last.entries[-1].value
        is_at_end = last.end == len(self.text) and line_start(self.text, last.end) < last.end
        return last.style in ("|", ">") and is_at_end

    def _step(self) -> int:
        """Return by how much this document indents."""
        column = self._column(self.root.entries[0].key) if self.root.entries and not self.root.is_flow else 0
        for entry in self.root.entries:
            inner = entry.value
            if inner.kind == "mapping" and inner.is_block:
                return max(1, self._column(inner.entries[0].key) - column)
        return _STEP

    def _is_long(self, mapping: Span) -> bool:
        """Return whether empty braces are on several lines, or marked, and so are kept."""
        return mapping.anchor is not None or BREAK.search(self.text, mapping.start, mapping.end) is not None

    def _is_nothing(self, value: Span) -> bool:
        return value.kind == "scalar" and value.style is None and value_of(value.text) is None


def _shown(value: Value, style: str | None = None, *, in_flow: bool = False) -> str:
    match value:
        case Text(text=text):
            return scalar(text, style, in_flow=in_flow)
        case Plain(value=plain):
            return str(plain)
        case FileReference(path=path):
            return f"{{file: {scalar(path, in_flow=True)}}}"


def _checked(edit: _Edit, line: int, path: Sequence[str], value: Value | None) -> str:
    """Return the result. Raises CannotEdit unless it says what was asked, everything else as before."""
    result = edit.result
    before, _ = trees_of("", edit.text)
    after, _ = trees_of("", result)
    expected = [_expected(tree, path, value) if tree.line == line else tree.value for tree in before]
    found = [tree.value for tree in after]
    if value is None and len(path) > 1:
        found = [_unless_empty(each, path[0]) for each in found]
        expected = [_unless_empty(each, path[0]) for each in expected]
    if json.dumps(found, sort_keys=True) != json.dumps(expected, sort_keys=True):
        shared = "its anchor is used elsewhere" if "*" in edit.text else "another field would change with it"
        raise CannotEdit(f"'{'.'.join(path)}' cannot be changed alone: {shared}")
    if Counter(edit.text[start:end] for start, end in edit.comments) - Counter(_comments_in(result)):
        raise CannotEdit(f"a comment would be lost with '{'.'.join(path)}'")
    return result


def _expected(tree: Node, path: Sequence[str], value: Value | None) -> Json:
    fields = tree.value if isinstance(tree.value, dict) else {}
    name, *inner = path
    if not inner:
        rest = {key: given for key, given in fields.items() if key != name}
        return rest if value is None else {**fields, name: _meant(value)}
    below = _expected(tree.parts[name], inner, value) if name in tree.parts else _meant_below(inner, value)
    return {**fields, name: below}


def _meant_below(path: Sequence[str], value: Value | None) -> Json:
    found: Json = None if value is None else _meant(value)
    for name in reversed(path):
        found = {name: found}
    return found


def _meant(value: Value) -> Json:
    match value:
        case Text(text=text):
            return text
        case Plain(value=plain):
            return plain
        case FileReference(path=path):
            return {"file": path}


def _unless_empty(value: Json, name: str) -> Json:
    if isinstance(value, dict) and value.get(name) == {}:
        return {key: given for key, given in value.items() if key != name}
    return value


def _comments_in(text: str) -> list[str]:
    return [text[start:end] for start, end in comments_of(text, [root for _, root in roots_of(text)])]
