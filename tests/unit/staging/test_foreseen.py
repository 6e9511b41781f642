"""What staging would certainly refuse of a source is foreseen from its files, and nothing else is."""

import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler.planning.apps.revision import Recipe
from reconciler.staging.foreseen import HostPythons, foreseen

APP = "def app(environ, start_response):\n    pass\n"


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """The source of an app that can be staged."""
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory" / "__init__.py").write_text(APP)
    (tmp_path / "requirements.txt").write_text("flask\n")
    return tmp_path


@pytest.fixture
def pythons(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> HostPythons:
    """A host on which the name of a program says 3.12, and none can be run."""
    programs = tmp_path_factory.mktemp("bin")
    for name in ("python3.12", "python3.5", "python3"):
        (programs / name).write_text("#!/bin/false\n")
        (programs / name).chmod(0o755)
    monkeypatch.setattr("sys.executable", str(programs / "python3"))
    for variable, value in (("PATH", str(programs)), ("HOME", "/none"), ("PYENV_ROOT", "/none")):
        monkeypatch.setenv(variable, value)
    for variable in ("UV_PYTHON_INSTALL_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(variable, "/none")
    return HostPythons(())


def told(code: Path, pythons: HostPythons, **recipe: Any) -> list[str]:
    return [f"{field}: {message}" for field, message in foreseen(code, Recipe(**recipe), pythons)]


def test_nothing_is_foreseen_of_a_source_that_can_be_staged(code: Path, pythons: HostPythons) -> None:
    for runtime in ({}, {"runtime": "3.12"}, {"runtime": "python3.12"}, {"runtime": "python3"}):
        assert told(code, pythons, entrypoint="inventory:app", **runtime) == []


@pytest.mark.parametrize(
    ("entrypoint", "message"),
    [
        ("inventori:app", "the source has no inventori.py or inventori/; did you mean inventory:app?"),
        ("inventory.wsgi:app", "the source has no inventory/wsgi.py or inventory/wsgi/"),
        ("inventory:aap", "inventory/__init__.py does not define aap, only app"),
    ],
)
def test_an_entry_point_that_the_source_does_not_have(
    code: Path, pythons: HostPythons, entrypoint: str, message: str
) -> None:
    (found,) = told(code, pythons, entrypoint=entrypoint)
    assert found.startswith(f"entrypoint: cannot use the entrypoint '{entrypoint}': ")
    assert message in found


def test_a_module_that_a_required_package_may_bring_is_not_doubted(code: Path, pythons: HostPythons) -> None:
    assert told(code, pythons, entrypoint="datasette.app:app") == []
    (code / "requirements.txt").write_text("Inventori[extra]\n")
    assert told(code, pythons, entrypoint="inventori:app") == []


def test_a_module_that_is_nowhere_is_told_where_nothing_is_installed(code: Path, pythons: HostPythons) -> None:
    (code / "requirements.txt").unlink()
    (found,) = told(code, pythons, entrypoint="datasette.app:app")
    assert "the source has no datasette/app.py or datasette/app/" in found


def test_a_source_without_an_entry_point(code: Path, pythons: HostPythons) -> None:
    (code / "inventory" / "__init__.py").write_text("x = 1\n")
    (found,) = told(code, pythons)
    assert found.startswith("path: cannot find the entry point: ")


def test_imports_that_nothing_brings_are_told_only_without_a_dependency_file(code: Path, pythons: HostPythons) -> None:
    (code / "inventory" / "__init__.py").write_text(f"import pandas\nimport json\n{APP}")
    assert told(code, pythons, entrypoint="inventory:app") == []
    (code / "requirements.txt").unlink()
    (found,) = told(code, pythons, entrypoint="inventory:app")
    assert found == "path: no dependency file was found, but inventory/__init__.py imports pandas"
    assert told(code, pythons, entrypoint="inventory:app", runtime="/bin/sh") == []  # it may be any Python


def test_dependency_files(code: Path, pythons: HostPythons) -> None:
    (found,) = told(code, pythons, dependencies="prod.txt")
    assert found == "dependencies: cannot find the dependencies: there is no prod.txt in the source"
    (code / "uv.lock").write_text("")
    (found,) = told(code, pythons)
    assert found.startswith("path: cannot choose between requirements.txt and uv.lock")


def test_no_directory_is_read_for_an_app_that_this_interpreter_can_serve(
    code: Path, pythons: HostPythons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/none")
    monkeypatch.setattr("sys.executable", "/none")
    for runtime in ({}, {"runtime": f"3.{sys.version_info.minor}"}):
        assert told(code, pythons, entrypoint="inventory:app", **runtime) == []


@pytest.mark.parametrize("runtime", ["3.7", "python3.5", "3.12.99", "/no/python", "pypy3.10"])
def test_a_runtime_that_no_interpreter_meets(code: Path, pythons: HostPythons, runtime: str) -> None:
    (found,) = told(code, pythons, entrypoint="inventory:app", runtime=runtime)
    assert found.startswith("runtime: cannot choose a runtime")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("runtime.txt", "python-3.7.9\n"),
        (".python-version", "3.13\n"),
        ("pyproject.toml", "[project]\nname = 'x'\nversion = '1'\nrequires-python = '>=3.13'\n"),
    ],
)
def test_a_python_that_the_source_demands_and_no_interpreter_is(
    code: Path, pythons: HostPythons, file: str, text: str
) -> None:
    (code / file).write_text(text)
    (found,) = told(code, pythons, entrypoint="inventory:app")
    assert found.startswith("path: cannot choose a runtime")


def test_a_source_whose_ignore_file_decides_what_belongs_to_it_is_left_to_staging(
    code: Path, pythons: HostPythons
) -> None:
    (code / ".reconcilerignore").write_text("uv.lock\n")
    (code / "uv.lock").write_text("")
    assert told(code, pythons, entrypoint="nowhere:app") == []
