"""Directories are removed by `linux/remove_tree.py` alone: others recurse, and stop at what a program left."""

import ast
from collections.abc import Iterator

import pytest

from tests.support.site import REPOSITORY

PACKAGE = REPOSITORY / "reconciler"


def recursive(text: str) -> Iterator[int]:
    """Yield the lines that remove a directory in another way."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute | ast.Name | ast.alias):
            name = ast.unparse(node).rpartition(".")[2].partition(" as ")[0]
            if name in {"rmtree", "removedirs"}:
                yield node.lineno


@pytest.mark.parametrize("folder", sorted(path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()))
def test_no_module_removes_a_directory_in_another_way(folder: str) -> None:
    found = {
        str(path.relative_to(PACKAGE)): lines
        for path in (PACKAGE / folder).rglob("*.py")
        if (lines := [*recursive(path.read_text())])
    }
    assert found == {}


def test_another_way_would_be_found() -> None:
    assert [*recursive("import shutil\nshutil.rmtree(x)\n")] == [2]
    assert [*recursive("from shutil import rmtree as gone\n")] == [1]
