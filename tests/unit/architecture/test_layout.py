"""The package's shape: folders that the architecture names, in layers; files and classes that stay small."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.site import REPOSITORY

PACKAGE = REPOSITORY / "reconciler"
MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_ENTRIES = 25
MOST_LINES = 400
MOST_COLLABORATORS = 8
# One program, run by an app's own interpreter: it imports nothing of ours, so it is one file.
ONE_PROGRAM = PACKAGE / "serving/forkserver/main.py"


def named(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def folders() -> set[str]:
    return {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}


def test_the_top_level_has_at_most_twenty_five_folders_and_the_architecture_names_each() -> None:
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    assert len(folders()) <= MOST_ENTRIES
    assert {folder for folder in folders() if f"{folder}/" not in text} == set()


def test_no_module_lies_beside_the_folders() -> None:
    known = {"__init__.py", "__main__.py", "_version.py", "version.py"}
    assert {path.name for path in PACKAGE.glob("*.py")} <= known


def lint_imports(directory: Path) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("lint-imports")
    env = {**os.environ, "PYTHONPATH": str(directory)}
    return subprocess.run([program, "--no-cache"], cwd=directory, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "text", "contract"),
    [
        ("stray/__init__.py", "", "Imports point down"),
        ("stray.py", "", "Imports point down"),
        ("linux/stray.py", "import reconciler.host.world\n", "Imports point down"),
        ("planning/stray.py", "import socket\n", "Deciding is pure"),
        ("services/types/redis/stray.py", "import reconciler.services.types.mysql.session\n", "No type of service"),
        ("staging/source/stray.py", "import reconciler.staging.environments.store\n", "Staging looks before"),
    ],
)
def test_a_module_outside_its_layer_breaks_a_contract(tmp_path: Path, module: str, text: str, contract: str) -> None:
    shutil.copytree(PACKAGE, tmp_path / "reconciler", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    stray = tmp_path / "reconciler" / module
    stray.parent.mkdir(exist_ok=True)
    stray.write_text(text)
    done = lint_imports(tmp_path)
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == 1, said
    assert "stray" in said
    assert re.search(rf"{contract}[^\n]* BROKEN", said) or "Missing layers" in said or "exhaustive" in said, said


def test_no_file_is_longer_than_four_hundred_lines() -> None:
    long = {named(path): len(path.read_text().splitlines()) for path in MODULES if path != ONE_PROGRAM}
    assert {name: lines for name, lines in long.items() if lines > MOST_LINES} == {}


def test_the_daemon_is_shorter_than_three_hundred_and_fifty_lines() -> None:
    assert len((PACKAGE / "daemon/daemon.py").read_text().splitlines()) < 350


def constructors() -> Iterator[tuple[str, int]]:
    """Every class with how many collaborators its constructor is handed."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                for method in node.body:
                    if isinstance(method, ast.FunctionDef) and method.name == "__init__":
                        given = [*method.args.posonlyargs, *method.args.args, *method.args.kwonlyargs]
                        yield f"{named(path)}:{node.name}", len(given) - 1


def test_no_class_is_handed_more_than_eight_collaborators() -> None:
    assert {name: number for name, number in constructors() if number > MOST_COLLABORATORS} == {}
