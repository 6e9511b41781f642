"""Every regular expression of the package takes time that grows with the text, and not with its square.

Each is searched for, in a process of its own, in the worst that can be made of its own parts; what takes long there is
ended by a limit of processor time, so that no clock decides.
"""

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias, TypeGuard

import pytest

from reconciler.manifests.git import fetch_failures

# Its place, its text, its flags, and the methods it is used with.
Expression: TypeAlias = tuple[str, str, int, list[str]]

PACKAGE = Path(__file__).parents[3] / "reconciler"

# Made of parts that are known when a program runs only.
_BUILT = {
    "reconciler/documents/fitting.py": 1,  # the patterns of the schemas, which are tried below
    "reconciler/inspection/imports/known_servers.py": 1,  # a host's name, escaped
    "reconciler/manifests/git/fetch_failures.py": 1,  # a table, which is tried below
    "reconciler/routing/world.py": 1,  # an address, escaped
    "reconciler/staging/detection/runtimes.py": 1,
    "reconciler/staging/source/ignore_rules.py": 1,  # its own test holds it
}

# How long a text is, how much processor time one search of it may take, in ms, how many parts are repeated, and after
# how many beginnings.
_QUICK = (1 << 15, 250, 10, 4)
_WHOLE = (1 << 16, 2000, 1000, 1000)
_SEARCH = r"""
import json, re, resource, signal, sys
from re import _parser

LENGTH, MILLISECONDS, PUMPS, HEADS = map(int, sys.argv[1:])


def texts(tree, depth=0):
    '''Yield short texts that parts of an expression match: what a worst case is made of.'''
    yield from {shortest(tree)}
    for op, value in tree:
        name = str(op)
        if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            yield from texts(value[2], depth + 1)
        elif name == "SUBPATTERN":
            yield from texts(value[-1], depth + 1)
        elif name == "BRANCH":
            for branch in value[1]:
                yield from texts(branch, depth + 1)
        elif name in ("ASSERT", "ASSERT_NOT"):
            yield from texts(value[1], depth + 1)
        elif name == "ATOMIC_GROUP":
            yield from texts(value, depth + 1)
        else:
            yield shortest([(op, value)])


def shortest(tree):
    found = ""
    for op, value in tree:
        name = str(op)
        if name == "LITERAL":
            found += chr(value)
        elif name == "NOT_LITERAL":
            found += "!" if value != ord("!") else "?"
        elif name == "ANY":
            found += "a"
        elif name == "IN":
            found += of_set(value)
        elif name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
            found += shortest(value[2]) * max(1, min(value[0], 3))
        elif name == "SUBPATTERN":
            found += shortest(value[-1])
        elif name == "BRANCH":
            found += shortest(value[1][0])
        elif name == "ATOMIC_GROUP":
            found += shortest(value)
    return found


def of_set(parts):
    negated = any(str(op) == "NEGATE" for op, _ in parts)
    pattern = re.compile("[" + "".join(written(op, value) for op, value in parts) + "]")
    for letter in "a1A_ .-/:=\"'[(\t\n,;@!":
        if pattern.match(letter):
            return letter
    return "x"


def written(op, value):
    name = str(op)
    if name == "NEGATE":
        return "^"
    if name == "LITERAL":
        return re.escape(chr(value))
    if name == "RANGE":
        return re.escape(chr(value[0])) + "-" + re.escape(chr(value[1]))
    return {"CATEGORY_DIGIT": r"\d", "CATEGORY_WORD": r"\w", "CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S",
            "CATEGORY_NOT_WORD": r"\W", "CATEGORY_NOT_DIGIT": r"\D"}[str(value)]


class TooLong(BaseException):
    pass


def stop(*_):
    raise TooLong


signal.signal(signal.SIGVTALRM, stop)
slow = []
for where, pattern, flags, methods in json.load(sys.stdin):
    compiled = re.compile(pattern, flags)
    tree = _parser.parse(pattern, flags)
    whole = shortest(tree)
    parts = [text for text in dict.fromkeys(texts(tree)) if text][:30]
    begun = [whole[:n] + end for n in range(1, min(len(whole), 16)) for end in ("", "\n", " ")]
    pumps = list(dict.fromkeys((*parts, *begun, *(part + "\n" for part in parts))))
    heads = ["", whole, *(whole[:n] for n in range(1, min(len(whole), 12)))]
    try:
        for pump in pumps[:PUMPS]:
            for head in heads[:HEADS]:
                text = head + pump * (LENGTH // len(pump)) + "\0"
                signal.setitimer(signal.ITIMER_VIRTUAL, MILLISECONDS / 1000)
                for method in methods:
                    getattr(compiled, method)(text)
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TooLong:
        slow.append(f"{where}: {pattern[:80]!r} on {head[:20]!r} + {pump!r} * n")
print(json.dumps(slow))
"""


