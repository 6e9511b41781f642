"""Both ways of launching, on real processes: an instance cannot tell which it was, and starts once or not at all."""

import asyncio
import ctypes
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from reconciler.isolation.cells import layout_of
from reconciler.isolation.launching import Report
from reconciler.linux.control_groups import Group
from reconciler.linux.process_identity import start_ticks
from reconciler.linux.processes import Command, Orphans, Process, adopt_orphans, spawn
from reconciler.planning.apps.revision import Server
from reconciler.serving.fork_or_exec import Launched, launch
from reconciler.serving.forkserver import client as template_module
from reconciler.serving.forkserver.client import ForkServer
from reconciler.serving.forkserver.eligibility import NotForkable, kind
from reconciler.serving.forkserver.pool import ForkServerPool
from reconciler.serving.marks import APP_MARK, INSTANCE_MARK, STATE_MARK, marked
from reconciler.serving.programs.gunicorn import Code, forkable
from reconciler.state.paths import StatePaths
from tests.contract.machine import a_life, on_the_loop
from tests.support.eventually import soon
from tests.support.site import Site

_ID = "0123456789ab"
_LAUNCHER = str(Path(template_module.__file__).parents[1] / "launcher.py")

# Everything an instance can see of itself. What differs between any two processes is left out.
LOOK = """
import gc, json, os, resource, site, sys, threading

def application(environ, start_response):
    status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
    seen = {
        "environ": open("/proc/self/environ", encoding="latin-1").read().split("\\0"),
        "cmdline": [open("/proc/%d/cmdline" % pid).read().split("\\0") for pid in (os.getpid(), os.getppid())],
        "comm": open("/proc/self/comm").read(), "exe": os.readlink("/proc/self/exe"), "cwd": os.getcwd(),
        "root": os.readlink("/proc/self/root"), "limits": open("/proc/self/limits").read(),
        "cgroup": open("/proc/self/cgroup").read(), "oom": open("/proc/self/oom_score_adj").read(),
        "fds": sorted((int(fd), _what(fd)) for fd in os.listdir("/proc/self/fd") if _what(fd)),
        "status": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "Umask", "Threads", "NoNewPrivs")],
        "rights": [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "leads": os.getppid() == os.getsid(0) == os.getpgrp(), "nice": os.nice(0),
        "os.environ": dict(os.environ), "posix": {str(k): str(v) for k, v in __import__("posix").environ.items()},
        "argv": sys.argv, "orig_argv": getattr(sys, "orig_argv", None), "path": sys.path, "flags": str(sys.flags),
        "executable": [sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix],
        "site": [site.USER_SITE, site.ENABLE_USER_SITE],
        "modules": sorted(sys.modules), "main": sorted(vars(sys.modules["__main__"])),
        "file": getattr(sys.modules["__main__"], "__file__", None), "threads": threading.active_count(),
        "main_thread": threading.current_thread() is threading.main_thread(),
        "gc": [gc.isenabled(), gc.get_threshold()],
        "streams": [str(s) + str(s.write_through) for s in (sys.stdout, sys.stderr)],
        "recursion": sys.getrecursionlimit(), "prefixes": site.PREFIXES,
        "files": {n: [str(getattr(m, a, None)) for a in ("__file__", "__cached__", "__path__")] for n, m in _modules()},
        "origins": {n: str(getattr(getattr(m, "__spec__", None), "origin", None)) for n, m in _modules()},
        "code": sorted({f for n, m in _modules() if n.startswith("gunicorn") for f in _files(vars(m).values())}),
        "gunicorn": _settings(environ),
    }
    body = json.dumps(seen).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]

def _modules():
    return sorted((n, m) for n, m in sys.modules.items() if "ctypes" not in n)

def _files(values):
    for value in list(values):
        if isinstance(value, type):
            yield from _files(vars(value).values())
        value = getattr(value, "__code__", getattr(getattr(value, "__func__", None), "__code__", None))
        if value is not None:
            yield value.co_filename

def _what(fd):
    try:
        return os.readlink("/proc/self/fd/" + fd).split(":")[0].split("wgunicorn")[0]
    except OSError:
        return None

def _settings(environ):
    import gunicorn.config
    return {name: str(s.value).split(" at 0x")[0] for name, s in gunicorn.config.make_settings().items()}
"""
EXTRA_MODULES = {"_ctypes", "ctypes", "ctypes._endian"}


