"""The formats of lock files: what each names, and how each becomes requirements."""

from pathlib import Path

import pytest

from reconciler.staging.detection.dependencies import DependencyOptions, dependencies
from reconciler.staging.detection.lockfiles.format import ExportByTool, ExportOptions
from reconciler.staging.detection.lockfiles.names import PROJECTS
from reconciler.staging.detection.lockfiles.pipenv import PIPENV
from reconciler.staging.detection.lockfiles.poetry import POETRY
from reconciler.staging.detection.lockfiles.pylock import as_requirements, mismatch
from reconciler.staging.detection.lockfiles.registry import LOCK_FORMATS
from reconciler.staging.detection.lockfiles.uv import UV
from reconciler.staging.environments.export import installable
from reconciler.staging.errors import StagingError

OPTIONS = ExportOptions(
    program=("tool",), python="/usr/bin/python3.12", extras=("fast",), groups=("docs", "prod"), output=Path("/o.txt")
)


def test_each_lock_file_is_known_by_name_with_its_project_before_its_format_is_loaded() -> None:
    assert {lock.file: lock.project for lock in LOCK_FORMATS.values()} == PROJECTS
    assert [*LOCK_FORMATS] == [*PROJECTS]


@pytest.mark.parametrize("name", LOCK_FORMATS)
def test_each_lock_format_has_a_project_a_corpus_and_a_line_in_the_documentation(name: str) -> None:
    """A new format is a value in the registry and these three."""
    tests = Path(__file__).parents[2]
    assert list((tests / "projects").glob(f"*/{name}"))
    assert (tests / "corpus" / name / "project").is_file()
    assert f"| `{name}` |" in (tests.parent / "docs/reference/staging.md").read_text()


@pytest.mark.parametrize("name", LOCK_FORMATS)
def test_a_lock_format_reads_its_project(name: str) -> None:
    lock = LOCK_FORMATS[name]
    (path,) = (Path(__file__).parents[2] / "projects").glob(f"*/{name}")
    assert (path.parent / lock.project).is_file()
    assert "3.11.7" in lock.pythons(lock.read(path))
    assert lock.paths(lock.read(path)) == ()
    assert dependencies(path.parent, DependencyOptions()).lock is lock


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("^3.9", "<4,>=3.9"),
        ("~3.9", "<3.10,>=3.9"),
        ("~3", "<4,>=3"),
        (">=3.8,<4.0", "<4.0,>=3.8"),
        ("*", ""),
        ("3.*", "==3.*"),
        ("3.12.*", "==3.12.*"),
        ("3.12", "==3.12"),
        ("3.12.1", "==3.12.1"),
        ("=3.12.1", "==3.12.1"),
        (">=3.11 <3.14", "<3.14,>=3.11"),
        (">= 3.11, < 3.14 , != 3.12.*", "!=3.12.*,<3.14,>=3.11"),
        ("^2.7 || ^3.8", "<3,>=2.7 || <4,>=3.8"),
        ("~3.11|~3.12", "<3.12,>=3.11 || <3.13,>=3.12"),
        ("^3.8 || *", ""),
    ],
)
def test_poetrys_bounds_are_understood(said: str, means: str) -> None:
    assert str(POETRY.pythons({"metadata": {"python-versions": said}})) == means


@pytest.mark.parametrize("said", ["three", ">3.8;", "3.8 or 3.9", ">=3.8 <"])
def test_bounds_that_poetry_does_not_write_are_refused(said: str) -> None:
    with pytest.raises(StagingError, match=r"cannot read poetry.lock: .*the Python version"):
        POETRY.pythons({"metadata": {"python-versions": said}})


@pytest.mark.parametrize(
    ("requires", "means"),
    [
        ({"python_version": "3.12"}, "==3.12.*"),
        ({"python_version": "3.12", "python_full_version": "3.12.3"}, "==3.12.3"),
        ({"python_version": ">=3.9"}, ">=3.9"),
        ({"python_version": "*"}, ""),
        ({}, ""),
    ],
)
def test_pipenvs_bounds_are_understood(requires: dict[str, str], means: str) -> None:
    assert str(PIPENV.pythons({"_meta": {"requires": requires}})) == means


PIPFILE = """[packages]
IDNA = "==3.10"
Python_Dateutil = {version = "*", markers = "python_version > '3'"}

[dev-packages]
Six = "*"

[docs]
Zipp = "*"

[requires]
python_version = "3.11"
"""


def test_a_hash_of_a_pipfile_with_names_as_they_are_written_is_known(tmp_path: Path) -> None:
    """The hash is that of pipenv 2023.12.1; pipenv 2026.10 has another, and takes this one for stale."""
    assert isinstance(PIPENV.export, ExportByTool)
    lock = {"_meta": {"hash": {"sha256": "5d67191248c02b9f3ff881e8508a03b88b1c8e7d5addb6e4a6a0e6a8f399afe4"}}}
    assert not PIPENV.export.matches(tmp_path, lock)
    (tmp_path / "Pipfile").write_text(PIPFILE)
    assert PIPENV.export.matches(tmp_path, lock)
    (tmp_path / "Pipfile").write_text(PIPFILE.replace("3.10", "3.11"))
    assert not PIPENV.export.matches(tmp_path, lock)


