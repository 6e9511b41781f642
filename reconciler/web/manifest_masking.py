"""The text of a manifest without secrets: only what is known to hold none is shown, and lines keep their numbers.

Fields of the schemas are shown, and in variables, credentials, parameters and fields unknown to the schemas only names,
files and values that are known to be harmless.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal, TypeAlias

import yaml

from reconciler.documents.schemas import schema
from reconciler.vault.command_lines import redacted_arguments, redacted_command
from reconciler.vault.given_values import is_harmless
from reconciler.vault.secret import HIDDEN
from reconciler.vault.secret_patterns import LineRedactor, is_secret_name, words_of

# How the values below a field are treated: shown, shown if harmless, hidden, as a command line or its arguments, or as
# names with a command line each or with fields.
_Values: TypeAlias = Literal["shown", "harmless", "hidden", "command", "arguments", "lines"]
_BY_FIELD: dict[str, _Values] = {
    "env": "harmless", "environment": "harmless", "raw_env": "harmless", "credentials": "harmless",
    "parameters": "harmless", "release": "command", "command": "arguments", "processes": "lines",
}  # fmt: skip
_MERGE = "<<"
_NAME = re.compile(r"[\w.-]{1,100}")
_KEY = re.compile(
    r"^(?P<indent>[ \t]*(?:- )*)(?P<quote>[\"']?)(?P<name>[\w.-]+)(?P=quote)[ \t]*:(?P<value>(?:[ \t]+.*)?)$"
)
_ITEM = re.compile(r"^[ \t]*- [\w./-]{1,60}[ \t]*$")
_NAMES = re.compile(r"(?<![\w.-])([\w.-]+)[\"']?\s*:")
_STRUCTURE = re.compile(r"[ \t]*+(?:---|\.\.\.)?[ \t]*")
_SCHEMA_COMMENT = re.compile(r"#\s*yaml-language-server:\s*\$schema=\S+\s*")
_PLAIN_COMMENT_WORD = re.compile(r"[^\W\d_]+(?:['-][^\W\d_]+)*|\d{1,3}|[-&/]")
_FEWEST_COMMENT_WORDS = 3


def masked(text: str) -> list[str]:
    """Return the lines without secrets; of a text that does not parse, more than those is hidden."""
    by_shape = LineRedactor()
    try:
        spans = sorted({*_spans(text)}, reverse=True)
    except (yaml.YAMLError, RecursionError, ValueError):
        return [by_shape.redacted(line) for line in _by_line(text.splitlines())]
    before = len(text) + 1
    for start, end, shown in spans:
        if end > before:  # within one that is hidden already
            continue
        before = start
        # Its line breaks stay, so that lines keep their numbers.
        text = text[:start] + shown + "\n" * (text.count("\n", start, end) - shown.count("\n")) + text[end:]
    return [by_shape.redacted(line) for line in text.splitlines()]


_Span: TypeAlias = tuple[int, int, str]


def _spans(text: str) -> Iterator[_Span]:
    """Yield what is not shown, with what is shown in its place."""
    for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
        values: _Values = "shown" if isinstance(document, yaml.MappingNode) else "harmless"
        yield from _Masking(text).spans(document, values, "", top=True)
    yield from _comments(text)


class _Masking:
    """Yields the spans of one document; an anchor's value is judged at each place that refers to it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._seen: set[tuple[int, _Values, str]] = set()

    def spans(self, node: yaml.Node | None, values: _Values, name: str, *, top: bool = False) -> Iterator[_Span]:
        if node is None or (id(node), values, name) in self._seen:
            return
        self._seen.add((id(node), values, name))
        if isinstance(node, yaml.MappingNode):
            yield from self._of_mapping(node, values, top=top)
        elif isinstance(node, yaml.SequenceNode):
            yield from self._of_sequence(node, values, name)
        elif isinstance(node, yaml.ScalarNode) and node.end_mark.index > node.start_mark.index:
            yield from self._of_scalar(node, values, name)

    def _of_mapping(self, node: yaml.MappingNode, values: _Values, *, top: bool) -> Iterator[_Span]:
        is_file = values != "shown" and len(node.value) == 1 and node.value[0][0].value == "file"
        for key, value in node.value:
            name = str(key.value)
            if not _NAME.fullmatch(name) and name != _MERGE:
                yield key.start_mark.index, key.end_mark.index, HIDDEN
            if is_file and isinstance(value, yaml.ScalarNode):
                continue
            below = values if name == _MERGE else _values_below(name, values, top=top)
            if values == "lines" and name != _MERGE:
                below = "shown" if isinstance(value, yaml.MappingNode) else "command"
            yield from self.spans(value, below, name, top=top and name == _MERGE)

    def _of_sequence(self, node: yaml.SequenceNode, values: _Values, name: str) -> Iterator[_Span]:
        if values == "arguments" and all(isinstance(item, yaml.ScalarNode) for item in node.value):
            secret = redacted_arguments([str(item.value) for item in node.value])
            for item, hides in zip(node.value, secret, strict=True):
                yield from self.spans(item, "hidden" if hides else "shown", "")
            return
        for item in node.value:
            yield from self.spans(item, values, "" if values == "harmless" else name)

    def _of_scalar(self, node: yaml.ScalarNode, values: _Values, name: str) -> Iterator[_Span]:
        start, end = node.start_mark.index, node.end_mark.index
        match values:
            case "hidden":
                yield start, end, HIDDEN
            case "harmless" | "arguments":
                if not is_harmless(name if values == "harmless" else "", str(node.value)):
                    yield start, end, HIDDEN
            case "command":
                written = self._text[start:end]
                if (shown := redacted_command(written)) != written:
                    yield start, end, shown