@dataclass(slots=True, kw_only=True)
class Ground:
    """A place to launch in: an app, a configuration, templates; what is started here is ended here."""

    root: Path
    python: str = sys.executable
    templates: ForkServerPool = field(init=False)
    state: str = field(init=False)
    processes: list[Process] = field(default_factory=list)
    report: Report | None = None

    def __post_init__(self) -> None:
        self.state = f"test-{os.getpid()}-{self.root.name}"
        (self.root / "app").mkdir()
        (self.root / "app/wsgi.py").write_text(LOOK)
        log = str(self.root / "app.log")
        (self.root / "config.py").write_text(
            "import faulthandler  # as the gate does that every config loads\n"
            f"capture_output = True\nerrorlog = {log!r}\ncontrol_socket_disable = True\nworker_tmp_dir = '/dev/shm'\n"
        )
        self.templates = ForkServerPool(StatePaths(state=self.root), idle_s=900, answer_s=20)

    def launcher(self, text: str) -> str:
        """A program to run instead of gunicorn."""
        file = self.root / "launcher.py"
        file.write_text(text)
        return str(file)

    def command(self, listener: int = 0, launcher: str = _LAUNCHER, **env: str) -> Command:
        code = str(self.root / "app")
        config = str(self.root / "config.py")
        base = {"LANG": os.environ.get("LANG", "C.UTF-8"), "PYTHONUNBUFFERED": "1", "HOME": str(self.root)}
        marks = {STATE_MARK: self.state, INSTANCE_MARK: _ID, APP_MARK: "blog"}
        argv = (self.python, launcher, code, "-c", config, "wsgi:application")
        return Command(argv=argv, env={**base, **env, **marks}, listener=listener, output=self.root / "out.log")

    def code(self) -> Code:
        *_, packages = sorted(Path(self.python).parent.parent.glob("lib/python3.*"))
        version, app = packages.name.replace("python", "python "), str(self.root / "app")
        return Code(directory=app, python=self.python, target="wsgi:application", worker_class="sync", runtime=version)

    async def launch(self, command: Command | None = None, server: Server | None = None) -> Launched:
        launched = await launch(
            command or self.command(), forkable(server or Server(), self.code()), self.templates, lambda: None
        )
        self.processes.append(launched.process)
        return launched

    async def forked(self, command: Command | None = None) -> Process:
        """One that did come from a template."""
        await self.warm(command)
        launched = await self.launch(command)
        assert launched.way == "from a fork server", self.said()
        return launched.process

    async def warm(self, command: Command | None = None) -> ForkServer:
        """The template, ready for orders."""
        wanted = kind(command or self.command(), forkable(Server(), self.code()))
        if wanted not in self.templates._servers:
            with suppress(NotForkable):
                await self.templates.fork(wanted, command or self.command(), lambda: None)
        await self.templates._servers[wanted]._greeted.wait()
        return self.templates._servers[wanted]

    def said(self) -> str:
        return "\n".join(log.read_text() for log in self.root.glob("*.log"))

    def close(self) -> None:
        for process in self.processes:
            if process.end is None:
                process.kill_group()
                process.forget()
        self.templates.close()
        for left in marked(self.state):
            with suppress(ProcessLookupError):
                os.kill(left.pid, signal.SIGKILL)


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    """This process takes in orphans meanwhile, as a daemon does."""
    adopt_orphans()
    made = Ground(root=tmp_path)
    yield made
    made.close()
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


async def _end_of(process: Process) -> None:
    await soon(lambda: process.end is not None)


def _listener() -> socket.socket:
    opened = socket.socket()
    opened.bind(("127.0.0.1", 0))
    opened.listen(16)
    return opened


async def _asked(listener: socket.socket) -> dict[str, Any]:
    def ask() -> dict[str, Any]:
        with closing(http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=60)) as connection:
            connection.request("GET", "/")
            seen: dict[str, Any] = json.loads(connection.getresponse().read())
            return seen

    return await asyncio.to_thread(ask)


_OUTSIDE = {
    "GREETING": "grüß\udcffdich",
    "TZ": "Asia/Tokyo",
    "FORWARDED_ALLOW_IPS": "10.0.0.1",
    "WEB_CONCURRENCY": "1",
    "EMPTY": "",
}


@on_the_loop
async def test_an_instance_cannot_tell_how_it_was_started(ground: Ground) -> None:
    with _listener() as one, _listener() as two:
        ground.processes.append(spawn(ground.command(one.fileno(), **_OUTSIDE), lambda: None))
        executed = await _asked(one)
        process = await ground.forked(ground.command(two.fileno(), **_OUTSIDE))
        forked = await _asked(two)
    assert os.getpgid(process.pid) == os.getsid(process.pid) == process.pid
    modules = set(forked.pop("modules")), set(executed.pop("modules"))
    assert forked == executed
    assert modules[0] - EXTRA_MODULES == modules[1]
    assert forked["gunicorn"]["forwarded_allow_ips"] == "['10.0.0.1']"


