"""A manifest as written in, the same without what should stay secret out, line for line."""

import re
from collections.abc import Iterator

import yaml

_HIDDEN = "•••"
_SECRET = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|PASS$|^PASS|CREDENTIAL|DSN|PRIVATE", re.IGNORECASE)
_IN_URL = re.compile(r"(?<=://)([^/\s:@'\"]*):[^\s'\"/]+@")
_LINE = re.compile(r"^(\s*(?:- )?[\"']?([\w.-]+)[\"']?\s*:\s+)(\S.*)$")


def masked(text: str) -> list[str]:
    """The lines, with the values of secrets hidden; what does not parse is hidden more generously."""
    try:
        spans = sorted(_spans(text), reverse=True)
    except (yaml.YAMLError, RecursionError, ValueError):
        return [_IN_URL.sub(rf"\1:{_HIDDEN}@", part) for part in _by_line(text.splitlines())]
    for start, end in spans:
        hidden = text[start:end]
        # Its line breaks stay, so that lines keep their numbers.
        text = text[:start] + _HIDDEN + "\n" * hidden.count("\n") + text[end:]
    return [_IN_URL.sub(rf"\1:{_HIDDEN}@", part) for part in text.splitlines()]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """Where secrets are: what is named like one, and all of `credentials`, but for names of files."""
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
            named = bool(_SECRET.search(name)) and name != "token"
            yield from _within(value, secret=secret or named, seen=seen)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _within(value, secret=secret, seen=seen)
    elif secret and node.end_mark.index > node.start_mark.index:
        yield node.start_mark.index, node.end_mark.index


def _by_line(lines: list[str]) -> Iterator[str]:
    """Hide what follows a secret's name, and all that is indented below it."""
    below: int | None = None
    for text in lines:
        indent = len(text) - len(text.lstrip())
        if below is not None and (indent > below or not text.strip()):
            yield text[:indent] + _HIDDEN if text.strip() else text
            continue
        below = None
        found = _LINE.match(text)
        if re.search(r"[\w-]*(KEY|SECRET|TOKEN|PASS|CREDENTIAL|DSN|PRIVATE)[\w-]*[\"']?\s*:", text, re.IGNORECASE):
            below = indent
            head = found[1] if found and _SECRET.search(found[2]) else text.partition(":")[0] + ": "
            yield head + _HIDDEN
        else:
            yield text
