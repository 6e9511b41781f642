"""Real builds: real interpreters, real environments, packages from the index."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import uv

from reconciler.convergence.slots import Slots
from reconciler.linux.files import remove
from reconciler.planning.apps.revision import Build, Recipe, Source
from reconciler.staging import concurrency
from reconciler.staging.detection.requirements import Requirements, requirements, resolved_path
from reconciler.staging.detection.runtimes import discover
from reconciler.staging.progress import Phase
from reconciler.staging.source.snapshot import fingerprint
from reconciler.staging.stager import SourceChanged, Staged, Stager, StagingError
from tests.support.eventually import at_leisure, soon
from tests.support.interpreters import acquainted

pytestmark = pytest.mark.network

WSGI = "def application(environ, start_response):\n    start_response('200 OK', [])\n    return [b'hello']\n"
ASGI = "async def application(scope, receive, send):\n    pass\n"
# Builds for a minute, in a process of its own, and says so through a file.
SLOW = (
    "import os, pathlib, time\n"
    "from setuptools import setup\n"
    "pathlib.Path('{sign}.draft').write_text(str(os.getpid()))\n"
    "os.rename('{sign}.draft', '{sign}')\n"
    "time.sleep({seconds})\n"
    "setup(name='slow', version='1')\n"
)


@dataclass(kw_only=True)
class Host:
    """A state directory, a stager on it, and apps' sources."""

    root: Path
    timeout_s: float = 300
    progress: list[Phase] = field(default_factory=list)

    @property
    def environments(self) -> Path:
        return self.root / "environments"

    def builds(self, app: str) -> Path:
        return self.root / "apps" / app

    def log(self, app: str) -> Path:
        return self.root / f"{app}.log"

    def stager(self, slots: Slots | None = None) -> Stager:
        return acquainted(
            Stager(
                builds=self.builds,
                environments=self.environments,
                cache=self.root.parent / "cache",
                interpreters=(),
                timeout_s=self.timeout_s,
                slots=slots or Slots(2, 60),
                uv=os.fsdecode(uv.find_uv_bin()),
                environ=lambda: os.environ,
            )
        )

    def build(self, app: str, files: dict[str, str], **recipe: Any) -> Build:
        source = self.root / "sources" / app
        for name, text in files.items():
            path = source / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Build(source=Source(path=str(source)), recipe=Recipe(**recipe), content=fingerprint(str(source)))

    async def stage(self, stager: Stager, app: str, build: Build) -> Staged:
        return await stager.stage(app, build, self.log(app), self.progress.append, kept=self.root / "kept" / app)

    def staged(self, app: str, files: dict[str, str], **recipe: Any) -> Staged:
        return asyncio.run(self.stage(self.stager(), app, self.build(app, files, **recipe)))

    def finished(self) -> list[str]:
        """Return the keys of all finished environments; only those and their locks may be in the store."""
        return [path.parent.name for path in self.environments.glob("*/finished.json")]

    def nothing_half_done(self) -> bool:
        drafts = [path for path in self.root.glob("apps/*/*") if not (path / "build.json").is_file()]
        environments = [path.name for path in self.environments.iterdir() if not path.name.endswith(".lock")]
        return not drafts and sorted(environments) == sorted(self.finished())


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One package cache for all of these tests."""
    return tmp_path_factory.mktemp("staging")


@pytest.fixture
def host(shared: Path, request: pytest.FixtureRequest) -> Host:
    root = shared / f"host-{abs(hash(request.node.name)):x}"
    root.mkdir()
    return Host(root=root)


def version_of(staged: Staged, package: str) -> str:
    ask = f"from importlib.metadata import version; print(version('{package}'))"
    return subprocess.run([staged.python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_bare_app_gets_an_environment_with_gunicorn(host: Host) -> None:
    staged = host.staged("bare", {"wsgi.py": WSGI, ".hidden": "x"})
    assert (staged.entrypoint, staged.interface, staged.worker_class) == ("wsgi:application", "wsgi", "sync")
    assert version_of(staged, "gunicorn") == staged.gunicorn_version
    assert Path(staged.code, ".hidden").is_file()
    assert Path(staged.directory).parent == host.builds("bare")
    assert host.progress[0] == Phase(activity="copying the source")
    log = host.log("bare").read_text()
    assert "because none like it exists" in log
    assert "gunicorn==" in log


def test_bytecode_is_written_while_nothing_else_is_to_be_done(host: Host) -> None:
    async def story() -> None:
        stager = host.stager()
        compiling = asyncio.create_task(stager.compile_ahead())
        staged = await host.stage(stager, "bare", host.build("bare", {"wsgi.py": WSGI}))
        pattern = "lib/*/site-packages/gunicorn/__pycache__/arbiter.*.pyc"
        await soon(lambda: list(Path(staged.environment).glob(pattern)), 120)
        compiling.cancel()

    asyncio.run(story())


def test_a_finished_build_is_returned_at_once_and_can_be_discarded(host: Host) -> None:
    stager, build = host.stager(), host.build("bare", {"wsgi.py": WSGI})
    staged = asyncio.run(host.stage(stager, "bare", build))
    assert asyncio.run(host.stage(stager, "bare", build)) == staged
    assert stager.finished("bare", build.id) == host.stager().finished("bare", build.id) == staged
    assert stager.finished("bare", "0" * 12) is None
    remove(stager.discard("bare", build.id))
    remove(stager.discard("bare", build.id))
    assert stager._loaded == {}  # or a daemon would remember every build it ever made
    assert stager.finished("bare", build.id) is None
    assert not list(host.builds("bare").iterdir())


def test_an_edit_of_code_reuses_the_environment(host: Host) -> None:
    stager = host.stager()

    async def story() -> None:
        assert not (await host.stage(stager, "shop", host.build("shop", {"wsgi.py": WSGI}))).reused
        for edit in range(5):
            build = host.build("shop", {"wsgi.py": f"{WSGI}# {edit}\n"})
            assert (await host.stage(stager, "shop", build)).reused

    asyncio.run(story())
    assert len(host.finished()) == 1
    assert ": reused" in host.log("shop").read_text()


def test_a_build_with_a_known_environment_takes_four_turns_of_a_thread(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    stager, turns, run = host.stager(), list[object](), concurrency._threads.run

    def counted(work: Callable[[], object]) -> Future[object]:
        turns.append(work)
        return run(work)

    monkeypatch.setattr(concurrency._threads, "run", counted)

    async def story() -> int:
        for edit in range(2):
            await host.stage(stager, "shop", host.build("shop", {"wsgi.py": f"{WSGI}# {edit}\n"}))
        before = len(turns)
        await host.stage(stager, "shop", host.build("shop", {"wsgi.py": f"{WSGI}# once more\n"}))
        return len(turns) - before

    assert asyncio.run(story()) <= len(("copy", "select", "name the ingredients", "finish"))


def test_requirements_and_a_pinned_old_gunicorn_win(host: Host) -> None:
    first = host.staged("old", {"wsgi.py": WSGI, "requirements.txt": "bottle==0.12.25\n"}, runtime="3.11")
    staged = host.staged(
        "old", {"requirements.txt": "bottle==0.12.25\ngunicorn==20.1.0\nsetuptools<70\n"}, runtime="3.11"
    )
    assert first.environment != staged.environment
    assert (staged.gunicorn_version, version_of(staged, "gunicorn")) == ("20.1.0", "20.1.0")
    assert version_of(staged, "bottle") == "0.12.25"
    assert staged.python_version.startswith("3.11.")
    assert "because requirements.txt changed" in host.log("old").read_text()


def test_a_pyproject_gives_its_dependencies_and_not_itself(host: Host) -> None:
    project = "[project]\nname = 'shop'\nversion = '1'\ndependencies = ['bottle']\nrequires-python = '>=3.8'\n"
    staged = host.staged("modern", {"app.py": "import bottle\napp = bottle.Bottle()\n", "pyproject.toml": project})
    assert staged.entrypoint == "app:app"
    assert version_of(staged, "bottle")
    with pytest.raises(subprocess.CalledProcessError):
        version_of(staged, "shop")


def test_requirements_that_include_one_another_many_times_are_read_once_and_beside_the_loop(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    resolved: list[Path] = []

    def noted(code: Path, file: str) -> Requirements:
        readers.append(threading.current_thread())
        return requirements(code, file)

    def counted(path: Path, name: str) -> Path:
        resolved.append(path)
        return resolved_path(path, name)

    monkeypatch.setattr("reconciler.staging.environments.installation.requirements", noted)
    monkeypatch.setattr("reconciler.staging.detection.requirements.resolved_path", counted)
    host.staged("round", {"wsgi.py": WSGI, "requirements.txt": "-r requirements.txt\n-c requirements.txt\n" * 9_000})
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()
    assert len(resolved) <= 4


def test_a_requirement_that_does_not_exist_is_named_and_leaves_nothing(host: Host) -> None:
    build = host.build("bad", {"wsgi.py": WSGI, "requirements.txt": "no-such-package-reconciler-tests==1\n"})
    with pytest.raises(StagingError) as failure:
        asyncio.run(host.stage(host.stager(), "bad", build))
    assert str(failure.value).startswith("cannot stage bad: ")
    assert "requirements.txt:1: no package named 'no-such-package-reconciler-tests'" in str(failure.value)
    assert len(str(failure.value).splitlines()) == 1
    assert host.stager().finished("bad", build.id) is None
    assert host.nothing_half_done()
    assert "no-such-package-reconciler-tests was not found" in host.log("bad").read_text()
    host.staged("bad", {"requirements.txt": "bottle\n"})


@pytest.mark.parametrize(
    "version",
    ["3.9", "3.10", *(pytest.param(each, marks=pytest.mark.nightly) for each in ("3.8", "3.11", "3.12", "3.13"))],
)
def test_every_supported_python_serves_asgi(host: Host, version: str) -> None:
    if not any(runtime.name == f"python{version}" for runtime in discover(())):
        pytest.skip(f"this host has no Python {version}")
    staged = host.staged("asgi", {"asgi.py": ASGI}, runtime=version)
    old = version in {"3.8", "3.9"}
    assert staged.worker_class == ("uvicorn.workers.UvicornWorker" if old else "asgi")
    load = f"from gunicorn.util import load_class; load_class('{staged.worker_class}')"
    subprocess.run([staged.python, "-c", load], check=True)


def test_asgi_with_a_gunicorn_that_has_no_worker_for_it_gets_uvicorn(host: Host) -> None:
    staged = host.staged("asgi", {"asgi.py": ASGI, "requirements.txt": "gunicorn==23.0.0\n"}, runtime="3.12")
    assert staged.worker_class == "uvicorn.workers.UvicornWorker"
    assert version_of(staged, "uvicorn")


def test_old_django_gets_a_module_and_a_django_one_down_its_directory(host: Host) -> None:
    manage = "import os\nos.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\nimport django\n"
    staged = host.staged("old", {"manage.py": manage, "settings.py": ""})
    assert staged.entrypoint == "reconciler_wsgi:application"
    assert "settings" in Path(staged.code, "reconciler_wsgi.py").read_text()
    assert not (host.root / "sources" / "old" / "reconciler_wsgi.py").exists()
    nested = host.staged("nested", {"web/manage.py": manage, "web/settings.py": ""})
    assert Path(nested.code).name == "web"
    assert Path(nested.code, "reconciler_wsgi.py").is_file()


def test_a_source_that_changed_meanwhile_is_not_taken_for_what_was_asked(host: Host) -> None:
    build = host.build("shop", {"wsgi.py": WSGI})
    host.build("shop", {"wsgi.py": f"{WSGI}#"})
    with pytest.raises(SourceChanged, match="cannot stage shop: the source changed while it was copied"):
        asyncio.run(host.stage(host.stager(), "shop", build))
    with pytest.raises(StagingError, match="cannot stage shop: cannot read the source at /nowhere: it does not exist"):
        asyncio.run(host.stage(host.stager(), "shop", replace(build, source=Source(path="/nowhere"))))
    assert not list(host.builds("shop").iterdir())


def test_apps_with_one_key_share_one_install(host: Host) -> None:
    stager = host.stager()

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10):
                app = f"app-{number}"
                files = {"wsgi.py": f"{WSGI}# {number}", "requirements.txt": "bottle\n"}
                group.create_task(host.stage(stager, app, host.build(app, files)))

    asyncio.run(story())
    assert len(host.finished()) == 1
    logs = [host.log(f"app-{number}").read_text() for number in range(10)]
    assert sum("creating it, because" in log for log in logs) == 1
    assert host.nothing_half_done()


def test_two_processes_with_one_key_share_one_install(host: Host) -> None:
    one, other = host.stager(), host.stager()
    files = {"wsgi.py": WSGI, "requirements.txt": "bottle\n"}

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(host.stage(one, "one", host.build("one", files)))
            group.create_task(host.stage(other, "other", host.build("other", files)))

    asyncio.run(story())
    logs = host.log("one").read_text() + host.log("other").read_text()
    assert logs.count("creating it, because") == 1
    assert "another process created it" in logs


def test_a_damaged_environment_is_made_again(host: Host) -> None:
    build = host.build("shop", {"wsgi.py": WSGI})
    staged = asyncio.run(host.stage(host.stager(), "shop", build))
    for path in Path(staged.environment).glob("lib/*/site-packages/gunicorn/__init__.py"):
        path.unlink()
    assert host.stager().finished("shop", build.id) is None
    again = asyncio.run(host.stage(host.stager(), "shop", build))
    assert again == replace(staged, because=again.because)
    assert "the one in the store was damaged (lib/" in again.because
    assert host.nothing_half_done()


def test_a_build_that_a_power_cut_emptied_is_staged_again(host: Host) -> None:
    build = host.build("shop", {"wsgi.py": WSGI, "empty": ""})
    staged = asyncio.run(host.stage(host.stager(), "shop", build))
    record = Path(staged.directory, "build.json")
    record.write_text(json.dumps({**json.loads(record.read_text()), "boot": "another"}))
    assert host.stager().finished("shop", build.id) == staged
    Path(staged.code, "wsgi.py").write_text("")
    assert host.stager().finished("shop", build.id) is None
    asyncio.run(host.stage(host.stager(), "shop", build))
    assert Path(staged.code, "wsgi.py").read_text() == WSGI


def slow(host: Host, seconds: int) -> tuple[dict[str, str], Path]:
    """Return an app whose requirement takes long to build, and the file that appears while it is built."""
    package, sign = host.root / "slow", host.root / "building"
    package.mkdir()
    (package / "setup.py").write_text(SLOW.format(sign=sign, seconds=seconds))
    subprocess.run(["git", "init", "-q", str(package)], check=True)
    git = ["git", "-C", str(package), "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "x"], check=True)
    return {"wsgi.py": WSGI, "requirements.txt": f"slow @ git+file://{package}\n"}, sign


def held(host: Host) -> bool:
    """Tell whether an installer still holds the lock of an environment."""
    for path in host.environments.glob("*.lock"):
        with path.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
    return False


@pytest.mark.parametrize("ended_by", ["cancel", "timeout"])
def test_what_is_given_up_leaves_nothing_behind(host: Host, ended_by: str) -> None:
    files, sign = slow(host, 600)
    host.timeout_s = 300 if ended_by == "cancel" else at_leisure(6.0)
    build = host.build("slow", files)

    async def story() -> None:
        task = asyncio.create_task(host.stage(host.stager(), "slow", build))
        await soon(sign.exists)
        if ended_by == "cancel":
            task.cancel()
        await asyncio.wait((task,), timeout=30 + host.timeout_s)
        limit = f"took longer than {host.timeout_s:g} s"
        assert task.cancelled() if ended_by == "cancel" else limit in str(task.exception())
        await soon(lambda: not alive(int(sign.read_text())))

    asyncio.run(story())
    assert not held(host)
    assert host.nothing_half_done()
    assert not list(host.builds("slow").iterdir())
    assert " failed: " in host.log("slow").read_text()


def test_a_waiting_app_takes_over_when_the_one_that_installs_is_cancelled(host: Host) -> None:
    stager = host.stager()
    files, sign = slow(host, 1)

    async def story() -> None:
        first = asyncio.create_task(host.stage(stager, "first", host.build("first", files)))
        await soon(sign.exists)
        second = asyncio.create_task(host.stage(stager, "second", host.build("second", files)))
        waiting = Phase(activity="waiting for an environment that another app is creating")
        await soon(lambda: waiting in host.progress)
        first.cancel()
        assert Path((await second).directory).is_dir()
        assert first.cancelled()

    asyncio.run(story())
    assert host.nothing_half_done()


KILLED = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_staging import Host, SLOW
from reconciler.planning.apps.revision import Build, Recipe, Source
host = Host(root=Path({root!r}))
build = Build(source=Source(path={path!r}), recipe=Recipe(), content={content!r})
asyncio.run(host.stage(host.stager(), "shop", build))
"""


