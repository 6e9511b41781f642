"""The table of exit codes has every code that a command exits with, and commands exit as it says."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from reconciler.cli.main import group
from reconciler.state.schema import open_database
from tests.support.documents import DOCS
from tests.support.site import REPOSITORY

_TABLE = dict(re.findall(r"^\| (\d+) \| (.+) \|$", (DOCS / "reference" / "commands.md").read_text(), re.MULTILINE))


def _codes(file: Path) -> Iterator[int]:
    """Yield the numbers that a module raises SystemExit with, or that one of its errors exits with."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "SystemExit":
            yield from (value for value in map(_number, node.args) if value is not None)
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "exit_code" for target in node.targets
        ):
            value = _number(node.value)
            assert value is not None
            yield value


def _number(node: ast.expr) -> int | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int) else None


def test_every_code_of_the_code_is_in_the_table() -> None:
    found = {code for file in (REPOSITORY / "reconciler" / "cli").rglob("*.py") for code in _codes(file)}
    assert {str(code) for code in found} | {"0", "2"} == _TABLE.keys()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 0),
        (["status", "blog"], 1),
        (["validate", "--manifests", "{tmp}/none"], 1),
        (["status", "--nope"], 2),
        (["plan", "--manifests", "{tmp}/manifests"], 2),
        (["status", "--check"], 3),
        (["wait"], 3),
        (["restart", "blog"], 3),
        (["rotate", "db"], 3),
        (["prune"], 3),
    ],
)
def test_a_command_exits_as_the_table_says(tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    (tmp_path / "manifests" / "blog.yaml").write_text("path: ../app\n")
    (tmp_path / "state").mkdir()
    open_database(tmp_path / "state" / "reconciler.db").close()
    state = [] if words[0] == "validate" else ["--state", str(tmp_path / "state")]
    done = CliRunner().invoke(group, [*(word.format(tmp=tmp_path) for word in words), *state])
    assert (done.exit_code, str(code) in _TABLE) == (code, True), done.output
