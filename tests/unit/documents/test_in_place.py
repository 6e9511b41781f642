"""A field of a YAML text is set or removed where it lies; all else stays, character by character."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hypothesis import given, note
from hypothesis import strategies as st

from reconciler.documents.in_place import CannotEdit, FileReference, Plain, Text, Value, with_field, without_field
from reconciler.documents.tree import LOADER, Node, trees_of
from tests.support.manifest_texts import comments_in, manifest_texts, values


def edited(text: str, path: str, value: Value | None) -> str:
    line = trees_of("", text)[0][0].line
    parts = path.split(".")
    return without_field(text, line, parts) if value is None else with_field(text, line, parts, value)


@pytest.mark.parametrize(
    ("before", "path", "value", "after"),
    [
        # absent, empty, null
        ("path: x\n", "env.A", Text("v"), "path: x\nenv:\n  A: v\n"),
        ("path: x", "env.A", Text("v"), "path: x\nenv:\n  A: v"),
        ("path: x\nenv:  # what\nport: 1\n", "env.A", Text("v"), "path: x\nenv:  # what\n  A: v\nport: 1\n"),
        ("path: x\nenv: ~ # what\n", "env.A", Text("v"), "path: x\nenv: # what\n  A: v\n"),
        ("path: x\nenv: {} # what\n", "env.A", Text("v"), "path: x\nenv: # what\n  A: v\n"),
        ("path: x\nworkers:\n", "workers", Plain(2), "path: x\nworkers: 2\n"),
        # block
        ("env:\n   A: 1 # a\n   # t\nport: 1\n", "env.B", Text("v"), "env:\n   A: 1 # a\n   B: v\n   # t\nport: 1\n"),
        ("env:\n  A: 'x'\t# a\tb\n", "env.A", Text("it's"), "env:\n  A: 'it''s'\t# a\tb\n"),
        ('env:\n  A: "x"\n', "env.A", Text("v"), 'env:\n  A: "v"\n'),
        ("env:\n  A: |- # why\n    x\n    y\n\n  B: 1\n", "env.A", Text("v"), "env:\n  A: v  # why\n\n  B: 1\n"),
        ("env:\n  A: one\n   two\n  B: 1\n", "env.A", Text("v"), "env:\n  A: v\n  B: 1\n"),
        ("env:\n  A:\n    # why\n    file: x # the key\n", "env.A", Text("v"), "env:\n  # why\n  A: v # the key\n"),
        ("env:\n  A: &a x\n", "env.A", Text("v"), "env:\n  A: v\n"),
        ("port: &p 1\nworkers: *p # w\n", "workers", Plain("auto"), "port: &p 1\nworkers: auto # w\n"),
        ("release: |+\n  x\n\n\n", "workers", Plain(2), "release: |+\n  x\n\n\nworkers: 2\n"),
        ("env:\n  A: 1\n  # B: 2\n# end\n", "workers", Plain(2), "env:\n  A: 1\n  # B: 2\nworkers: 2\n# end\n"),
        ("path: x\nenv:\n  A: |\n    x", "workers", Plain(2), "path: x\nworkers: 2\nenv:\n  A: |\n    x"),
        # flow
        ("env: {A: 1} # e\n", "env.B", Text("a:b"), 'env: {A: 1, B: "a:b"} # e\n'),
        ("env: {A: 1,}\n", "env.B", Text("v"), "env: {A: 1, B: v,}\n"),
        ("env: {\n  A: 1, # a\n}\n", "env.B", Text("v"), "env: {\n  A: 1, # a\n  B: v,\n}\n"),
        ("env: {\n  A: 1 # a\n}\n", "env.B", Text("v"), "env: {\n  A: 1, # a\n  B: v\n}\n"),
        ("{path: x}\n", "env.A", FileReference("s/a"), "{path: x, env: {A: {file: s/a}}}\n"),
        ("{path: x, env: }\n", "env.A", Text("v"), "{path: x, env: {A: v}}\n"),
        # removed
        ("env:\n  A: 1\n  B: 2 # b\n", "env.A", None, "env:\n  B: 2 # b\n"),
        ("env:\n  A: 1\n  B: 2 # b\n", "env.B", None, "env:\n  A: 1\n  # b\n"),
        ("path: x\nenv:\n  A: 1\nport: 1\n", "env.A", None, "path: x\nport: 1\n"),
        ("path: x\nenv:\n  A: 1", "env.A", None, "path: x"),
        ("path: x\nenv: # e\n  # a\n  A: 1\n", "env.A", None, "path: x\nenv: {} # e\n  # a\n"),
        ("path: x\nenv: {A: 1}\n", "env.A", None, "path: x\n"),
        ("path: x\nenv: {A: 1} # e\n", "env.A", None, "path: x\nenv: {} # e\n"),
        ("env: {A: 1, B: 2}\n", "env.A", None, "env: {B: 2}\n"),
        ("env: {A: 1, B: 2}\n", "env.B", None, "env: {A: 1}\n"),
        ("env: {\n  A: 1,\n  B: 2 # b\n}\n", "env.B", None, "env: {\n  A: 1,\n  # b\n}\n"),
        ("path: x\nstate: maintenance\nport: 1\n", "state", None, "path: x\nport: 1\n"),
        # line breaks, letters, long lines
        ("path: é\r\nenv:\r\n  A: 1\r\n", "env.B", Text("ü"), "path: é\r\nenv:\r\n  A: 1\r\n  B: \"ü\"\r\n"),
        ("path: x\nenv:\n  A: 1\n", "env.A", Text("word " * 60 + "."), f"path: x\nenv:\n  A: {'word ' * 60}.\n"),
    ],
)  # fmt: skip
def test_only_what_is_asked_changes(before: str, path: str, value: Value | None, after: str) -> None:
    assert edited(before, path, value) == after


def test_another_document_stays_and_markers_do() -> None:
    text = (
        "%YAML 1.1\n---\n# one\nname: a\npath: x\n...\n---\nkind: service\nname: a\ntype: sqlite\n"
        "--- # three\npath: y\nname: b\n"
    )
    trees, _ = trees_of("", text)
    assert with_field(text, trees[0].line, ["workers"], Plain(2)) == text.replace("path: x\n", "path: x\nworkers: 2\n")
    assert with_field(text, trees[2].line, ["env", "A"], Text("v")) == f"{text}env:\n  A: v\n"


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("env: &e {A: 1}\ngunicorn: *e\n", "env.A", Text("v")),
        ("env: &e {A: 1}\ngunicorn: *e\n", "env.B", Text("v")),
        ("gunicorn: &e {a: 1}\nenv: *e\n", "env.B", Text("v")),
        ("env:\n  A: &a x\n  B: *a\n", "env.A", Text("v")),
        ("env:\n  A: &a x\n  B: *a\n", "env.A", None),
        ("env: text\n", "env.A", Text("v")),
        ("env:\n  ? A\n  : x\n", "env.A", None),
        ("env: {A: {file: x # why\n }, B: 1}\n", "env.A", Text("v")),
        ("path: x\n", "env.A", None),
        ("path: [x\n", "workers", Plain(2)),
    ],
)
def test_what_would_change_more_is_refused(text: str, path: str, value: Value | None) -> None:
    parts = path.split(".")
    with pytest.raises(CannotEdit):
        without_field(text, 1, parts) if value is None else with_field(text, 1, parts, value)


PATHS = (("env", "A"), ("env", "B"), ("env", "C"), ("env", "NEW"), ("workers",), ("state",))


@dataclass(frozen=True, slots=True)
class Step:
    path: tuple[str, ...]
    value: Value | None


def steps() -> st.SearchStrategy[Step]:
    variables = st.sampled_from(PATHS[:4])
    return st.one_of(
        st.builds(Step, variables, st.one_of(st.builds(Text, values()), st.builds(FileReference, values(min_size=1)))),
        st.builds(Step, st.just(("workers",)), st.builds(Plain, st.one_of(st.integers(1, 1000), st.just("auto")))),
        st.builds(Step, st.just(("state",)), st.builds(Text, st.sampled_from(("running", "maintenance")))),
        st.builds(Step, st.sampled_from(PATHS), st.none()),
    )


def find(text: str) -> Node:
    """The document of the app that the texts are about."""
    (tree,) = (tree for tree in trees_of("", text)[0] if fields(tree).get("path") == "../app")
    return tree


def fields(tree: Node) -> dict[str, Any]:
    assert isinstance(tree.written, dict)
    return dict(tree.written)


def lines_of(text: str) -> list[str]:
    return re.split("(?<=\n)", text)


def field_lines(text: str, root: Node, name: str) -> range:
    """The lines, from 0, of a field with all comments that are indented below it; none if it is not there."""
    if name not in root.keys:
        return range(0)
    node = next(
        (key, value)
        for document in yaml.compose_all(text, Loader=LOADER)
        if document.start_mark.line + 1 == root.line
        for key, value in document.value
        if key.value == name
    )
    first, last = node[0].start_mark.line, max(node[1].end_mark.line, node[0].start_mark.line)
    below = lines_of(text)[last + 1 :]
    inner = next((n for n, line in enumerate(below) if line.strip() and line[0] != " "), len(below))
    return range(first, last + 1 + inner)


def order(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether what is in both is in the same order."""
    return [each for each in before if each in after] == [each for each in after if each in before]


