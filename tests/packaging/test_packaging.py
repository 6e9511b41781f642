"""What a stranger installs: wheel and sdist have everything that is needed, and work away from the tree."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from reconciler.staging.detection.runtimes import discover
from tests.support.ports import a_port
from tests.support.site import get

_LINK = re.compile(r"\]\(([^)#]+)\)")

ROOT = Path(__file__).resolve().parents[2]

_APP = """\
def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"well" if environ["PATH_INFO"] == "/healthz" else b"served"]
"""


def run(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def checked(*arguments: str | Path, cwd: Path) -> None:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


def build(tree: Path, into: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a tree."""
    checked(sys.executable, "-m", "hatchling", "build", "-d", into, cwd=tree)
    (wheel,), (sdist,) = into.glob("*.whl"), into.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(ROOT, tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def wheel(built: tuple[Path, Path]) -> Path:
    return built[0]


@pytest.fixture(scope="module")
def sdist(built: tuple[Path, Path]) -> Path:
    return built[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of an environment that has the wheel, and nothing else."""
    environment = tmp_path_factory.mktemp("installed") / "venv"
    uv = (sys.executable, "-m", "uv", "--offline", "--no-config", "--quiet")
    checked(*uv, "venv", "--python", sys.executable, environment, cwd=environment.parent)
    python = environment / "bin" / "python"
    checked(*uv, "pip", "install", "--python", python, "--no-deps", wheel, cwd=environment.parent)
    return python.parent


def borrowed() -> dict[str, str]:
    """An environment in which the dependencies are those of the tests, and the tree is out of sight."""
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": sysconfig.get_path("purelib"), "PYTHONWARNINGS": "error"}


def test_the_wheel_holds_every_schema_and_every_file_of_the_package(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    schemas = {"reconciler/schemas/" + path.name for path in (ROOT / "schemas").glob("*.json")}
    assert {"reconciler/schemas/app.schema.json", "reconciler/schemas/service.schema.json"} <= schemas
    assert schemas <= inside
    package = (path for path in (ROOT / "reconciler").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    assert {path.relative_to(ROOT).as_posix() for path in package} <= inside
    assert {name.partition("/")[0] for name in inside if ".dist-info/" not in name} == {"reconciler"}
    assert not {name for name in inside if "__pycache__" in name or name.endswith(".pyc")}


def test_the_sdist_holds_what_is_needed_to_build_test_and_read_and_nothing_that_was_made(sdist: Path) -> None:
    with tarfile.open(sdist) as opened:
        inside = {name.partition("/")[2] for name in opened.getnames()}
    tops = {name.partition("/")[0] for name in inside}
    assert tops == {
        *("reconciler", "schemas", "manifests", "examples", "tests", "benchmarks", "docs", "scripts", ".ci", ".github"),
        ".pre-commit-config.yaml",
        *("pyproject.toml", "Makefile", ".gitignore", "PKG-INFO"),
        *(path.name for path in ROOT.glob("requirements*.lock")),
        *("README.md", "CHANGELOG.md", "LICENSE"),
    }
    linked = {link for link in _LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")) if ":" not in link}
    assert linked <= inside
    assert not {name for name in inside if name.endswith((".pyc", ".db")) or "/.state" in name}


def test_builds_of_the_same_tree_are_the_same_to_the_byte_wherever_and_whenever(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    with tarfile.open(built[1]) as opened:
        opened.extractall(tmp_path / "elsewhere", filter="data")
    (unpacked,) = (tmp_path / "elsewhere").iterdir()
    for path in unpacked.rglob("*"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
    before = os.umask(0o077)
    try:
        copy = build(unpacked, tmp_path / "dist")
    finally:
        os.umask(before)
    assert [path.name for path in copy] == [path.name for path in built]
    assert [path.read_bytes() for path in copy] == [path.read_bytes() for path in built]


def test_the_schemas_of_the_wheel_are_those_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        for path in (ROOT / "schemas").glob("*.json"):
            assert opened.read("reconciler/schemas/" + path.name) == path.read_bytes()


def test_an_installed_wheel_finds_its_schemas_without_any_dependency(installed: Path, tmp_path: Path) -> None:
    code = """\
from reconciler.documents.schemas import schema
print(schema("app")["title"], schema("service")["title"])
"""
    done = run(installed / "python", "-c", code, cwd=tmp_path, env={})
    assert done.stdout == "App Service\n", done.stdout + done.stderr


def test_an_installed_wheel_is_used_and_not_the_tree(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed / "python", "-c", "import reconciler; print(reconciler.__file__)", cwd=tmp_path, env=borrowed()
    )
    assert done.stdout.startswith(str(installed.parent)), done.stdout + done.stderr


def validated(installed: Path, manifests: Path) -> "subprocess.CompletedProcess[str]":
    """Run `validate` for a directory of manifests, whatever daemons run on this host."""
    place = ("--manifests", manifests, "--state", manifests.parent / "state")
    return run(installed / "reconciler", "validate", *place, cwd=manifests.parent, env=borrowed())


def test_an_installed_wheel_accepts_what_its_schemas_allow(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text("path: ../app\nworkers: 2\n")
    done = validated(installed, manifests)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_wheel_refuses_what_its_schemas_do_not_know(installed: Path, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text("path: .\nwrokers: 2\n")
    (manifests / "db.yaml").write_text("kind: service\nname: db\ntype: sqlite\nlable: x\n")
    done = validated(installed, manifests)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "workers" in done.stdout + done.stderr
    assert "label" in done.stdout + done.stderr


def test_an_installed_wheel_tells_the_version_it_was_built_as(installed: Path, wheel: Path, tmp_path: Path) -> None:
    done = run(installed / "reconciler", "--version", cwd=tmp_path, env=borrowed())
    assert done.stdout == f"reconciler {wheel.name.split('-')[1]}\n", done.stdout + done.stderr


# With its dependencies, from an index, by each tool that people install commands with


@pytest.fixture(scope="module")
def interpreters() -> dict[str, str]:
    """The newest Python of each line on this machine."""
    return {".".join(map(str, found.release[:2])): found.path for found in discover(()) if found.stable}


def tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which tools keep what they install below this directory."""
    places = {"UV_TOOL_DIR": "uv", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, **{name: str(tmp_path / place) for name, place in places.items()}, "UV_SYSTEM_CERTS": "1"}


def serves(reconciler: Path, directory: Path) -> None:
    """That command serves an app whose gate asks it, and is ended again."""
    (directory / "app").mkdir()
    (directory / "manifests").mkdir()
    (directory / "app" / "wsgi.py").write_text(_APP)
    port = a_port()
    (directory / "manifests" / "shop.yaml").write_text(f"path: ../app\nport: {port}\nhealth: {{path: /healthz}}\n")
    env, state = tools(directory), directory / "state"
    try:
        told = run(
            reconciler, "apply", "--manifests", directory / "manifests", "--state", state, cwd=directory, env=env
        )
        assert told.returncode == 0, told.stdout + told.stderr
        assert get(port) == "served"
        told = run(reconciler, "status", "--state", state, cwd=directory, env=env)
        assert "running" in told.stdout, told.stdout + told.stderr
    finally:
        run(reconciler, "down", "--state", state, cwd=directory, env=env)


@pytest.mark.network
@pytest.mark.parametrize(
    "line",
    ["3.11", *(pytest.param(line, marks=pytest.mark.nightly) for line in ("3.12", "3.13")), "3.14", "3.15"],
)
def test_installed_by_uv_it_serves_an_app_through_its_gate_on_every_python_here(
    line: str, interpreters: dict[str, str], wheel: Path, tmp_path: Path
) -> None:
    if line not in interpreters:
        pytest.skip(f"no Python {line} here")
    uv = (sys.executable, "-m", "uv", "--no-config", "--quiet")
    done = run(*uv, "tool", "install", "--python", interpreters[line], wheel, cwd=tmp_path, env=tools(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    serves(tmp_path / "bin" / "reconciler", tmp_path)


# That an unpacked sdist builds itself is seen above every day, and that a tool installs the wheel.
@pytest.mark.nightly
@pytest.mark.network
def test_pip_installs_the_sdist_which_builds_itself_without_git(sdist: Path, tmp_path: Path) -> None:
    uv = (sys.executable, "-m", "uv", "--no-config", "--quiet")
    checked(*uv, "venv", "--python", sys.executable, tmp_path / "venv", cwd=tmp_path)
    binaries = tmp_path / "venv" / "bin"
    pip = (sys.executable, "-m", "pip", "--python", binaries / "python", "--quiet", "--disable-pip-version-check")
    done = run(*pip, "install", "--no-deps", sdist, cwd=tmp_path, env=tools(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(binaries / "reconciler", "--version", cwd=tmp_path, env=borrowed())
    assert done.stdout == f"reconciler {sdist.name.removesuffix('.tar.gz').split('-')[1]}\n", done.stdout + done.stderr


@pytest.mark.nightly
@pytest.mark.network
def test_pipx_installs_the_wheel(wheel: Path, tmp_path: Path) -> None:
    pipx = (sys.executable, "-m", "uv", "--no-config", "--quiet", "tool", "run", "pipx")
    asked = ("install", "--quiet", "--python", sys.executable, wheel)
    done = run(*pipx, *asked, cwd=tmp_path, env=tools(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    done = run(tmp_path / "bin" / "reconciler", "--help", cwd=tmp_path, env=tools(tmp_path))
    assert "doctor" in done.stdout, done.stdout + done.stderr
