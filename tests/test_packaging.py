"""What a stranger installs: the wheel has everything the tree has, and works away from it."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False)


def checked(*arguments: str | Path, cwd: Path) -> None:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("dist")
    checked(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", made, cwd=ROOT)
    (found,) = made.glob("*.whl")
    return found


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
    assert not {name for name in inside if name.startswith(("tests", "examples", "schemas/"))}


def test_the_schemas_of_the_wheel_are_those_of_the_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        for path in (ROOT / "schemas").glob("*.json"):
            assert opened.read("reconciler/schemas/" + path.name) == path.read_bytes()


def test_an_installed_wheel_finds_its_schemas_without_any_dependency(installed: Path, tmp_path: Path) -> None:
    code = """\
from reconciler.manifests.schemas import schema
print(schema("app")["title"], schema("service")["title"])
"""
    done = run(installed / "python", "-c", code, cwd=tmp_path, env={})
    assert done.stdout == "App Service\n", done.stdout + done.stderr


def test_an_installed_wheel_is_used_and_not_the_tree(installed: Path, tmp_path: Path) -> None:
    done = run(
        installed / "python", "-c", "import reconciler; print(reconciler.__file__)", cwd=tmp_path, env=borrowed()
    )
    assert done.stdout.startswith(str(installed.parent)), done.stdout + done.stderr


def test_an_installed_wheel_accepts_what_its_schemas_allow(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("def application(environ, start_response): ...\n")
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text("path: ../app\nworkers: 2\n")
    done = run(installed / "reconciler", "validate", "--manifests", manifests, cwd=tmp_path, env=borrowed())
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_installed_wheel_refuses_what_its_schemas_do_not_know(installed: Path, tmp_path: Path) -> None:
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    (manifests / "shop.yaml").write_text("path: .\nwrokers: 2\n")
    (manifests / "db.yaml").write_text("kind: service\nname: db\ntype: sqlite\nlable: x\n")
    done = run(installed / "reconciler", "validate", "--manifests", manifests, cwd=tmp_path, env=borrowed())
    assert done.returncode == 1, done.stdout + done.stderr
    assert "workers" in done.stdout + done.stderr
    assert "label" in done.stdout + done.stderr