@on_the_loop
async def test_the_gate_is_loaded_once_for_all_instances_of_a_template(ground: Ground) -> None:
    gate = ground.root / "gate.py"
    gate.write_text("WHICH = 'the first'\n")
    text = (
        "import sys\nfor path, gate in _preloaded.items():\n    print(path, gate.WHICH, gate in sys.modules.values())\n"
    )
    command = ground.command(launcher=ground.launcher(text))
    await ground.warm(command)
    gate.write_text("raise AssertionError")
    await _end_of(await ground.forked(command))
    assert f"{gate} the first False" in ground.said()


@on_the_loop
async def test_what_every_start_imports_is_loaded_once_for_all_instances_of_a_template(ground: Ground) -> None:
    text = (
        "import sys\nbefore = set(sys.modules)\nimport random, resource\nrandom.seed('one')\n"
        "print('loads', sorted(set(sys.modules) - before))\n"
    )
    await _end_of(await ground.forked(ground.command(launcher=ground.launcher(text))))
    assert "loads []" in ground.said()


@on_the_loop
async def test_each_instance_draws_its_own_random_numbers(ground: Ground) -> None:
    text = "import random, sys\nprint(random.random(), flush=True)\n"
    for _ in range(3):
        process = await ground.forked(ground.command(launcher=ground.launcher(text)))
        await _end_of(process)
    drawn = (ground.root / "out.log").read_text().split()
    assert len(set(drawn)) == 3


@on_the_loop
async def test_a_forked_instance_is_recognised_by_its_marks_and_its_template_is_not(ground: Ground) -> None:
    process = await ground.forked(ground.command(launcher=ground.launcher("import signal\nsignal.pause()\n")))
    assert [(each.pid, each.instance, each.leads) for each in marked(ground.state)] == [
        (process.pid, "0123456789ab", True)
    ]


@pytest.fixture
def group() -> Iterator[Group]:
    place = layout_of().ending
    if place is None or place.version != 2:
        pytest.skip("no control groups of version 2 that may be written to")
    made = Group(Path(place.path) / f"test-launch-{os.getpid()}", 2)
    made.make()
    yield made
    assert made.end()


_SAY_WHERE = "import time\nprint(open('/proc/self/cgroup').read(), flush=True)\ntime.sleep(600)\n"


@on_the_loop
async def test_a_forked_instance_begins_in_its_control_group_and_its_template_does_not(
    ground: Ground, group: Group
) -> None:
    command = replace(ground.command(launcher=ground.launcher(_SAY_WHERE)), group=group.path)
    await ground.warm(command)
    launched = await ground.launch(command)
    assert launched.inside
    assert group.pids() == {launched.process.pid}
    await soon(lambda: f"/{group.path.name}\n" in (ground.root / "out.log").read_text())


@on_the_loop
async def test_an_instance_is_forked_all_the_same_where_its_control_group_takes_none(
    ground: Ground, group: Group
) -> None:
    command = ground.command(launcher=ground.launcher(_SAY_WHERE))
    await ground.warm(command)
    for refusing in (group.path / "missing", ground.root):
        launched = await ground.launch(replace(command, group=refusing))
        assert (launched.way, launched.inside) == ("from a fork server", False)
        assert launched.process.end is None


@on_the_loop
async def test_how_a_forked_instance_ends_is_known(ground: Ground) -> None:
    ended = await ground.forked(ground.command(launcher=ground.launcher("raise SystemExit(7)\n")))
    await soon(lambda: ended.end)
    assert ended.end == "exited with 7"
    killed = await ground.forked(ground.command(launcher=ground.launcher("raise SystemExit(7)\n")))
    killed.kill_group()
    await soon(lambda: killed.end)
    assert killed.end in {"was ended by SIGKILL", "exited with 7"}


@on_the_loop
async def test_the_first_launch_does_not_wait_for_its_template_and_the_next_one_uses_it(ground: Ground) -> None:
    text = ground.launcher("pass\n")
    first = await ground.launch(ground.command(launcher=text))
    assert first.way == "by exec, because its fork server is still starting"
    assert (await ground.launch(ground.command(launcher=text))).way == "from a fork server"
    assert ground.templates.footprint().count == 1
    assert ground.templates.footprint().pss_bytes > 2**20


