"""A real deployment from the command line alone: applied, planned, looked into, stopped."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.network

ROOT = Path(__file__).resolve().parents[2]


class Host:
    """A state directory and manifests, and the commands on them."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.environment = {
            **os.environ, "RECONCILER_STATE": str(place / "state"), "RECONCILER_MANIFESTS": str(place / "manifests"),
        }  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", *words],
            env=self.environment, cwd=self.place, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    def app(self) -> dict[str, object]:
        (app,) = json.loads(self.run("status", "--json"))["apps"]
        assert isinstance(app, dict)
        return app


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "hello.yaml").write_text(f"path: {ROOT}/examples/hello\nenv: {{API_KEY: hunter2}}\n")
    host = Host(tmp_path)
    yield host
    host.run("down")


def test_an_app_is_applied_planned_looked_into_and_stopped(host: Host) -> None:
    assert host.run("apply").endswith("1 app, all up to date\n")
    first = host.app()
    with urllib.request.urlopen(str(first["url"]), timeout=60) as answer:
        assert answer.status == 200

    assert host.run("plan") == "nothing to do: 1 app up to date\n"
    elsewhere = {name: value for name, value in host.environment.items() if name != "RECONCILER_MANIFESTS"}
    words = [sys.executable, "-m", "reconciler", "plan"]
    done = subprocess.run(words, env=elsewhere, cwd="/", capture_output=True, text=True, timeout=300, check=False)
    assert (done.stdout, done.stderr) == ("nothing to do: 1 app up to date\n", "")
    host.run("apply")
    assert host.app()["pid"] == first["pid"]

    assert "API_KEY=•••\n" in host.run("env", "hello")
    assert "API_KEY=hunter2\n" in host.run("env", "hello", "--reveal")
    code = "import os, sys; print(sys.prefix, os.getcwd(), os.environ.get('RECONCILER_STATE'))"
    prefix, directory, mark = host.run("shell", "hello", "--", "python", "-c", code).split()
    assert Path(prefix).parent == host.place / "state" / "environments"
    assert Path(directory, "wsgi.py").exists()
    assert mark == "None"

    (host.place / "manifests" / "hello.yaml").write_text(f"path: {ROOT}/examples/hello\nworkers: 2\n")
    assert "its configuration changed" in host.run("plan", code=2)

    assert host.run("down") == "stopped 1 app instance\n"
    assert host.app()["state"] == "stopped"
    assert "the app was not running" in host.run("plan", code=2)
