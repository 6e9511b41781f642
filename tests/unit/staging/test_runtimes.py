"""Which interpreter a manifest, or the code itself, means."""

import asyncio
import sys
from pathlib import Path

import pytest

from reconciler.staging.detection.interpreters import Interpreters
from reconciler.staging.detection.python_bounds import PythonBounds
from reconciler.staging.detection.python_version import PythonConstraint, choose_runtime
from reconciler.staging.detection.runtimes import Runtime, choose, discover
from reconciler.staging.errors import StagingError


def runtime(version: str, kind: str = "python", flag: str = "") -> Runtime:
    name = f"{kind}{'.'.join(version.split('.')[:2])}{flag}"
    return Runtime(name=name, description=f"Python {version}", version=version, path=f"/opt/{kind}{version}{flag}")


HOST = (
    *map(runtime, ("2.7.18", "3.4.10", "3.7.16", "3.8.18", "3.10.13", "3.11.2", "3.11.7", "3.12.1", "3.15.0a1")),
    runtime("3.14.0", flag="t"),
    runtime("3.13.2", kind="pypy"),
)


@pytest.mark.parametrize(
    ("asked", "version"),
    [
        (None, "3.12.1"),
        ("python3", "3.12.1"),
        ("3", "3.12.1"),
        ("python", "3.12.1"),
        ("python3.11", "3.11.7"),
        ("3.11", "3.11.7"),
        ("3.11.2", "3.11.2"),
        ("python3.11.2", "3.11.2"),
        ("python-3.11.2", "3.11.2"),
        ("python-3.11.x", "3.11.7"),
        ("3.10", "3.10.13"),
        ("3.15", "3.15.0a1"),
        ("3.14t", "3.14.0"),
        ("pypy3.13", "3.13.2"),
        ("/opt/python3.8.18", "3.8.18"),
        ("python2", "2.7.18"),
        ("python2.7", "2.7.18"),
        ("3.7.16", "3.7.16"),
    ],
)
def test_a_runtime_is_chosen(asked: str | None, version: str) -> None:
    assert choose(HOST, asked).version == version


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("3.4", "Python 3.4.10 is not supported, only 2.7 and 3.6 or newer; this host has python2.7, "),
        ("/opt/python3.4.10", "Python 3.4.10 is not supported"),
        ("3.6", "this host has no runtime '3.6'"),
        ("3.99", "this host has no runtime '3.99'; it has python2.7, "),
        ("3.14", "no runtime '3.14'"),
        ("3.11.9", "this host has no runtime '3.11.9', but 3.11.7, which the name python3.11 stands for"),
        ("ruby", "no runtime 'ruby'"),
        ("/nowhere/python", "no runtime '/nowhere/python'"),
        ("3.1.1.1.1", "no runtime"),
    ],
)
def test_a_runtime_this_host_does_not_serve_is_refused(asked: str, says: str) -> None:
    with pytest.raises(StagingError) as refused:
        choose(HOST, asked)
    assert says in str(refused.value)


def test_discovery_runs_what_it_finds_and_lists_it_once(tmp_path: Path) -> None:
    (tmp_path / "python3").symlink_to(sys.executable)
    (tmp_path / "python3.11").symlink_to(sys.executable)
    broken = tmp_path / "python3.9"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    shims = tmp_path / "shims"
    shims.mkdir()
    (shims / "python3.10").symlink_to("/bin/true")
    found = discover([str(tmp_path)], {"PATH": str(shims), "HOME": str(tmp_path)})
    here = ".".join(map(str, sys.version_info[:3]))
    assert [runtime.version for runtime in found] == [here]
    assert Path(found[0].path).samefile(Path(sys.executable).resolve())


def test_of_a_program_that_prints_without_end_no_more_is_read_than_a_python_says(tmp_path: Path) -> None:
    answer = '["CPython", "3.12.99", "", "/usr/bin/python3"]'
    for name, blanks in (("brief", 10), ("endless", 2**20)):
        (tmp_path / name).write_text(f"#!/bin/sh\nhead -c {blanks} /dev/zero | tr '\\0' ' '\necho '{answer}'\n")
        (tmp_path / name).chmod(0o755)
    brief, endless = (
        {runtime.version for runtime in discover([str(tmp_path / name)], {"PATH": "", "HOME": str(tmp_path)})}
        for name in ("brief", "endless")
    )
    assert "3.12.99" in brief
    assert "3.12.99" not in endless