def expressions() -> Iterator[Expression]:
    """Yield every expression of the package, with its place, its flags and how it is used."""
    for file in sorted(PACKAGE.rglob("*.py")):
        place, built, text = file.relative_to(PACKAGE.parent).as_posix(), 0, file.read_text()
        module = ast.parse(text)
        named = {
            id(node.value): target.id
            for node in ast.walk(module)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(module):
            if not _is_of_re(node):
                continue
            assert isinstance(node, ast.Call)
            pattern = _constant(place, node.args[0])
            if pattern is None:
                built += 1
                continue
            flags = sum([int(getattr(re, each.attr)) for each in ast.walk(node) if _is_flag(each)])
            assert isinstance(node.func, ast.Attribute)
            methods = _uses(text, named.get(id(node))) if node.func.attr == "compile" else _anchored(node.func.attr)
            yield f"{place}:{node.lineno}", pattern, flags, methods
        held = list(_held(place)) if built > _BUILT.get(place, 0) else []
        assert len(held) >= built - _BUILT.get(place, 0), f"{place} builds an expression that nothing tries"
        yield from held
    for sign, why, _ in fetch_failures._SIGNS:
        yield f"fetch_failures.py {why}", sign, 0, ["search"]
    for schema in sorted((PACKAGE.parent / "schemas").glob("*.json")):
        for pattern in re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', schema.read_text()):
            yield schema.name, json.loads(pattern), 0, ["search"]


def _constant(place: str, node: ast.expr) -> str | None:
    """Return a pattern that is given, or made of what its module gives names; None if it is known later only."""
    if isinstance(node, ast.Constant):
        found = node.value
    else:
        module = importlib.import_module(place.removesuffix(".py").replace("/", "."))
        try:
            found = eval(ast.unparse(node), dict(vars(module)))
        except NameError:
            return None
    return found.decode("latin-1") if isinstance(found, bytes) else str(found)


def _held(place: str) -> Iterator[Expression]:
    """Yield the expressions that a module holds, whatever they were made of."""
    module = importlib.import_module(place.removesuffix(".py").replace("/", "."))
    for name, value in vars(module).items():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, re.Pattern) and isinstance(each.pattern, str):
                uses = _uses((PACKAGE.parent / place).read_text(), name)
                yield f"{place} {name}", each.pattern, each.flags & ~re.UNICODE, uses


def _uses(text: str, name: str | None) -> list[str]:
    """Return how a module uses an expression of this name: at the beginning of a text, or anywhere in it."""
    found = set(re.findall(rf"\b{name}\.(\w+)\b", text)) if name else set()
    return sorted({method for use in found for method in _anchored(use)} - {""}) or ["search"]


def _anchored(method: str) -> list[str]:
    if method in {"pattern", "flags"}:
        return []
    return [method] if method in {"match", "fullmatch"} else ["search"]


def _is_of_re(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "re"
        and node.func.attr in {"compile", "match", "search", "fullmatch", "sub", "split", "findall", "finditer"}
    )


def _is_flag(node: ast.AST) -> TypeGuard[ast.Attribute]:
    return (
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "re"
        and node.attr.isupper()
    )


def slow_among(found: list[Expression], search: tuple[int, int, int, int]) -> list[str]:
    done = subprocess.run(
        (sys.executable, "-c", _SEARCH, *map(str, search)),
        input=json.dumps(found), capture_output=True, text=True, check=True,
    )  # fmt: skip
    slow: list[str] = json.loads(done.stdout)
    return slow


def test_no_expression_is_slow_on_what_is_most_often_bad() -> None:
    assert slow_among(list(expressions()), _QUICK) == []


@pytest.mark.nightly
def test_no_expression_is_slow_on_the_worst_that_can_be_made_for_it() -> None:
    assert slow_among(list(expressions()), _WHOLE) == []


def test_an_expression_that_is_slow_is_found() -> None:
    (slow,) = slow_among([("here", r"^(\w+)\s*(?::[^=]+)?=(?!=)", int(re.MULTILINE), ["search"])], _WHOLE)
    assert slow.startswith("here: ")
