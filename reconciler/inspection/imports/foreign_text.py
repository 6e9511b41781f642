"""Read foreign files that lie in one directory: regular files of bounded size, never through a link that leads out.

Formats become items: YAML and JSON by their tree, ini files by their sections, environment files by their lines.
Nothing is executed or expanded, and aliases are bounded.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.inspection.imports.ledger import Item
from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import read_file

LARGEST = 256 * 1024
MAX_ITEMS = 5000
_MAX_DEPTH = 32
_MAX_ALIASES = 200
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MERGE = "tag:yaml.org,2002:merge"
_COMMENT_SIGNS = ("#", ";")
# Where a value ends before its comment.
_END = re.compile(r"\s;|;\s")
_END_BESIDE_QUOTES = re.compile(r"\s;")


class Unreadable(Exception):
    """A foreign file that cannot be read; the text says which, where and why."""


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory of foreign files and, often, of an app's source."""

    path: Path

    def has(self, *names: str) -> bool:
        """Tell whether one of these files or directories is there."""
        return any((self.path / name).exists() for name in names)

    def text(self, name: str) -> str:
        """Return the text of a file, its lines ended as on Linux. Raises Unreadable."""
        try:
            content = read_file(self.path / name, LARGEST, within=self.path)
            text = decoded(content)
        except Undecodable as error:
            raise Unreadable(f"{name}: it is {error}") from error
        except (OSError, ValueError) as error:
            raise Unreadable(f"{name}: {getattr(error, 'strerror', None) or error}") from error
        if "\0" in text:
            raise Unreadable(f"{name}: it has a NUL byte, so it is not text")
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def has_python(self) -> bool:
        """Tell whether the directory looks like the source of a Python app."""
        if self.has("requirements.txt", "pyproject.toml", "setup.py", "Pipfile", "manage.py", "wsgi.py", "app.py"):
            return True
        try:
            return any(True for _ in self.path.glob("*.py"))
        except OSError:
            return False


def yaml_items(file: str, text: str) -> Iterator[Item]:
    """Yield the leaves of a YAML or JSON file in order; raises Unreadable beyond the bounds or for bad syntax."""
    if text.lstrip()[:1] in {"{", "["}:
        text = text.replace("\t", "  ")  # JSON may be indented by tabs
    try:
        _require_bounds(file, text)
        for count, document in enumerate(yaml.compose_all(text, Loader=_LOADER)):
            if count > _MAX_DEPTH:
                raise Unreadable(f"{file}: it has more than {_MAX_DEPTH} documents")
            if document is not None:
                yield from _Leaves(file).of(document, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{file}:{mark.line + 1}" if mark else file
        raise Unreadable(f"{where}: it is not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise Unreadable(f"{file}: it is not valid YAML") from error


def _require_bounds(file: str, text: str) -> None:
    depth = aliases = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.AliasEvent):
            aliases += 1
        if depth > _MAX_DEPTH:
            raise Unreadable(f"{file}: it is nested more than {_MAX_DEPTH} levels deep")
        if aliases > _MAX_ALIASES:
            raise Unreadable(f"{file}: it uses more than {_MAX_ALIASES} aliases")


class _Leaves:
    """Flattens nodes, of which aliases make one appear many times, into at most so many items."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def of(self, node: Any, path: tuple[str, ...]) -> Iterator[Item]:
        if len(path) > _MAX_DEPTH:
            raise Unreadable(f"{self._file}: it is nested more than {_MAX_DEPTH} levels deep with its aliases")
        if isinstance(node, yaml.MappingNode) and node.value:
            for name, value in _fields(node):
                yield from self.of(value, (*path, name))
        elif isinstance(node, yaml.SequenceNode) and node.value:
            for index, value in enumerate(node.value):
                yield from self.of(value, (*path, str(index)))
        else:
            self._count += 1
            if self._count > MAX_ITEMS:
                raise Unreadable(f"{self._file}: it has more than {MAX_ITEMS} values")
            is_null = not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null"
            mark = node.start_mark
            yield Item(
                file=self._file,
                line=mark.line + 1,
                column=mark.column + 1,
                path=path,
                value="" if is_null else str(node.value),
            )


def _fields(node: Any) -> list[tuple[str, Any]]:
    """Return the fields of a mapping with those that it merges in, which its own override."""
    own = [(str(key.value), value) for key, value in node.value if key.tag != _MERGE]
    known = {name for name, _ in own}
    merged: list[tuple[str, Any]] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            parts = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for part in parts:
                for inner, child in part.value if isinstance(part, yaml.MappingNode) else ():
                    name = str(inner.value)
                    if name not in known and inner.tag != _MERGE:
                        known.add(name)
                        merged.append((name, child))
    return [*merged, *own]


def ini_items(file: str, text: str, *, continued: str = "") -> Iterator[Item]:  # noqa: C901, PLR0912  one line of a file has that many forms
    r"""Yield the settings of an ini file as (section, name), in order.

    `continued` says how a value goes on in the next line: "indent", as in supervisord, or "\\" at the end, as in
    systemd. A line that is no setting is an item without a name, for what reads it to leave out.
    """
    section, pending = "", None
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        is_comment = bare.startswith(_COMMENT_SIGNS)
        if pending is not None and continued == "\\":
            if not is_comment:
                more = bare.endswith("\\")
                pending = _longer(pending, bare.removesuffix("\\"))
                if not more:
                    yield pending
                    pending = None
            continue
        if pending is not None and bare and line[:1] in " \t" and not is_comment:
            pending = _longer(pending, _without_comment(bare))
            continue
        if pending is not None and (bare and not is_comment):
            yield pending
            pending = None
        if not bare or is_comment:
            continue
        if bare.startswith("[") and "]" in bare:
            section = bare[1 : bare.index("]")].strip()
            continue
        name, equals, value = bare.partition("=")
        if not equals and ":" in bare and continued == "indent":
            name, equals, value = bare.partition(":")
        value = _without_comment(value.strip()) if continued == "indent" else value.strip()
        item = Item(
            file=file,
            line=number,
            column=1,
            path=(section, name.strip() if equals else ""),
            value=value if equals else bare,
            sign="=" if equals else "",
        )
        if continued == "indent":
            pending = item
        elif continued == "\\" and value.endswith("\\"):
            pending = _longer(item, "", cut=True)
        else:
            yield item
    if pending is not None:
        yield pending


def _longer(item: Item, text: str, *, cut: bool = False) -> Item:
    value = item.value.removesuffix("\\").rstrip() if cut else item.value
    return Item(
        file=item.file,
        line=item.line,
        column=item.column,
        path=item.path,
        value=f"{value} {text.strip()}".strip(),
        sign=item.sign,
    )


def _without_comment(value: str) -> str:
    """Return a value without its comment: what follows ` ;` or, as people write it, `; `."""
    ends = _END_BESIDE_QUOTES if set(value) & set("'\"") else _END
    return ends.split(value, maxsplit=1)[0].rstrip().removesuffix(";")


def env_items(file: str, text: str) -> Iterator[Item]:
    """Yield the NAME=VALUE lines of an environment file, quotes removed; any other line has no name."""
    for number, line in enumerate(text.split("\n"), 1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        name, equals, value = bare.removeprefix("export ").partition("=")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield Item(
            file=file,
            line=number,
            column=1,
            path=(name.strip(),) if equals else ("",),
            value=value if equals else bare,
            sign="=" if equals else "",
        )
