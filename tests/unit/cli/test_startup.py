"""Whoever types a command waits for every module it imports: those that look and tell import no more than they use."""

import json
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from reconciler.linux.unix_sockets import reachable
from reconciler.state.paths import StatePaths
from reconciler.state.schema import open_database

_LOADED = """\
import json, sys
from reconciler.__main__ import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert not ended.code, ended.code
sys.stderr.write(json.dumps(sorted(sys.modules)))
"""

# What takes long to import, and what only a daemon or a manifest's reader needs.
SLOW = {
    *("asyncio", "concurrent.futures", "email", "http.client", "importlib.metadata", "logging", "multiprocessing"),
    *("ssl", "subprocess", "urllib.request", "zipfile"),
    *("cryptography", "itsdangerous", "jinja2", "jsonschema", "packaging", "pathspec", "psutil", "starlette"),
    *("tenacity", "uv", "uvicorn", "virtualenv", "yaml"),
    *(
        "reconciler.convergence.controller",
        "reconciler.daemon.daemon",
        "reconciler.host.world",
        "reconciler.planning.apps.observed",
        "reconciler.planning.apps.plan",
    ),
    *(
        "reconciler.manifests.parse_file",
        "reconciler.services.observer",
        "reconciler.settings.settings",
        "reconciler.staging.detection.modules",
    ),
}

# What `status` loads where there is something to tell of it: a service, an override, a process that is being stopped.
NEEDED_BY_FEW = {
    *("click.shell_completion", "ctypes", "hashlib", "hmac", "random", "secrets"),
    *(
        "reconciler.linux.files",
        "reconciler.planning.apps.revision",
        "reconciler.planning.processes.stop",
        "reconciler.planning.services.service",
        "reconciler.planning.tasks.task",
        "reconciler.services.records",
        "reconciler.state.release_log",
        "reconciler.state.task_log",
        "reconciler.vault.vault",
    ),
}


def loaded(*command: str) -> set[str]:
    """The modules a command has imported when it is done."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *command], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return set(json.loads(done.stderr))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    with closing(open_database(StatePaths(state=tmp_path).database)):
        return tmp_path


@pytest.mark.parametrize("command", ["--help", "--version", "status --help"])
def test_help_and_version_import_nothing_slow_and_nothing_of_the_state(command: str) -> None:
    assert not loaded(*command.split()) & (
        SLOW | {"sqlite3", "reconciler.planning.apps.app", "reconciler.state.records"}
    )


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_status_imports_nothing_slow(state: Path, options: tuple[str, ...]) -> None:
    found = loaded("status", "--state", str(state), *options)
    assert "reconciler.state.records" in found
    assert not found & (SLOW | {"reconciler.cli.remote"})
    assert not found & NEEDED_BY_FEW


def test_help_loads_nothing_that_only_errors_need() -> None:
    assert not loaded("--help") & {"reconciler.inspection.printable", "reconciler.planning.wording"}


def test_help_loads_no_paths_and_no_archivers_and_is_as_wide_as_click_makes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not loaded("--help") & {"pathlib", "urllib.parse", "shutil", "zlib"}
    for columns, widest in (("20", 50), ("90", 88), ("500", 98), ("no number", 78)):
        monkeypatch.setenv("COLUMNS", columns)
        done = subprocess.run(
            [sys.executable, "-m", "reconciler", "--help"], capture_output=True, text=True, check=True
        )
        told = done.stdout.partition("Options:")[0].splitlines()
        assert widest - 12 < max(map(len, told)) <= widest, columns


@pytest.mark.parametrize("command", ["trigger shop sync", "restart shop", "task shop --detach -- true"])
def test_what_asks_the_daemon_imports_nothing_slow(state: Path, command: str) -> None:
    with socket.socket(socket.AF_UNIX) as daemon, reachable(StatePaths(state=state).control) as short:
        daemon.bind(short)
        daemon.listen()
        thread = threading.Thread(target=_answer, args=(daemon,))
        thread.start()
        name, *words = command.split()
        found = loaded(name, "--state", str(state), *words)
        thread.join()
    assert "reconciler.control.socket" in found
    assert not found & SLOW


def _answer(daemon: socket.socket) -> None:
    with daemon.accept()[0] as client:
        client.recv(1000)
        client.sendall(b'{"done": "shop: done", "task": "8f3a0001"}\n')


def test_to_validate_nothing_of_staging_or_serving_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "wsgi.py").write_text("")
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "blog.yaml").write_text("path: ../app\n")
    found = loaded("validate", "--manifests", str(tmp_path / "m"), "--state", str(tmp_path / "state"))
    assert "reconciler.manifests.catalog" in found
    assert not found & {
        "reconciler.daemon.daemon",
        "reconciler.host.world",
        "reconciler.staging.detection.local_data",
        "reconciler.staging.stager",
        "tenacity",
        "uv",
    }
    assert not found & {"asyncio", "concurrent.futures", "logging", "ssl", "reconciler.planning.apps.observed"}
    assert not found & {
        *("ctypes", "hashlib", "sqlite3"),
        *("reconciler.linux.inotify", "reconciler.state.records"),
        *("reconciler.staging.detection.dependencies", "reconciler.staging.detection.lockfiles.registry"),
        *("reconciler.staging.source.ignore_rules", "reconciler.staging.source.snapshot"),
    }


def test_the_names_of_what_is_slow_are_those_of_modules_that_a_daemon_does_import() -> None:
    imported = "reconciler.cli.run, reconciler.daemon.daemon, reconciler.staging.making"
    code = f"import sys, {imported}; sys.stdout.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    ours = {name for name in SLOW if name.startswith("reconciler.")}
    assert ours <= set(done.stdout.split())


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("status", "--help"), ("runtimes",), ("validate",)])
def test_a_full_disk_behind_the_output_is_told_in_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    command = (sys.executable, "-m", "reconciler", *words)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (1, "Error: cannot write the output: No space left on device\n")