@pytest.mark.parametrize(
    "after_s",
    [None, pytest.param(0.1, marks=pytest.mark.nightly), 0.4, pytest.param(0.7, marks=pytest.mark.nightly)],
)
def test_killed_half_way_it_is_staged_again(host: Host, after_s: float | None) -> None:
    files, sign = slow(host, 1)
    build = host.build("shop", files if after_s is None else {"wsgi.py": WSGI, "requirements.txt": "bottle\n"})
    script = KILLED.format(
        tests=str(Path(__file__).parent), root=str(host.root), path=build.source.path, content=build.content
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": str(root)}) as process:
        if after_s is None:
            asyncio.run(soon(sign.exists))
        else:
            asyncio.run(soon(lambda: host.log("shop").exists()))
            time.sleep(after_s)  # any moment will do: that is the point
        process.send_signal(signal.SIGKILL)
    assert host.stager().finished("shop", build.id) is None or after_s is not None
    staged = asyncio.run(host.stage(host.stager(), "shop", build))
    assert version_of(staged, "gunicorn")
    assert host.nothing_half_done()


@pytest.mark.parametrize(
    ("requirements", "code", "imports"),
    [
        ("gunicorn==20.1.0\n", "", "gunicorn.app.wsgiapp, pkg_resources"),
        ("gunicorn==19.9.0\n", "", "gunicorn.app.wsgiapp"),
        ("six\n", "import pkg_resources\n", "pkg_resources"),
        ("gevent\n", "", "gunicorn.workers.ggevent"),
    ],
)
def test_what_gunicorn_and_the_app_import_is_there(host: Host, requirements: str, code: str, imports: str) -> None:
    staged = host.staged("shop", {"wsgi.py": code + WSGI, "requirements.txt": requirements}, runtime="3.11")
    subprocess.run([staged.python, "-W", "ignore", "-c", f"import {imports}"], check=True)


def test_a_vendor_directory_needs_no_gunicorn_and_the_failure_of_one_names_it(host: Host) -> None:
    wheel = host.root / "sources/shop/vendor/tinything-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    with zipfile.ZipFile(wheel, "w") as packed:
        packed.writestr("tinything.py", "")
        packed.writestr("tinything-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n")
        packed.writestr("tinything-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr("tinything-1.0.dist-info/RECORD", "")
    staged = host.staged("shop", {"wsgi.py": WSGI, "requirements.txt": "tinything\n"})
    assert (version_of(staged, "tinything"), staged.gunicorn_version) == ("1.0", version_of(staged, "gunicorn"))
    with pytest.raises(StagingError, match=r"only packages in vendor/ were looked at: add what is missing"):
        host.staged("shop", {"requirements.txt": "tinything\nsix\n"})


def test_an_app_that_names_no_python_stays_on_that_of_its_last_build(host: Host) -> None:
    first = host.staged("shop", {"wsgi.py": WSGI})
    record = Path(first.directory, "build.json")
    older = json.loads(record.read_text())
    older["staged"]["python_version"] = "3.11.0"
    record.write_text(json.dumps(older))
    assert host.staged("shop", {"wsgi.py": f"{WSGI}#"}).python_version.startswith("3.11.")
    assert "as the build before it" in host.log("shop").read_text()
    named = host.staged("shop", {"wsgi.py": f"{WSGI}##"}, runtime="3.12")
    assert named.runtime_named
    assert host.staged("shop", {"wsgi.py": f"{WSGI}###"}).python_version == first.python_version


def test_a_failed_install_says_that_the_python_was_not_named_and_what_names_another(host: Host) -> None:
    needs_another = {"wsgi.py": WSGI, "requirements.txt": "./old\n", "old/setup.py": "import nothing_of_ours\n"}
    with pytest.raises(StagingError, match=r"which neither the app nor its manifest names: `runtime: python3\.\d+` in"):
        host.staged("shop", needs_another)
    with pytest.raises(StagingError) as failed:
        host.staged("shop", needs_another, runtime="3.12")
    assert "names: `runtime" not in str(failed.value)
    assert "ModuleNotFoundError: No module named 'nothing_of_ours'" in str(failed.value)
    assert ".draft-" not in str(failed.value)


def test_a_requirement_that_cannot_be_installed_is_named_with_its_line_and_no_python_is(
    host: Host,
) -> None:
    for requirement, told in (
        ("no-such-package-of-ours", "no package named 'no-such-package-of-ours' in the registry"),
        ("djago = 3", "'djago = 3' is not a requirement: write 'djago==3'"),
        ("--no-such-option", "Unexpected '-'"),
    ):
        with pytest.raises(StagingError) as failed:
            host.staged("shop", {"wsgi.py": WSGI, "requirements.txt": f"# ours\n{requirement}\n"})
        assert told in str(failed.value)
        assert "requirements.txt:2" in str(failed.value)
        assert ".draft-" not in str(failed.value)
        assert "neither the app nor its manifest" not in str(failed.value)


PACKAGE = """[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"
[project]
name = "bakery"
version = "1.0"
dependencies = ["six"]
[project.scripts]
bake = "bakery:bake"
[tool.setuptools]
packages = ["bakery"]
package-dir = {bakery = "src/bakery"}
"""


def test_a_project_with_a_build_system_is_installed_and_again_with_each_edit(host: Host) -> None:
    files = {"wsgi.py": f"import bakery\n{WSGI}", "pyproject.toml": PACKAGE, "src/bakery/__init__.py": "bake = print"}
    first = host.staged("shop", files, runtime="3.12")
    assert (version_of(first, "bakery"), bool(version_of(first, "six"))) == ("1.0", True)
    subprocess.run([first.python, "-c", "import bakery"], check=True)
    assert Path(first.environment, "bin/bake").is_file()
    second = host.staged("shop", {"src/bakery/__init__.py": "bake = print; new = 1"}, runtime="3.12")
    subprocess.run([second.python, "-c", "from bakery import new"], check=True)


def test_a_project_whose_build_system_cannot_build_it_is_served_from_where_it_is(host: Host) -> None:
    files = {"wsgi.py": WSGI, "pyproject.toml": PACKAGE, "one/__init__.py": "", "two/__init__.py": ""}
    staged = host.staged("shop", files, runtime="3.12")
    assert version_of(staged, "six")
    assert "served from where it is, as it cannot be built" in host.log("shop").read_text()


def test_an_app_that_names_no_python_gets_one_that_its_packages_can_have(host: Host) -> None:
    minors = list(dict.fromkeys(each.release[:2] for each in discover(()) if each.stable and each.name[:6] == "python"))
    if len(minors) < 3:
        pytest.skip("needs three Pythons")
    newest, other = (f"{major}.{minor}" for major, minor in (minors[-1], minors[-2]))
    tag = f"cp{other.replace('.', '')}"
    vendor = host.root / "sources/shop/vendor"
    vendor.mkdir(parents=True)
    with zipfile.ZipFile(vendor / f"brittle-1.0-{tag}-none-any.whl", "w") as zipped:
        zipped.writestr("brittle.py", "")
        zipped.writestr("brittle-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: brittle\nVersion: 1.0\n")
        zipped.writestr("brittle-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nTag: {tag}-none-any\n")
        zipped.writestr("brittle-1.0.dist-info/RECORD", "")
    files = {"wsgi.py": WSGI, "requirements.txt": "brittle\n"}
    first = host.staged("shop", files)
    assert first.python_version.startswith(f"{other}.")
    reason = f"brittle 1.0 has no wheel for Python {newest}"
    assert first.notes == (f"{reason}; Python {other} was taken: write `runtime: python{other}` to keep it",)
    assert f"({reason})" in host.log("shop").read_text()
    host.log("shop").unlink()
    second = host.staged("shop", {"wsgi.py": f"{WSGI}# edited\n"})
    assert (second.python_version, second.reused, second.notes) == (first.python_version, True, ())
    assert f"has no wheel for Python {newest}" not in host.log("shop").read_text()
    with pytest.raises(StagingError, match="has no wheels with a matching Python"):
        host.staged("shop", {}, runtime=newest)
