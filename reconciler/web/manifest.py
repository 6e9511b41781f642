"""A manifest file as the page shows it: its lines, secrets masked, with the errors of each."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reconciler.linux.files import opened
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import LineRedactor, is_secret_name

_LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line, its number from 1, and its errors."""

    number: int
    text: str
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownManifest:
    """`problem` says why there are no lines; it is empty when there are."""

    file: str
    lines: tuple[Line, ...] = ()
    errors: int = 0
    problem: str = ""


def shown_manifest(file: str | None, files: Sequence[Mapping[str, Any]], directory: Path) -> ShownManifest | None:
    """Return the file's lines, secrets masked; None for an app without a manifest."""
    if file is None:
        return None
    path = Path(file)
    errors: list[Mapping[str, Any]] = next((entry["errors"] for entry in files if entry["file"] == file), [])
    if directory not in path.parents:
        return ShownManifest(file=file, problem="is no longer in the directory of manifests")
    try:
        with opened(path) as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as error:
        return ShownManifest(file=file, errors=len(errors), problem=f"cannot be read: {error.strerror}")
    if len(content) > _LARGEST:
        return ShownManifest(file=file, errors=len(errors), problem="is too large to show")
    found: dict[int, list[str]] = {}
    texts = masked(content.decode("utf-8", "replace"))
    for wrong in errors:
        message = f"{wrong['path']}: {wrong['message']}" if wrong["path"] else str(wrong["message"])
        found.setdefault(min(max(wrong["line"], 1), max(len(texts), 1)), []).append(message)
    lines = tuple(
        Line(number=number, text=text, errors=tuple(found.get(number, ()))) for number, text in enumerate(texts, 1)
    )
    return ShownManifest(file=file, lines=lines, errors=len(errors))


_LINE = re.compile(r"^(\s*(?:- )?[\"']?([\w.-]+)[\"']?\s*:\s+)(\S.*)$")
_NAME = re.compile(r"([\w.-]+)[\"']?\s*:")


def masked(text: str) -> list[str]:
    """Return the lines with secrets hidden; of a text that does not parse, more than that."""
    by_shape = LineRedactor()
    try:
        spans = sorted(_spans(text), reverse=True)
    except (yaml.YAMLError, RecursionError, ValueError):
        return [by_shape.redacted(line) for line in _by_line(text.splitlines())]
    for start, end in spans:
        hidden = text[start:end]
        # Its line breaks stay, so that lines keep their numbers.
        text = text[:start] + HIDDEN + "\n" * hidden.count("\n") + text[end:]
    return [by_shape.redacted(line) for line in text.splitlines()]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans of secrets: values with secret names, and all of `credentials` except names of files."""
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        yield from _within(document, secret=False, seen=set())


def _within(node: yaml.Node | None, *, secret: bool, seen: set[int]) -> Iterator[tuple[int, int]]:
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = str(key.value)
            if secret and name == "file" and len(node.value) == 1:
                continue
            yield from _within(value, secret=secret or is_secret_name(name), seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _within(value, secret=secret, seen=seen)
    elif secret and node.end_mark.index > node.start_mark.index:
        yield node.start_mark.index, node.end_mark.index


def _by_line(lines: list[str]) -> Iterator[str]:
    """Mask what follows a secret's name, and everything indented below it."""
    below: int | None = None
    for text in lines:
        indent = len(text) - len(text.lstrip())
        if below is not None and (indent > below or not text.strip()):
            yield text[:indent] + HIDDEN if text.strip() else text
            continue
        below = None
        found = _LINE.match(text)
        if any(is_secret_name(name) for name in _NAME.findall(text)):
            below = indent
            head = found[1] if found and is_secret_name(found[2]) else text.partition(":")[0] + ": "
            yield head + HIDDEN
        else:
            yield text
