"""Read and write the formats of SOPS' documents: YAML, JSON, dotenv, INI, and a whole file inside of JSON.

A document becomes one tree per YAML document, of mappings, lists and scalars, in the order of the file. No message
contains anything of a file but its line numbers and the names of its fields.
"""

import json
import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum, auto
from typing import Any, TypeAlias

import yaml

from reconciler.documents.scalars import value_of
from reconciler.documents.tree import Node, trees_of
from reconciler.vault.encryption.age import CannotOpen

Tree: TypeAlias = dict[str, Any]

METADATA = "sops"
_TOP = "DEFAULT"  # what is above the first section of INI
_DOTENV = re.compile(r"^sops_(?:mac|version|lastmodified)=", re.MULTILINE)
_INI = re.compile(r"^\[sops\][ \t]*$", re.MULTILINE)
_SECTION = re.compile(r"\[([^\]]+)\]")
_ENTRY = re.compile(r"([^=:]+)[=:]")
_WHOLE = re.compile(r"-?[1-9][0-9]{18}")
_QUOTES = ('"""', "`", '"', "'")
_STEP = re.compile(r"__(?:map_|list_(?=[0-9]))")
_UNREADABLE = "is cut short or damaged: it has values that SOPS encrypted, and"


class Format(StrEnum):
    """The format of a document."""

    YAML = auto()
    JSON = auto()
    DOTENV = auto()
    INI = auto()
    BINARY = auto()


def format_of(name: str, text: str) -> Format:
    """Return the format of a document. As in SOPS, JSON in a file of another name stands for a whole file."""
    if text.lstrip().startswith("{"):
        is_json = posixpath.splitext(name)[1] == ".json"
        return Format.JSON if is_json else Format.BINARY
    if _DOTENV.search(text):
        return Format.DOTENV
    return Format.INI if _INI.search(text) else Format.YAML


def read(name: str, text: str) -> tuple[Format, list[Tree], Mapping[str, Any]]:
    """Return the format of a document, its trees, and SOPS' metadata. Raises CannotOpen."""
    found = format_of(name, text)
    trees = _READERS[found](text)
    metadata = trees[0].get(METADATA) if trees else None
    if not isinstance(metadata, Mapping):
        raise CannotOpen(f"it {_UNREADABLE} no metadata of SOPS")
    for tree in trees:
        tree.pop(METADATA, None)
    if found is Format.BINARY and [*trees[0]] != ["data"]:
        found = Format.JSON
    return found, trees, metadata


def written(form: Format, trees: Sequence[Tree]) -> bytes:
    """Return the text of decrypted trees. Raises CannotOpen."""
    return _WRITERS[form](trees).encode("utf-8", "surrogateescape")


def trees_in(form: Format, text: str) -> list[Tree]:
    """Return the trees of a text that was decrypted already. Raises CannotOpen."""
    return _READERS[form](text)


def fields_of(trees: Sequence[Tree]) -> Tree:
    """Return the fields of the one document there is. Raises CannotOpen for none or several."""
    if not trees:
        raise CannotOpen("it has no fields")
    if len(trees) > 1:
        raise CannotOpen("it has several documents, where one is expected")
    return trees[0]


# Readers


def _of_yaml(text: str) -> list[Tree]:
    trees, problems = trees_of("", text)
    for problem in problems[:1]:
        raise CannotOpen(f"it {_UNREADABLE} no valid YAML at line {problem.line}")
    values = [_plain(tree) for tree in trees]
    if not all(isinstance(value, dict) for value in values):
        raise CannotOpen(f"it {_UNREADABLE} a document without fields")
    return values


def _plain(node: Node) -> Any:
    """Return the value of a node, with whole numbers of 64 bits as such, as SOPS has them."""
    if isinstance(node.value, dict):
        return {name: _plain(part) for name, part in node.parts.items()}
    if isinstance(node.value, list):
        return [_plain(part) for part in node.parts.values()]
    if isinstance(node.value, float) and _WHOLE.fullmatch(str(node.written)):
        return int(str(node.written))
    return node.value


def _of_json(text: str) -> list[Tree]:
    try:
        found = json.loads(text, object_pairs_hook=_distinct, parse_int=_number)
    except RecursionError:
        raise CannotOpen("it is nested too deeply") from None
    except ValueError as error:
        where = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise CannotOpen(f"it {_UNREADABLE} no valid JSON{where}") from None
    return [found] if isinstance(found, dict) else []