def test_discovery_is_not_repeated_until_something_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    interpreters = Interpreters(())

    async def story() -> None:
        first = await interpreters.known()
        assert await interpreters.known() is first
        (tmp_path / "python3").symlink_to(sys.executable)
        assert await interpreters.known() is not first

    asyncio.run(story())


def own_python(directory: Path) -> tuple[Path, Path]:
    """Make a program that passes for the newest Python; return it, and the file that it leaves if it is run."""
    program, mark = directory / "own" / "python3", directory / "it-ran"
    program.parent.mkdir()
    says = f'["CPython", "3.99.0", "", "{program}"]'
    program.write_text(f"#!/bin/sh\n: > {mark}\necho '{says}'\n")
    program.chmod(0o755)
    return program, mark


@pytest.fixture
def one_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Interpreters:
    """A host that has the Python of this test alone."""
    for name in ("PATH", "HOME", "PYENV_ROOT", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "empty"))
    return Interpreters((sys.executable,))


def test_a_program_that_an_isolated_app_names_as_its_python_is_never_run(
    tmp_path: Path, one_python: Interpreters
) -> None:
    program, mark = own_python(tmp_path)
    (tmp_path / "link").symlink_to(program)
    for name in (str(program), str(tmp_path / "link"), "/nowhere/python3"):
        with pytest.raises(StagingError, match=f"{name} is no Python of this host.*`interpreters`") as refused:
            asyncio.run(one_python.known_to(name, isolated=True))
        assert refused.value.retry == "later"
    assert not mark.exists()


def test_an_isolated_app_may_name_a_python_of_the_host_by_any_path(tmp_path: Path, one_python: Interpreters) -> None:
    (tmp_path / "link").symlink_to(sys.executable)
    for name in (sys.executable, str(tmp_path / "link"), "3.11", None):
        found = asyncio.run(one_python.known_to(name, isolated=True))
        assert found == asyncio.run(one_python.known())
        assert choose(found, str(tmp_path / "link")) == found[0]


def test_a_python_that_one_app_names_by_its_path_is_given_to_no_other(tmp_path: Path, one_python: Interpreters) -> None:
    program, mark = own_python(tmp_path)
    found = asyncio.run(one_python.known_to(str(program), isolated=False))
    assert mark.exists()
    assert choose(found, str(program)).version == "3.99.0"
    mark.unlink()
    assert "3.99.0" not in {each.version for each in asyncio.run(one_python.known_to(None, isolated=False))}
    assert "3.99.0" not in {each.version for each in asyncio.run(one_python.known())}
    assert not mark.exists()