def test_a_uv_lock_without_requires_python_is_checked_with_the_python_it_was_locked_on(tmp_path: Path) -> None:
    assert isinstance(UV.export, ExportByTool)
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert UV.export.checked_with(tmp_path, {"requires-python": ">=3.12"}) == "3.12"
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\nrequires-python = '>=3.12'\n")
    assert UV.export.checked_with(tmp_path, {"requires-python": ">=3.12"}) == ""


def test_paths_of_an_export_become_absolute_wherever_the_tool_runs(tmp_path: Path) -> None:
    (tmp_path / "packages/x").mkdir(parents=True)
    (tmp_path / "six").mkdir()
    lines = (
        "-i https://pypi.org/simple",
        "-e .[web]",
        "-e packages/x ; python_version > '3'",
        "packages/x",
        "./packages/x",
        "six==1.17.0 --hash=sha256:ab",
        "git+https://h/x.git@v1#egg=x",
        "lib @ https://h/lib.whl",
    )
    top = tmp_path.resolve()
    others = (
        "-i https://pypi.org/simple",
        f"{top}/packages/x ; python_version > '3'",
        f"{top}/packages/x",
        f"{top}/packages/x",
        *lines[5:],
    )
    text = "\n".join(lines)
    assert installable(text, tmp_path, itself=True).splitlines() == [*others]
    assert f"{top}[web]\n" in installable(text, tmp_path, itself=False)


def test_a_pylock_becomes_requirements_with_its_extras_answered() -> None:
    wheel = {"hashes": {"sha256": "ab"}}
    lock = {
        "packages": [
            {"name": "a", "version": "1", "wheels": [wheel], "marker": "python_version > '3'"},
            {"name": "b", "version": "2", "sdist": wheel, "marker": "'fast' in extras"},
            {"name": "c", "version": "3", "marker": "'dev' in dependency_groups"},
        ]
    }
    assert as_requirements(lock, ("fast",), ()) == (
        "a==1 ; python_version > '3' --hash=sha256:ab\nb==2 --hash=sha256:ab\n"
    )
    assert mismatch(lock, {"dependencies": ["a>=1", "z; python_version < '3'"]}, "3.12.1") == ""
    assert mismatch(lock, {"dependencies": ["z"]}, "3.12.1") == "z is missing"
    assert mismatch(lock, {"dependencies": ["a>1"]}, "3.12.1") == "it has a 1, the project requires a>1"


@pytest.mark.parametrize(
    ("name", "check", "export"),
    [
        (
            "uv.lock",
            "tool lock --check --offline --python /usr/bin/python3.12",
            (
                "tool export --frozen --offline --format requirements.txt --python /usr/bin/python3.12"
                " --no-default-groups --no-editable --no-emit-project --no-header --no-annotate"
                " --extra fast --group docs --group prod --output-file /o.txt"
            ),
        ),
        (
            "poetry.lock",
            "tool --no-ansi -n check --lock",
            "tool --no-ansi -n export --format requirements.txt --output /o.txt --extras fast --with docs --with prod",
        ),
        ("Pipfile.lock", "tool verify", "tool requirements --hash --categories packages,docs,prod"),
    ],
)
def test_a_tool_is_given_the_chosen_extras_and_groups(name: str, check: str, export: str) -> None:
    by_tool = LOCK_FORMATS[name].export
    assert isinstance(by_tool, ExportByTool)
    assert (" ".join(by_tool.check(OPTIONS)), " ".join(by_tool.export(OPTIONS))) == (check, export)


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("uv.lock", "error: The lockfile at `uv.lock` needs to be updated, but `--check` was provided."),
        ("poetry.lock", "pyproject.toml changed significantly since poetry.lock was last generated."),
        ("Pipfile.lock", "Pipfile.lock is out-of-date. Run $ pipenv lock to update."),
    ],
)
def test_a_tool_that_finds_its_lock_stale_is_understood(name: str, output: str) -> None:
    lock = LOCK_FORMATS[name]
    assert isinstance(lock.export, ExportByTool)
    assert lock.export.stale.search(output)
    stale = f"cannot use {name}: it does not match {lock.project}; run `{lock.fix}`"
    assert str(lock.stale()) == stale
    way_out = "or set `dependencies: api/pyproject.toml` in the manifest to install without the lock"
    assert str(lock.stale(without="api/pyproject.toml")) == f"{stale}, {way_out}"


@pytest.mark.parametrize(
    ("pyproject", "installed"),
    [
        ("[build-system]\nrequires = []\n[tool.poetry]\nname = 'x'\n", True),
        ("[build-system]\nrequires = []\n[tool.poetry]\npackage-mode = false\n", False),
        ("[tool.poetry]\nname = 'x'\n", False),
    ],
)
def test_a_poetry_project_is_installed_if_it_is_a_package(tmp_path: Path, pyproject: str, installed: bool) -> None:
    (tmp_path / "pyproject.toml").write_text(pyproject)
    (tmp_path / "poetry.lock").write_text("package = []\n")
    found = dependencies(tmp_path, DependencyOptions())
    assert (found.itself, found.optional) == (installed, installed)
