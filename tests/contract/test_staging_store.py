"""The environment store and private indexes, for real: damage is healed, secrets stay where they are."""

import asyncio
import base64
import io
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uv

from reconciler.convergence.slots import Slots
from reconciler.linux.file_lock import try_lock
from reconciler.linux.files import remove
from reconciler.staging.environments.installer_env import MEMORY
from reconciler.staging.errors import StagingError
from reconciler.staging.progress import Phase
from reconciler.staging.stager import Stager
from tests.contract.test_staging import WSGI, Host, alive, host, shared, version_of
from tests.support.eventually import eventually, soon

__all__ = ["host", "shared"]

pytestmark = pytest.mark.network

PASSWORD = "hunter2-of-the-index"


def a_wheel(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as wheel:
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{name}.py", "")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return packed.getvalue()


@pytest.fixture
def private_index() -> Iterator[str]:
    """Run an index with one package, protected by a password."""
    wheel, known = "secretive-1.0-py3-none-any.whl", base64.b64encode(f"deploy:{PASSWORD}".encode()).decode()

    class Index(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            if self.headers.get("Authorization") != f"Basic {known}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.end_headers()
                return
            page = f'<a href="/files/{wheel}">{wheel}</a>'.encode()
            body = {"/simple/secretive/": page, f"/files/{wheel}": a_wheel("secretive")}.get(self.path)
            self.send_response(200 if body else 404)
            self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/simple/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_private_index_is_used_and_its_password_is_never_written(
    host: Host, private_index: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX", f"private={private_index}")
    monkeypatch.setenv("UV_INDEX_PRIVATE_USERNAME", "deploy")
    monkeypatch.setenv("UV_INDEX_PRIVATE_PASSWORD", PASSWORD)
    staged = host.staged("private", {"wsgi.py": WSGI, "requirements.txt": "secretive\n"}, runtime="3.12")
    assert version_of(staged, "secretive") == "1.0"
    written = [path for path in host.root.rglob("*") if path.is_file()]
    assert written
    assert not [path for path in written if PASSWORD.encode() in path.read_bytes()]


def test_an_app_cannot_write_into_the_environments_of_others(host: Host) -> None:
    one = host.staged("one", {"wsgi.py": WSGI, "requirements.txt": "iniconfig\n"})
    (file,) = Path(one.environment).glob("lib/*/site-packages/gunicorn/util.py")
    whole = file.read_bytes()
    with file.open("r+b") as writing:
        writing.write(b"print('whose secrets are these?')")
    other = host.staged("other", {"wsgi.py": WSGI, "requirements.txt": "bottle\n"})
    (file,) = Path(other.environment).glob("lib/*/site-packages/gunicorn/util.py")
    assert file.read_bytes() == whole
    files = (path for path in Path(other.environment).rglob("*") if path.is_file() and not path.is_symlink())
    assert {path.stat().st_nlink for path in files} == {1}


def test_a_file_that_an_earlier_version_shared_with_the_cache_is_fetched_again_once_it_is_damaged(host: Host) -> None:
    build = host.build("shop", {"wsgi.py": WSGI, "requirements.txt": "iniconfig\n"})
    staged = asyncio.run(host.stage(host.stager(), "shop", build))
    (file,) = Path(staged.environment).glob("lib/*/site-packages/iniconfig/__init__.py")
    (cached,) = (host.root.parent / "cache").glob("uv/archive-v0/*/iniconfig/__init__.py")
    whole = file.read_bytes()
    file.unlink()
    file.hardlink_to(cached)
    with file.open("r+b") as writing:
        writing.truncate(10)
    edited = host.build("shop", {"wsgi.py": f"{WSGI}#"})
    again = asyncio.run(host.stage(host.stager(), "shop", edited))
    assert "the one in the store was damaged (lib/python" in again.because
    assert again.environment == staged.environment
    (file,) = Path(again.environment).glob("lib/*/site-packages/iniconfig/__init__.py")
    assert file.read_bytes() == whole


def test_a_build_whose_environment_is_found_damaged_is_staged_again(host: Host) -> None:
    stager = host.stager()
    build = host.build("shop", {"wsgi.py": WSGI, "requirements.txt": "iniconfig\n"})
    staged = asyncio.run(host.stage(stager, "shop", build))
    assert not asyncio.run(stager.is_damaged("shop", build.id))
    stager = host.stager()
    (file,) = Path(staged.environment).glob("lib/*/site-packages/iniconfig/__init__.py")
    file.unlink()
    assert stager.finished("shop", build.id) is not None  # a few stats do not tell
    assert asyncio.run(stager.is_damaged("shop", build.id))
    assert stager.finished("shop", build.id) is None
    again = asyncio.run(host.stage(stager, "shop", build))
    assert again.environment == staged.environment
    assert file.exists()
    assert stager.finished("shop", build.id) == again


def test_an_environment_that_is_removed_before_its_bytecode_is_written_ends_no_task(host: Host) -> None:
    async def story() -> None:
        stager = host.stager()
        first = await host.stage(stager, "one", host.build("one", {"wsgi.py": WSGI, "requirements.txt": "six\n"}))
        second = await host.stage(stager, "two", host.build("two", {"wsgi.py": WSGI, "requirements.txt": "bottle\n"}))
        shutil.rmtree(first.environment)
        async with asyncio.TaskGroup() as tasks:
            compiling = tasks.create_task(stager.compile_ahead())
            await soon(lambda: list(Path(second.environment).rglob("bottle.*.pyc")))
            compiling.cancel()

    asyncio.run(story())


LEAVES_A_PROCESS = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in range(3):
            os.dup2(os.open("/dev/null", os.O_RDWR), number)
        open({pid!r}, "w").write(str(os.getpid()))
        time.sleep(1000)
    os._exit(0)
while not (os.path.exists({pid!r}) and os.path.getsize({pid!r})):
    time.sleep(0.01)
raise SystemExit("it does not build")
"""


def test_what_a_failing_build_leaves_behind_ends_with_it_and_blocks_no_other_app(host: Host) -> None:
    pid = host.root / "pid"
    files = {"wsgi.py": WSGI, "requirements.txt": "./bad\n", "bad/setup.py": LEAVES_A_PROCESS.format(pid=str(pid))}
    for _ in range(2):
        with pytest.raises(StagingError, match="it does not build"):
            host.staged("bad", files)
        assert not alive(int(pid.read_text()))
        pid.unlink()
    assert version_of(host.staged("good", {"wsgi.py": WSGI, "requirements.txt": "six\n"}), "six")


def test_whoever_waits_for_an_installer_of_another_process_holds_no_slot(host: Host) -> None:
    async def story() -> None:
        stager = Stager(
            builds=host.builds,
            environments=host.environments,
            cache=host.root.parent / "cache",
            interpreters=(),
            timeout_s=60,
            slots=Slots(1, 60),
            uv=os.fsdecode(uv.find_uv_bin()),
            environ=lambda: os.environ,
        )
        made = await host.stage(stager, "one", host.build("one", {"wsgi.py": WSGI, "requirements.txt": "six\n"}))
        lock = try_lock(Path(f"{made.environment}.lock"))
        assert lock is not None
        shutil.rmtree(made.environment)
        edited = host.build("one", {"wsgi.py": f"{WSGI}#"})
        waits = asyncio.create_task(host.stage(stager, "one", edited))
        await soon(lambda: any("waiting for an installer" in str(phase) for phase in host.progress))
        other = host.build("two", {"wsgi.py": WSGI, "requirements.txt": "bottle\n"})
        assert version_of(await host.stage(stager, "two", other), "bottle")
        assert not waits.done()
        os.close(lock)
        assert (await waits).environment == made.environment

    asyncio.run(story())


def test_an_app_whose_source_is_copied_says_that_it_waits_for_others_to_be_installed(host: Host) -> None:
    async def story() -> None:
        slots, taken, others = Slots(1, 60), AsyncExitStack(), []
        build = host.build("shop", {"wsgi.py": WSGI})

        def progress(phase: Phase) -> None:
            host.progress.append(phase)
            if phase.activity == "copying the source":
                others.append(asyncio.get_running_loop().create_task(taken.enter_async_context(slots.slot())))

        staging = asyncio.create_task(
            host.stager(slots).stage("shop", build, host.log("shop"), progress, kept=host.root / "kept")
        )
        await soon(lambda: host.progress[-1:] == [Phase(activity="waiting until other apps are staged")])
        assert others[0].done()
        await taken.aclose()
        await staging

    asyncio.run(story())


def test_an_app_whose_installation_hangs_keeps_no_other_from_being_staged(host: Host) -> None:
    hanging = {"wsgi.py": WSGI, "requirements.txt": "./lib\n", "lib/setup.py": "import time\ntime.sleep(600)\n"}

    async def story() -> None:
        stager = host.stager(Slots(1, 0.5))
        stuck = asyncio.create_task(host.stage(stager, "stuck", host.build("stuck", hanging)))
        await soon(lambda: any(phase.activity.startswith("installing") for phase in host.progress))
        await host.stage(stager, "shop", host.build("shop", {"wsgi.py": WSGI}))
        assert not stuck.done()
        stuck.cancel()
        await asyncio.wait((stuck,))

    asyncio.run(story())


def test_an_edit_of_code_alone_waits_for_no_installation_of_another_app(host: Host) -> None:
    hanging = {"wsgi.py": WSGI, "requirements.txt": "./lib\n", "lib/setup.py": "import time\ntime.sleep(600)\n"}

    async def story() -> None:
        stager = host.stager(Slots(1, 600))
        await host.stage(stager, "shop", host.build("shop", {"wsgi.py": WSGI}))
        host.progress.clear()
        stuck = asyncio.create_task(host.stage(stager, "stuck", host.build("stuck", hanging)))
        await soon(lambda: any(phase.activity.startswith("installing") for phase in host.progress))
        async with asyncio.timeout(60):
            await host.stage(stager, "shop", host.build("shop", {"wsgi.py": f"# changed\n{WSGI}"}))
        assert not stuck.done()
        stuck.cancel()
        await asyncio.wait((stuck,))

    asyncio.run(story())


def test_an_environment_goes_once_nothing_needs_it_and_its_time_is_over(host: Host) -> None:
    stager = host.stager()
    old = asyncio.run(host.stage(stager, "shop", host.build("shop", {"wsgi.py": WSGI, "requirements.txt": "bottle\n"})))
    new = asyncio.run(host.stage(stager, "shop", host.build("shop", {"requirements.txt": "iniconfig\n"})))
    assert stager.collect(("shop",), 0) == ()
    remove(stager.discard("shop", Path(old.directory).name))
    assert stager.collect(("shop",), 3600) == ()
    assert stager.collect(("shop",), 0) == (Path(old.environment).name,)
    assert not Path(old.environment).exists()
    assert stager.finished("shop", Path(new.directory).name) == new
    assert host.nothing_half_done()


GREEDY = """
from setuptools import setup
held = bytearray(1 << 30)
setup(name="greedy", version="1.0", py_modules=["greedy"])
"""


def test_what_builds_a_package_cannot_take_all_memory(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"wsgi.py": WSGI, "requirements.txt": "./greedy\n", "greedy/setup.py": GREEDY, "greedy/greedy.py": ""}
    monkeypatch.setenv(MEMORY, str(400 * 2**20))
    with pytest.raises(StagingError) as refused:
        host.staged("greedy", files, runtime="3.12")
    assert "MemoryError" in host.log("greedy").read_text()
    assert "./greedy" in str(refused.value) or "greedy" in str(refused.value)
    monkeypatch.delenv(MEMORY)
    assert version_of(host.staged("greedy", files, runtime="3.12"), "greedy") == "1.0"


@dataclass
class Flaky:
    """An index of packages that cuts the last of them in the middle for as long as it is `broken`.

    It does so once every other one is in `cache`.
    """

    names: tuple[str, ...]
    cache: Path
    broken: bool = True
    fetched: list[str] = field(default_factory=list)
    port: int = 0

    def are_others_kept(self) -> bool:
        kept = {path.name.partition("-")[0] for path in self.cache.glob("uv/archive-v0/*/*.dist-info")}
        return kept >= set(self.names[:-1])

    def page(self, name: str) -> bytes:
        return f'<a href="/files/{name}-1.0-py3-none-any.whl">{name}-1.0-py3-none-any.whl</a>'.encode()


@pytest.fixture
def flaky(shared: Path) -> Iterator[Flaky]:
    index = Flaky(names=tuple(f"part{number}" for number in range(6)), cache=shared / "cache")

    class Answer(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            name = self.path.removeprefix("/simple/").removeprefix("/files/").partition("-")[0].strip("/")
            is_file = self.path.startswith("/files/")
            if name not in index.names:
                self.send_error(404)
                return
            body = a_wheel(name) if is_file else index.page(name)
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream" if is_file else "text/html")
            self.send_header("Content-Length", str(len(body)))
            if is_file:
                self.send_header("Cache-Control", "max-age=3600, immutable")  # as public indexes say
            self.end_headers()
            if self.command == "HEAD":
                return
            if is_file:
                index.fetched.append(name)
            is_last = is_file and name == index.names[-1]
            if not (is_last and index.broken and index.fetched.count(name) > 1):
                self.wfile.write(body)
                return
            eventually(index.are_others_kept, 30)
            self.wfile.write(body[: len(body) // 2])

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    index.port = server.server_port
    yield index
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_was_fetched_before_the_network_failed_is_not_fetched_again(
    host: Host, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_INDEX", f"parts=http://127.0.0.1:{flaky.port}/simple/")
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    files = {"wsgi.py": WSGI, "requirements.txt": "\n".join(flaky.names)}
    with pytest.raises(StagingError, match=flaky.names[-1]):
        host.staged("parts", files, runtime="3.12")
    flaky.broken = False
    flaky.fetched.clear()
    assert version_of(host.staged("parts", files, runtime="3.12"), flaky.names[-1]) == "1.0"
    assert set(flaky.fetched) == {flaky.names[-1]}