def meant(value: Value) -> object:
    match value:
        case Text(text=text):
            return text
        case Plain(value=plain):
            return str(plain)
        case FileReference(path=path):
            return {"file": path}


def expected(root: Node, step: Step) -> dict[str, Any]:
    """What the document must say afterwards, where an empty environment is none."""
    said = fields(root)
    env = dict(said.pop("env", None) or {})
    target, name = (env, step.path[1]) if len(step.path) > 1 else (said, step.path[0])
    target.pop(name, None)
    if step.value is not None:
        target[name] = meant(step.value)
    return {**said, **({"env": env} if env else {})}


def said(root: Node) -> dict[str, Any]:
    return {name: value for name, value in fields(root).items() if name != "env" or value}


@given(manifest_texts(), st.lists(steps(), min_size=1, max_size=4))
def test_every_edit_keeps_comments_order_and_all_other_lines_and_says_what_was_asked(
    text: str, asked: Sequence[Step]
) -> None:
    for step in asked:
        root = find(text)
        if step.value is None and root.given(*step.path) is None:
            continue
        note(f"{step} in\n{text}")
        if step.value is None:
            after = without_field(text, root.line, step.path)
        else:
            after = with_field(text, root.line, step.path, step.value)
        now = find(after)
        assert said(now) == expected(root, step)
        assert not Counter(comments_in(text)) - Counter(comments_in(after))
        assert order([*root.keys], [*now.keys])
        if (env := root.given("env")) and (env_now := now.given("env")):
            assert order([*env.keys], [*env_now.keys])
        others = [tree.written for tree in trees_of("", text)[0] if tree.line != root.line]
        assert [tree.written for tree in trees_of("", after)[0] if tree.line != now.line] == others
        untouched(text, after, field_lines(text, root, step.path[0]))
        text = after


def untouched(before: str, after: str, touched: range) -> None:
    """Every line but those of a field is the same byte by byte, in the same place among the others."""
    old, new = lines_of(before), lines_of(after)
    if not before.endswith("\n"):
        ending = "\r\n" if "\r\n" in before else "\n"
        old[-1], new[-1] = old[-1] + ending, new[-1] + ending  # what follows the last line ends it
    first = next((n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    same = next(
        (n for n, (a, b) in enumerate(zip(reversed(old), reversed(new), strict=False)) if a != b),
        min(len(old), len(new)),
    )
    changed = range(first, max(first, len(old) - same))
    assert set(changed) <= set(touched), (old[first : len(old) - same], touched)