@on_the_loop
async def test_a_template_that_is_killed_harms_no_instance_and_is_replaced(ground: Ground) -> None:
    command = ground.command(launcher=ground.launcher("import signal\nsignal.pause()\n"))
    process = await ground.forked(command)
    template = await ground.warm(command)
    os.kill(template.process.pid, signal.SIGKILL)
    launched = await ground.launch(command)
    assert launched.way.startswith("by exec, because its fork server")
    await soon(lambda: template.process.end)
    assert process.end is None
    assert start_ticks(process.pid) is not None
    await ground.forked(command)


@on_the_loop
async def test_an_answer_that_comes_too_late_starts_nothing(ground: Ground) -> None:
    command = ground.command(launcher=ground.launcher("import signal\nsignal.pause()\n"))
    template = await ground.warm(command)
    os.kill(template.process.pid, signal.SIGSTOP)
    ground.templates._answer_s = 0.1
    launched = await ground.launch(command)
    assert launched.way == "by exec, because its fork server does not answer"
    await soon(lambda: template.process.end)
    assert [each.pid for each in marked(ground.state)] == [launched.process.pid]


@on_the_loop
async def test_a_launch_that_is_given_up_starts_nothing(ground: Ground) -> None:
    command = ground.command(launcher=ground.launcher("import signal\nsignal.pause()\n"))
    template = await ground.warm(command)
    os.kill(template.process.pid, signal.SIGSTOP)
    launching = asyncio.create_task(ground.launch(command))
    await asyncio.sleep(0)
    launching.cancel()
    with suppress(asyncio.CancelledError):
        await launching
    os.kill(template.process.pid, signal.SIGCONT)
    process = await ground.forked(command)  # answered after the one before it
    await soon(lambda: [each.pid for each in marked(ground.state)] == [process.pid])


@on_the_loop
async def test_a_daemon_that_dies_between_question_and_leave_has_started_nothing(ground: Ground) -> None:
    ran = ground.root / "ran"
    command = ground.command(launcher=ground.launcher(f"open({str(ran)!r}, 'w')\n"))
    template = await ground.warm(command)
    line = template._send_request(command)
    await template_module._readable(line)
    (unborn,) = marked(ground.state)
    line.close()
    await soon(lambda: start_ticks(unborn.pid) is None)
    assert not ran.exists()


@on_the_loop
async def test_templates_end_with_the_daemon(ground: Ground) -> None:
    template = await ground.warm()
    pid = template.process.pid
    ground.templates.close()
    await soon(lambda: start_ticks(pid) is None)


@on_the_loop
async def test_a_template_ends_when_it_was_of_no_use_for_long_and_none_of_its_instances_lives(ground: Ground) -> None:
    ground.templates = ForkServerPool(StatePaths(state=ground.root), idle_s=0, answer_s=20)
    command = ground.command(launcher=ground.launcher("import signal\nsignal.pause()\n"))
    process = await ground.forked(command)
    template = await ground.warm(command)
    ground.templates.end_idle()
    assert ground.templates.footprint().count == 1
    process.kill_group()
    await soon(lambda: process.end)
    ground.templates.end_idle()
    assert ground.templates.footprint().count == 0
    await soon(lambda: template.process.end)
    assert template.process.end == "exited with 0"


def _environment(root: Path, like: str | None = None, of: str = sys.executable) -> str:
    """An environment with a copy of gunicorn, or with that of the environment `like`; its interpreter."""
    subprocess.run([of, "-m", "venv", "--symlinks", "--without-pip", root], check=True)
    (packages,) = root.glob("lib/python*/site-packages")
    spec = find_spec("gunicorn")
    assert spec is not None
    if like is None:
        shutil.copytree(Path(str(spec.origin)).parent, packages / "gunicorn")
    else:
        (other,) = Path(like).parent.parent.glob("lib/python*/site-packages/gunicorn")
        shutil.copytree(other, packages / "gunicorn", copy_function=os.link)
    return str(root / "bin/python")


@on_the_loop
async def test_environments_share_a_template_and_an_instance_cannot_tell(ground: Ground) -> None:
    first = ground.python = _environment(ground.root / "first")
    template = await ground.warm()
    ground.python = _environment(ground.root / "second", like=first)
    (packages,) = (ground.root / "second").glob("lib/python*/site-packages")
    (packages / "more.pth").write_text(f"{ground.root}\n")
    with _listener() as one, _listener() as two:
        ground.processes.append(spawn(ground.command(one.fileno()), lambda: None))
        executed = await _asked(one)
        shutil.rmtree(ground.root / "first")
        await ground.forked(ground.command(two.fileno()))
        forked = await _asked(two)
    assert ground.templates.footprint().count == 1
    assert await ground.warm() is template
    modules = set(forked.pop("modules")), set(executed.pop("modules"))
    assert forked == executed
    assert modules[0] - EXTRA_MODULES == modules[1]
    assert str(ground.root) in forked["path"]
    assert "/first/" not in json.dumps(forked)


