"""A daemon loads what it needs: what makes a build with the first build, what passes logs on where that is set."""

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.state.lock import acquire
from reconciler.state.paths import StatePaths

# Each stands for what it imports in turn.
MAKING = {
    *(
        "reconciler.staging.detection.dependencies",
        "reconciler.staging.detection.entry_point",
        "reconciler.staging.detection.lockfiles.registry",
        "reconciler.staging.detection.modules",
        "reconciler.staging.detection.selection",
        "reconciler.staging.detection.web_line.options",
        "reconciler.staging.environments.creation",
        "reconciler.staging.environments.export",
        "reconciler.staging.environments.installation",
        "reconciler.staging.environments.serving",
        "reconciler.staging.environments.tools",
        "reconciler.staging.making",
    ),
}
# What reads files that few apps have: TOML, archives, requirements of a worker class. Others tell of a mistake.
OF_FILES = {"configparser", "difflib", "email.parser", "packaging", "tarfile", "tomllib", "zipfile"}

# What is selected for a build of code alone, and what its environment needs.
SELECT = """\
import pathlib, sys
import reconciler.staging.environments.creation, reconciler.staging.making
from reconciler.planning.apps.revision import Recipe
from reconciler.staging.detection.runtimes import Runtime
from reconciler.staging.detection.selection import select
from reconciler.staging.environments.server_needs import worker_needs

code, site = map(pathlib.Path, sys.argv[1:])
python = Runtime(name="python3.12", description="", version="3.12.1", path="/usr/bin/python3.12")
selection = select(code, Recipe(), (python,))
sys.stdout.write(" ".join([selection.entry.target, f"needs={len(worker_needs(site))}", *sys.modules]))
"""


# What a daemon does soon after its start, and each hour.
WARM_UP = """\
import asyncio, os, pathlib, sys, uv
from reconciler.staging.stager import Stager

async def story(directory):
    stager = Stager(
        builds=directory.joinpath, environments=directory / "environments", cache=directory / "cache",
        interpreters=(), timeout_s=60, slots=asyncio.Semaphore(1), uv=os.fsdecode(uv.find_uv_bin()), environ=dict,
    )
    await stager.warm_up()
    stager.collect((), 0)

asyncio.run(story(pathlib.Path(sys.argv[1])))
sys.stdout.write(" ".join(sys.modules))
"""


def loaded(*modules: str) -> set[str]:
    return run(f"import sys, {', '.join(modules)}; sys.stdout.write(' '.join(sys.modules))")


def run(code: str, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["reconciler.daemon.daemon", "reconciler.inspection.snapshot"])
def test_what_makes_a_build_is_not_loaded_to_adopt_one(module: str) -> None:
    assert loaded(module) & MAKING == set()


def test_a_daemon_without_a_log_drain_loads_none() -> None:
    assert not any(module.startswith("reconciler.daemon.drains") for module in loaded("reconciler.daemon.daemon"))


def test_a_daemon_that_tells_no_git_server_of_commits_loads_nothing_for_it() -> None:
    found = loaded("reconciler.daemon.git_origins")
    assert not any(module.startswith(("reconciler.daemon.statuses", "http.client")) for module in found)


def test_to_warm_up_and_to_collect_load_no_more(tmp_path: Path) -> None:
    environment = tmp_path / "environments" / "0123"
    environment.mkdir(parents=True)
    found = run(WARM_UP, str(tmp_path))
    assert not environment.exists()
    assert "reconciler.staging.detection.runtimes" in found
    assert found & (MAKING | OF_FILES) == set()


def test_a_build_of_code_alone_loads_nothing_for_files_that_it_has_not(tmp_path: Path) -> None:
    code, metadata = tmp_path / "code", tmp_path / "site" / "gunicorn-27.0.0.dist-info" / "METADATA"
    code.mkdir()
    (code / "wsgi.py").write_text("def application(environ, start):\n    return []\n")
    metadata.parent.mkdir(parents=True)
    of_gevent = "".join(f'Requires-Dist: {name}; extra == "gevent"\n' for name in ("gevent", "packaging"))
    metadata.write_text(f"Name: gunicorn\nProvides-Extra: gevent\n{of_gevent}")
    found = run(SELECT, str(code), str(tmp_path / "site"))
    assert {"wsgi:application", "needs=0"} <= found
    assert found & OF_FILES == set()
    (tmp_path / "site" / "gevent-25.1.1.dist-info").mkdir()
    found = run(SELECT, str(code), str(tmp_path / "site"))
    assert {"needs=1", "email.parser", "packaging"} <= found