@pytest.mark.parametrize(
    ("files", "asked", "version", "because"),
    [
        ({}, None, "3.12.1", "the newest on this host"),
        ({}, "3.10", "3.10.13", "`runtime` in the manifest"),
        ({".python-version": "# ours\n3.10\n"}, None, "3.10.13", ".python-version"),
        ({".python-version": "3.11.2"}, "3.11", "3.11.7", "`runtime` in the manifest"),
        ({".python-version": "\ufeff3.10"}, None, "3.10.13", ".python-version"),
        ({"runtime.txt": "python-3.11.x\n"}, None, "3.11.7", "runtime.txt"),
        ({".python-version": "3.11", "runtime.txt": "python-3.11.7"}, None, "3.11.7", ".python-version"),
        (
            {"pyproject.toml": "\ufeff[project]\nrequires-python = '>=3.8,<3.12'"},
            None,
            "3.11.7",
            "the newest that is <3.12,>=3.8",
        ),
    ],
)
def test_the_code_may_say_which(
    tmp_path: Path, files: dict[str, str], asked: str | None, version: str, because: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_runtime(HOST, asked, tmp_path)
    assert (choice.runtime.version, choice.because) == (version, because)
    assert choice.pinned is (because in {".python-version", "runtime.txt"})


@pytest.mark.parametrize(
    ("files", "asked", "says"),
    [
        ({".python-version": "3.99"}, None, r"cannot choose a runtime \(from .python-version\): this host has no"),
        ({"pyproject.toml": "[project]\nrequires-python = '>=3.99'"}, None, "requires Python >=3.99; this host has"),
        (
            {"pyproject.toml": "[project]\nrequires-python = '>=3.12'"},
            "3.10",
            "requires Python >=3.12, but `runtime` in the manifest is 3.10",
        ),
        (
            {"runtime.txt": "python-3.10.1"},
            "3.11",
            r"runtime.txt names python-3.10.1, but `runtime` in the manifest is 3.11",
        ),
        (
            {".python-version": "3.10", "runtime.txt": "python-3.11.7"},
            None,
            r"\.python-version names 3\.10, but runtime\.txt names python-3\.11\.7; change or remove one of them",
        ),
        ({"pyproject.toml": "[project]\nrequires-python = 'new'"}, None, "cannot read requires-python"),
        ({"pyproject.toml": "[project"}, None, "cannot read pyproject.toml"),
    ],
)
def test_what_the_code_says_must_be_possible(
    tmp_path: Path, files: dict[str, str], asked: str | None, says: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(StagingError, match=says):
        choose_runtime(HOST, asked, tmp_path)


def test_the_manifest_is_the_way_out_of_a_pin_that_the_host_lacks(tmp_path: Path) -> None:
    (tmp_path / ".python-version").write_text("3.14\n")
    with pytest.raises(StagingError, match=r"3\.14"):
        choose_runtime(HOST, None, tmp_path)
    choice = choose_runtime(HOST, "3.11", tmp_path)
    assert choice.runtime.version == "3.11.7"
    assert choice.note == ".python-version names 3.14, which this host lacks"


@pytest.mark.parametrize(
    ("files", "version", "note"),
    [
        ({"runtime.txt": "python-3.12.3"}, "3.12.1", "runtime.txt names python-3.12.3, which this host lacks"),
        ({".python-version": "3.11.9\n"}, "3.11.7", ".python-version names 3.11.9, which this host lacks"),
        ({".python-version": "3.11.2\n"}, "3.11.2", ""),
        ({"pyproject.toml": "[project]\nrequires-python = '==3.11.9'"}, "3.11.7", "pyproject.toml requires Python"),
        ({"pyproject.toml": "[project]\nrequires-python = '==3.11.2'"}, "3.11.2", ""),
    ],
)
def test_a_patch_release_that_the_host_lacks_is_replaced_by_the_newest_of_its_minor_version(
    tmp_path: Path, files: dict[str, str], version: str, note: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_runtime(HOST, None, tmp_path)
    assert choice.runtime.version == version
    assert choice.note.startswith(note)
    assert bool(choice.note) is bool(note)


def test_a_lock_for_another_patch_release_serves_under_the_runtime_of_a_manifest(tmp_path: Path) -> None:
    pinned = PythonBounds.parse("==3.11.9")
    lock = PythonConstraint(file="Pipfile.lock", pythons=pinned)
    assert choose_runtime(HOST, "3.11", tmp_path, lock).runtime.version == "3.11.7"
    exact = PythonConstraint(file="uv.lock", pythons=pinned, any_patch=False)
    with pytest.raises(StagingError, match=r"uv.lock requires Python ==3.11.9, but `runtime` in the manifest is 3.11"):
        choose_runtime(HOST, "3.11", tmp_path, exact)


def test_alternatives_of_a_lock_bound_the_choice(tmp_path: Path) -> None:
    lock = PythonConstraint(file="poetry.lock", pythons=PythonBounds.parse("~=3.8.1 || >=3.10,<3.11"))
    choice = choose_runtime(HOST, None, tmp_path, lock)
    assert (choice.runtime.version, choice.because) == ("3.10.13", "the newest that is ~=3.8.1 || <3.11,>=3.10")
    with pytest.raises(StagingError, match=r"but `runtime` in the manifest is 3\.12"):
        choose_runtime(HOST, "3.12", tmp_path, lock)


@pytest.mark.parametrize(
    ("previous", "files", "version"),
    [
        ("3.11.2", {}, "3.11.7"),
        ("3.9.1", {}, "3.12.1"),
        ("3.12.0", {}, "3.12.1"),
        ("3.10.13", {"pyproject.toml": "[project]\nrequires-python = '>=3.11'"}, "3.12.1"),
        ("3.10.13", {".python-version": "3.11"}, "3.11.7"),
        (None, {}, "3.12.1"),
    ],
)
def test_an_app_that_names_no_python_stays_on_the_minor_version_of_the_build_before(
    tmp_path: Path, previous: str | None, files: dict[str, str], version: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_runtime(HOST, None, tmp_path, previous=previous)
    assert choice.runtime.version == version
    assert choice.named is (".python-version" in files)
    kept = version == "3.11.7" and not choice.named
    assert ("`runtime: python3.12` in the manifest would choose" in choice.because) is kept


@pytest.mark.parametrize(
    ("files", "version", "because"),
    [
        ({"Dockerfile": "FROM python:3.10-slim\n"}, "3.10.13", "Dockerfile"),
        ({"Dockerfile": "FROM --platform=linux/amd64 docker.io/library/python:3.10.4\n"}, "3.10.13", "Dockerfile"),
        (
            {"Dockerfile": "FROM node:20 AS front\nFROM python:3.11 AS build\nfrom python:3.10\n"},
            "3.10.13",
            "Dockerfile",
        ),
        ({"Dockerfile": "FROM python:3.10\nFROM nginx:1\n"}, "3.10.13", "Dockerfile"),
        ({"Dockerfile": "ARG V=3.10\nFROM python:${V}-alpine\n"}, "3.10.13", "Dockerfile"),
        ({"Dockerfile": "FROM tiangolo/uvicorn-gunicorn-fastapi:python3.10\n"}, "3.10.13", "Dockerfile"),
        ({"Dockerfile": "FROM ghcr.io/astral-sh/uv:0.5-python3.10-bookworm-slim\n"}, "3.10.13", "Dockerfile"),
        ({"Dockerfile": "FROM python:slim\n"}, "3.12.1", "the newest on this host"),
        ({"Dockerfile": "FROM python:3-alpine\nRUN python3.10 x\n"}, "3.12.1", "the newest on this host"),
        ({"Dockerfile": "FROM ghcr.io/shop/cpython:3.10\n"}, "3.12.1", "the newest on this host"),
        ({"Dockerfile": "FROM ${NONE}\n"}, "3.12.1", "the newest on this host"),
        ({"Dockerfile": "FROM python:3.10\n", "runtime.txt": "python-3.11"}, "3.11.7", "runtime.txt"),
        ({"Dockerfile": "FROM python:3.10\n", ".python-version": "3.8"}, "3.8.18", ".python-version"),
        ({".tool-versions": "ruby 3.1\npython 3.10.4 3.12\n"}, "3.10.13", ".tool-versions"),
        ({".tool-versions": "python system\n"}, "3.12.1", "the newest on this host"),
        ({"mise.toml": "[tools]\npython = '3.10'\n", "Dockerfile": "FROM python:3.11\n"}, "3.10.13", "mise.toml"),
    ],
)
def test_a_python_of_another_tool_is_preferred(
    tmp_path: Path, files: dict[str, str], version: str, because: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_runtime(HOST, None, tmp_path)
    assert (choice.runtime.version, choice.because, choice.note) == (version, because, "")


@pytest.mark.parametrize(
    ("files", "version", "note"),
    [
        ({"Dockerfile": "FROM python:3.14-slim"}, "3.12.1", "Dockerfile names Python 3.14, which this host lacks;"),
        (
            {"Dockerfile": "FROM python:3.8", "pyproject.toml": "[project]\nrequires-python = '>=3.10'"},
            "3.12.1",
            "Dockerfile names Python 3.8, which pyproject.toml rules out; it runs on 3.12.1",
        ),
    ],
)
def test_a_preferred_python_that_cannot_be_had_is_told_and_not_required(
    tmp_path: Path, files: dict[str, str], version: str, note: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    choice = choose_runtime(HOST, None, tmp_path)
    assert (choice.runtime.version, choice.pinned, choice.named) == (version, False, False)
    assert choice.note.startswith(note)
    assert choose_runtime(HOST, "3.11", tmp_path).note == ""


@pytest.mark.parametrize(
    ("requires", "way"),
    [
        ("", ": `runtime: python3.11` in the manifest chooses another"),
        (">=3.7,<3.9", ": `runtime: python3.7` in the manifest chooses another"),
        (">=3.12", ""),
    ],
)
def test_an_app_that_fails_on_a_python_that_nothing_names_is_told_of_another(
    tmp_path: Path, requires: str, way: str
) -> None:
    (tmp_path / "pyproject.toml").write_text(f"[project]\nrequires-python = '{requires}'\n" if requires else "")
    chosen = choose_runtime(HOST, None, tmp_path)
    assert chosen.advice == f"on {chosen.runtime.name}, which neither the app nor its manifest names{way}"
    assert choose_runtime(HOST, chosen.runtime.name, tmp_path).advice == ""
