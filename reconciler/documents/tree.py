"""Parse YAML text into one tree per document, in which every value has its position, and the problems found.

Only text, numbers, booleans, lists and mappings are constructed. Depth, aliases and the size with all aliases expanded
are bounded, and checked before anything is expanded.
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any

import yaml

from reconciler.documents.problem import NEVER_QUOTED, Path, Problem, dotted
from reconciler.documents.scalars import value_of
from reconciler.documents.syntax_problem import syntax_problem
from reconciler.documents.units import duration_s
from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json

MAX_DEPTH = 32
MAX_ALIASES = 100
MAX_EXPANDED_BYTES = 1024 * 1024

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STR_TAG = "tag:yaml.org,2002:str"


@dataclass(slots=True, eq=False)
class Node:
    """A value and its position.

    `value` is plain data; `written` is the same with every scalar as its text, so that 3.10 is not 3.1.
    """

    line: int
    column: int
    value: Json
    written: Json
    parts: dict[str | int, "Node"] = field(default_factory=dict)
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    weight: int = 1
    height: int = 0

    def at(self, path: Path) -> "Node":
        """Return the node at `path`, or its nearest ancestor in the file."""
        node = self
        for part in path:
            if part not in node.parts:
                break
            node = node.parts[part]
        return node

    def given(self, *path: str) -> "Node | None":
        """Return the node at `path`, None if the file has none."""
        node = self
        for name in path:
            if name not in node.keys:
                return None
            node = node.parts[name]
        return node

    def seconds(self, *path: str) -> float | None:
        """Return the duration at `path` in seconds, None if there is none or it is not valid."""
        node = self.given(*path)
        try:
            return None if node is None else duration_s(str(node.written))
        except ValueError:
            return None

    def written_at(self, *path: str) -> str:
        """Return the text of the scalar at `path`, exactly as in the file."""
        return str(self.at(path).written)


def trees_of(file: str, text: str) -> tuple[list[Node], list[Problem]]:
    """Return the documents of `text` that are not empty, and the problems of the text as YAML."""
    problems: list[Problem] = []
    trees: list[Node] = []
    events = yaml.parse(text, Loader=LOADER)
    try:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                tree = _Reader(file, events, problems).node((), next(events))
                if tree.value is not None:
                    trees.append(tree)
    except _Refusal as refusal:
        problems.append(refusal.problem)
    except yaml.MarkedYAMLError as error:
        problems.append(syntax_problem(file, text, error))
        # Text before a mistake in the first line or so is no document of its own.
        trees = [tree for tree in trees if isinstance(tree.value, dict)]
    except yaml.YAMLError as error:
        problems.append(Problem(file=file, line=1, column=1, path="", message=f"is not valid YAML: {error}"))
    return trees, problems


class _Refusal(Exception):
    """A problem that ends the reading of a document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Reader:
    """Builds one document's tree from the parser's events."""

    def __init__(self, file: str, events: Iterator[Any], problems: list[Problem]) -> None:
        self._file = file
        self._events = events
        self._problems = problems
        self._anchors: dict[str, Node | None] = {}
        self._aliases = 0

    def node(self, path: Path, event: Any) -> Node:
        """Return the value that begins with `event`, with all it contains."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(path, event)
        if len(path) > MAX_DEPTH:
            raise self._refusal((), event, f"is nested more than {MAX_DEPTH} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(path, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(path, event)
        else:
            node = self._mapping(path, event)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _scalar(self, path: Path, event: Any) -> Node:
        text = str(event.value)
        if event.tag not in (None, "!", _STR_TAG):
            self._report_tag(path, event)
        if "\0" in text:
            self._report(path, event, "contains a NUL character; remove it")
        plain = event.tag is None and event.implicit[0]
        value = value_of(text) if plain else text
        mark = event.start_mark
        return Node(mark.line + 1, mark.column + 1, value, None if value is None else text, weight=1 + len(text))

    def _sequence(self, path: Path, event: Any) -> Node:
        node = self._collection(path, event)
        while not isinstance(item := next(self._events), yaml.SequenceEndEvent):
            index = len(node.parts)
            self._attach(node, index, self.node((*path, index), item), path, item)
        node.value = [part.value for part in node.parts.values()]
        node.written = [part.written for part in node.parts.values()]
        return node

    def _mapping(self, path: Path, event: Any) -> Node:
        node = self._collection(path, event)
        while not isinstance(key := next(self._events), yaml.MappingEndEvent):
            if not isinstance(key, yaml.ScalarEvent):
                raise self._refusal(path, key, "has a field name that is not plain text")
            name = str(key.value)
            field_path = (*path, name)
            if name == "<<":
                self._report(field_path, key, "merge keys are not supported; repeat the fields")
            elif name in node.keys:
                first = node.keys[name][0]
                self._report(field_path, key, f"duplicate field '{name}', first given at line {first}")
            child = self.node(field_path, next(self._events))
            if name not in node.keys and name != "<<":
                node.keys[name] = _position(key)
                node.weight += len(name)
                self._attach(node, name, child, path, key)
        node.value = {str(name): part.value for name, part in node.parts.items()}
        node.written = {str(name): part.written for name, part in node.parts.items()}
        return node

    def _collection(self, path: Path, event: Any) -> Node:
        if event.tag is not None:
            self._report_tag(path, event)
        return Node(event.start_mark.line + 1, event.start_mark.column + 1, None, None)

    def _attach(self, node: Node, part: str | int, child: Node, path: Path, event: Any) -> None:
        node.parts[part] = child
        node.weight += child.weight
        node.height = max(node.height, child.height + 1)
        if node.weight > MAX_EXPANDED_BYTES:
            raise self._refusal(path, event, "is larger than 1 MiB with its aliases expanded")

    def _alias(self, path: Path, event: Any) -> Node:
        self._aliases += 1
        if event.anchor not in self._anchors:
            if NEVER_QUOTED.intersection(path):
                message = "refers to an anchor that is not defined above; quote text that begins with '*'"
                raise self._refusal(path, event, message)
            raise self._refusal(path, event, f"refers to the anchor '&{event.anchor}', which is not defined above")
        node = self._anchors[event.anchor]
        if node is None:
            raise self._refusal(path, event, f"alias '*{event.anchor}' refers to a value that contains it")
        if self._aliases > MAX_ALIASES:
            raise self._refusal(path, event, f"uses more than {MAX_ALIASES} aliases")
        if len(path) + node.height > MAX_DEPTH:
            raise self._refusal((), event, f"is nested more than {MAX_DEPTH} levels deep")
        return node

    def _report(self, path: Path, event: Any, message: str) -> None:
        self._problems.append(self._refusal(path, event, message).problem)

    def _report_tag(self, path: Path, event: Any) -> None:
        if NEVER_QUOTED.intersection(path):
            self._report(path, event, "has a tag, which is not supported; quote text that begins with '!'")
            return
        shown = str(event.tag).replace("tag:yaml.org,2002:", "!!")
        self._report(path, event, f"the tag {shown} is not supported; write the plain value")

    def _refusal(self, path: Path, event: Any, message: str) -> _Refusal:
        mark = event.start_mark
        return _Refusal(
            Problem(file=self._file, line=mark.line + 1, column=mark.column + 1, path=dotted(path), message=message)
        )


def _position(event: Any) -> tuple[int, int]:
    """Return the line and column of an event, counted from 1."""
    return event.start_mark.line + 1, event.start_mark.column + 1