# What a daemon needs once something is deployed, fails, is isolated or encrypted, and as it ends.
NEEDED_LATER = {
    *("reconciler.daemon.shutdown", "reconciler.host.revision_differences", "reconciler.isolation.fence"),
    *("reconciler.planning.program_output", "reconciler.planning.services.backups", "reconciler.staging.build_cell"),
    *("reconciler.staging.command", "reconciler.staging.differences", "reconciler.staging.release"),
    *("reconciler.planning.processes.plan", "reconciler.planning.schedules.due", "reconciler.planning.services.plan"),
    *("reconciler.inspection.snapshot", "reconciler.isolation.warden"),
    *("reconciler.serving.relay", "reconciler.services.server_connection", "reconciler.linux.shared_ports"),
    "reconciler.vault.encryption.identities",
}


def test_a_daemon_whose_apps_serve_has_loaded_nothing_for_what_may_come() -> None:
    assert loaded("reconciler.cli.run", "reconciler.daemon.daemon", "reconciler.daemon.process") & NEEDED_LATER == set()


def test_the_names_of_what_makes_a_build_are_those_of_modules_that_do() -> None:
    assert loaded("reconciler.staging.making", "reconciler.staging.environments.creation") >= MAKING


def test_a_host_without_an_origin_in_git_loads_nothing_of_git() -> None:
    found = loaded("reconciler.daemon.daemon", "reconciler.daemon.process")
    assert {name for name in found if ".git" in name or "planning.origins" in name} == set()


def test_a_host_without_a_proxy_loads_nothing_of_routing() -> None:
    found = loaded("reconciler.daemon.daemon", "reconciler.daemon.process", "reconciler.inspection.status")
    assert {name for name in found if "routing" in name or name == "reconciler.settings.proxy"} == set()


# What a daemon does with each manifest.
READ = """\
import pathlib, sys
import reconciler.daemon.daemon
from reconciler.documents.schema_checks import problems_of
from reconciler.documents.tree import trees_of

trees, problems = trees_of("app.yaml", pathlib.Path(sys.argv[1]).read_text())
found = problems_of("app.yaml", "app", trees[0])
sys.stdout.write(" ".join([f"problems={len(found)}", *sys.modules]))
"""


def test_a_manifest_without_a_mistake_is_read_without_the_library_that_explains_mistakes(tmp_path: Path) -> None:
    manifest = tmp_path / "app.yaml"
    manifest.write_text("path: ../apps/blog\nruntime: python3.12\nworkers: 2\nenv: {LEVEL: info}\n")
    found = run(READ, str(manifest))
    assert "problems=0" in found
    assert found & {"jsonschema", "referencing", "typing_extensions", "attr", "zipfile"} == set()
    manifest.write_text("path: ../apps/blog\nworkers: two\n")
    found = run(READ, str(manifest))
    assert "problems=1" in found
    assert "jsonschema" in found


def test_a_daemon_without_a_cluster_imports_nothing_of_clusters() -> None:
    said = run("import sys, reconciler.cli.run, reconciler.daemon.daemon; sys.stdout.write(' '.join(sys.modules))")
    assert not {name for name in said if name.startswith(("reconciler.cluster", "reconciler.daemon.clusters"))}


# What `reconciler run` loads where a daemon runs already; then one speaks TLS to a server that does not.
RUN = """\
import sys
import click
from reconciler.cli.run import command

try:
    command.main(["--state", sys.argv[1], "--manifests", sys.argv[2]], standalone_mode=False)
except click.ClickException as error:
    sys.stdout.write(f"{error.message} ")
sys.stdout.write("early " if {"_ssl", "reconciler.daemon.process"} - sys.modules.keys() != {"_ssl"} else "late ")

import asyncio, ssl

async def story():
    server = await asyncio.start_server(lambda _, writer: writer.write(b"HTTP/1.1 400 Bad Request"), "127.0.0.1", 0)
    try:
        address = server.sockets[0].getsockname()
        await asyncio.open_connection(*address, ssl=ssl.create_default_context(), server_hostname="localhost")
    except ssl.SSLError as error:
        sys.stdout.write(error.reason)

asyncio.run(story())
"""


def test_a_daemon_loads_tls_once_it_speaks_it(tmp_path: Path) -> None:
    paths = StatePaths(state=tmp_path / "state")
    with acquire(paths):
        found = run(RUN, str(paths.state), str(tmp_path))
    assert {"late", "WRONG_VERSION_NUMBER"} <= found