def _values_below(name: str, values: _Values, *, top: bool) -> _Values:
    if values in {"shown", "harmless"} and is_secret_name(name):
        return "hidden"
    if values != "shown":
        return values
    return _BY_FIELD.get(name, "shown" if not top or name in _fields() else "harmless")


@cache
def _fields() -> frozenset[str]:
    """Return the fields that a manifest may have."""
    return frozenset((*schema("app")["properties"], *schema("service")["properties"]))


@cache
def _all_fields() -> frozenset[str]:
    """Return the names of all fields at any depth whose values are shown."""

    def below(part: Any) -> Iterator[str]:
        if isinstance(part, dict):
            properties = part.get("properties")
            yield from properties if isinstance(properties, dict) else ()
            for inner in part.values():
                yield from below(inner)
        elif isinstance(part, list):
            for inner in part:
                yield from below(inner)

    names = {*below(schema("app")), *below(schema("service"))}
    return frozenset(name for name in names - _BY_FIELD.keys() if not is_secret_name(name))


def _comments(text: str) -> Iterator[_Span]:
    """Yield the comments that may hold a secret, such as a value that was in force before."""
    position = 0
    for token in yaml.scan(text, Loader=yaml.SafeLoader):
        start, end = token.start_mark.index, token.end_mark.index
        yield from _comments_between(text, position, start)
        position = max(position, end)
    yield from _comments_between(text, position, len(text))


def _comments_between(text: str, first: int, last: int) -> Iterator[_Span]:
    for found in re.finditer("#[^\n]*", text[first:last]):
        if not _is_plain_comment(found[0]):
            yield first + found.start(), first + found.end(), f"# {HIDDEN}"


def _is_plain_comment(comment: str) -> bool:
    """Return whether a comment is prose, in which nothing looks like a value."""
    if _SCHEMA_COMMENT.fullmatch(comment) or not comment.strip("# \t\r-="):
        return True
    words = [word.strip(".,;!?()\"'`") for word in comment.strip("# \t\r").split()]
    return len(words) >= _FEWEST_COMMENT_WORDS and all(
        not word or (_PLAIN_COMMENT_WORD.fullmatch(word) and not any(map(is_secret_name, words_of(word))))
        for word in words
    )


def _by_line(lines: list[str]) -> Iterator[str]:
    """Show the values of known fields, and hide those of others with everything indented below."""
    below: int | None = None
    for text in lines:
        indent = len(text) - len(text.lstrip())
        if _STRUCTURE.fullmatch(text) or (text.lstrip().startswith("#") and _is_plain_comment(text.lstrip())):
            yield text
            continue
        key = _KEY.match(text)
        if below is not None and indent > below:
            shown = key is not None and is_harmless(key["name"], key["value"].strip(" \t\"'"))
            yield text if shown else text[:indent] + HIDDEN
            continue
        below = None
        if key is not None and key["name"] in _all_fields() and _is_shown(key["value"]):
            yield text
        elif key is not None:
            below = indent
            yield text[: key.start("value")] + (f" {HIDDEN}" if key["value"].strip() else "")
        else:
            yield text if _ITEM.match(text) else text[:indent] + HIDDEN


def _is_shown(value: str) -> bool:
    """Return whether what follows a known field names no other field, and has no comment."""
    return "#" not in value and all(name in _all_fields() for name in _NAMES.findall(value))