def _of_dotenv(text: str) -> list[Tree]:
    plain: list[tuple[str, Any]] = []
    flat: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line or line.startswith("#"):
            continue
        key, separator, value = line.partition("=")
        if not separator:
            raise CannotOpen(f"it {_UNREADABLE} no NAME=VALUE at line {number}")
        value = value.replace("\\n", "\n")
        if key.startswith(f"{METADATA}_"):
            flat[key.removeprefix(f"{METADATA}_")] = value
        else:
            plain.append((key, value))
    tree = _distinct(plain)
    return [{**tree, METADATA: _unflattened(flat)} if flat else tree]


def _of_ini(text: str) -> list[Tree]:
    sections: Tree = {}
    entries: list[tuple[str, Any]] = []
    sections[_TOP] = entries
    for number, given_line in enumerate(text.splitlines(), 1):
        line = given_line.strip()
        if not line or line[0] in "#;":
            continue
        if section := _SECTION.fullmatch(line):
            entries = sections.setdefault(section[1], [])
            continue
        entry = _ENTRY.match(line)
        if entry is None:
            raise CannotOpen(f"it {_UNREADABLE} no 'name = value' at line {number}")
        entries.append((entry[1].strip(), _unquoted(line[entry.end() :].strip())))
    tree: Tree = {name: _distinct(given) for name, given in sections.items() if given or name != _TOP}
    if METADATA in tree:
        tree[METADATA] = _unflattened({key: value.replace("\\n", "\n") for key, value in tree[METADATA].items()})
    return [tree]


def _unquoted(value: str) -> str:
    for quote in _QUOTES:
        if len(value) >= 2 * len(quote) and value.startswith(quote) and value.endswith(quote):
            return value[len(quote) : -len(quote)]
    return value


def _number(digits: str) -> int | float:
    """Return a number of JSON as SOPS counts it, in double precision."""
    number = float(digits)
    return int(number) if abs(number) < 2**53 else number


def _distinct(pairs: Iterable[tuple[str, Any]]) -> Tree:
    tree: Tree = {}
    for key, value in pairs:
        if key in tree:
            raise CannotOpen(f"it has the field '{key}' twice" if key.isprintable() else "it has a field twice")
        tree[key] = value
    return tree


def _unflattened(flat: Mapping[str, str]) -> Tree:
    """Return metadata from the keys that SOPS makes of its paths, such as `age__list_0__map_enc`."""
    top: Tree = {}
    for key, value in flat.items():
        *above, last = _STEP.split(key)
        node = top
        for step in above:
            node = node.setdefault(step, {})
            if not isinstance(node, dict):
                raise CannotOpen("its metadata of SOPS is damaged")
        node[last] = value
    return {key: _lists(value) for key, value in top.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(key.isdecimal() for key in node):
        return [_lists(node[key]) for key in sorted(node, key=lambda key: int(key[:9]))]
    return {key: _lists(value) for key, value in node.items()}


# Writers


class _Dumper(yaml.SafeDumper):
    """Puts a text in quotes that YAML 1.2 takes for something else, such as 1e3 or 08, and one that does not print."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = text != "" and text.replace("\n", "").isprintable() and ("\n" in text or value_of(text) == text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_plain else '"')


_Dumper.add_representer(str, _text)


def _as_yaml(trees: Sequence[Tree]) -> str:
    return str(yaml.dump_all(trees, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=1 << 20))


def _as_json(trees: Sequence[Tree]) -> str:
    return json.dumps(trees[0], indent="\t", ensure_ascii=False) + "\n"


def _as_binary(trees: Sequence[Tree]) -> str:
    data = trees[0]["data"]
    if not isinstance(data, str):
        raise CannotOpen("it stands for a whole file, and 'data' is no text")
    return data


def _as_dotenv(trees: Sequence[Tree]) -> str:
    return "".join(f"{key}={_scalar(value)}\n" for key, value in trees[0].items())


def _as_ini(trees: Sequence[Tree]) -> str:
    lines: list[str] = []
    for name, section in trees[0].items():
        head = [] if name == _TOP else [f"[{name}]"]
        lines += [*head, *(f"{key} = {_scalar(value)}" for key, value in section.items()), ""]
    return "\n".join(lines)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("\n", "\\n")


_READERS: Mapping[Format, Callable[[str], list[Tree]]] = {
    Format.YAML: _of_yaml,
    Format.JSON: _of_json,
    Format.BINARY: _of_json,
    Format.DOTENV: _of_dotenv,
    Format.INI: _of_ini,
}
_WRITERS: Mapping[Format, Callable[[Sequence[Tree]], str]] = {
    Format.YAML: _as_yaml,
    Format.JSON: _as_json,
    Format.BINARY: _as_binary,
    Format.DOTENV: _as_dotenv,
    Format.INI: _as_ini,
}