@on_the_loop
async def test_an_environment_whose_gunicorn_was_changed_shares_no_template(ground: Ground) -> None:
    first = ground.python = _environment(ground.root / "first")
    command = ground.command(launcher=ground.launcher("pass\n"))
    await ground.warm(command)
    ground.python = _environment(ground.root / "second", like=first)
    (changed,) = (ground.root / "second").glob("lib/python*/site-packages/gunicorn/workers/sync.py")
    text = changed.read_text()
    changed.unlink()
    changed.write_text(text + "\n")
    launched = await ground.launch(replace(command, argv=(ground.python, *command.argv[1:])))
    assert launched.way == "by exec, because its fork server is still starting"
    assert ground.templates.footprint().count == 2


@on_the_loop
async def test_a_gunicorn_that_was_written_over_after_its_template_began_is_executed(ground: Ground) -> None:
    ground.python = _environment(ground.root / "first")
    command = ground.command(launcher=ground.launcher("pass\n"))
    await ground.forked(command)
    (changed,) = (ground.root / "first").glob("lib/python*/site-packages/gunicorn/workers/sync.py")
    changed.write_text(changed.read_text() + "\n")
    launched = await ground.launch(command)
    assert launched.way == "by exec, because its gunicorn/workers/sync.py differs from its fork server's"


@on_the_loop
async def test_an_environment_with_another_gunicorn_gets_a_template_of_its_own(ground: Ground) -> None:
    ground.python = _environment(ground.root / "first")
    before = await ground.warm()
    ground.python = _environment(ground.root / "second")
    (module,) = (ground.root / "second").glob("lib/python*/site-packages/gunicorn/util.py")
    module.write_text(module.read_text() + "\n")
    assert await ground.warm() is not before


@on_the_loop
async def test_a_module_of_the_app_that_python_has_too_is_not_hidden_from_it(ground: Ground) -> None:
    (ground.root / "app/platform.py").write_text("")
    command = ground.command(launcher=ground.launcher("pass\n"))
    await ground.warm(command)
    assert (await ground.launch(command)).way == "by exec, because its own platform.py shadows Python's"


@on_the_loop
async def test_a_language_of_its_own_is_executed(ground: Ground) -> None:
    await ground.warm()
    command = ground.command(launcher=ground.launcher("pass\n"))
    await ground.warm(command)
    other = replace(command, env={**command.env, "LANG": "C"})
    assert (await ground.launch(other)).way == "by exec, because it sets its own LANG"


@on_the_loop
async def test_nothing_is_left_of_workers_whose_master_was_killed(ground: Ground) -> None:
    with _listener() as listener:
        process = await ground.forked(ground.command(listener.fileno()))
        await _asked(listener)
    process.signal(signal.SIGKILL)
    await soon(lambda: process.end)
    assert process.end == "was ended by SIGKILL"
    await soon(lambda: not _ours(process.pid))


@on_the_loop
async def test_an_orphan_nobody_waits_for_is_buried_at_the_second_look(ground: Ground) -> None:
    left = (
        "import os\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        os._exit(0)\n    os._exit(0)\n"
    )
    process = await ground.forked(ground.command(launcher=ground.launcher(left)))
    await soon(lambda: process.end)
    orphans = Orphans()

    def buried() -> bool:
        orphans.reap()
        return all(start_ticks(pid) is not None for pid in _children())

    await soon(buried)


@on_the_loop
async def test_the_journal_is_told_which_way_was_taken(site: Site) -> None:
    adopt_orphans()
    try:
        with a_life(site) as machine:
            for name in ("blog", "shop"):
                await machine.started(machine.app(name))
                await machine.fork_servers()
            told = [text.split(maxsplit=2)[2] for _, text in machine.launched]
            assert told == ["by exec, because its fork server is still starting", "from a fork server"]
    finally:
        ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def _children() -> list[int]:
    found: list[int] = []
    for file in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):  # a thread that is gone by now
            found += map(int, file.read_text().split())
    return found


def _ours(group: int) -> list[int]:
    """Children of this process in a group, dead or alive."""
    found = []
    for pid in _children():
        with suppress(OSError):
            if os.getpgid(pid) == group:
                found.append(pid)
    return found
