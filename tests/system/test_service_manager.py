"""The real daemon under a service manager's socket, and as the first process of a container."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.linux.systemd import ServiceManager
from tests.support.eventually import eventually, soon
from tests.support.site import Site, get, is_gone

# Leaves a process to whoever takes it in, the first time it is asked for /env.
LEAVING = """\
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/env":
        child = os.fork()
        if child == 0:
            if os.fork() == 0:
                os.setsid()
                os.execvp("sleep", ["sleep", "34567"])
            os._exit(0)
        os.waitpid(child, 0)
    start_response("200 OK", [])
    return [b"left"]
"""


def heard(ours: socket.socket, said: list[str]) -> list[str]:
    """Everything said so far."""
    ours.setblocking(False)
    try:
        while True:
            said.extend(ours.recv(4096).decode().splitlines())
    except BlockingIOError:
        return said


def listening(address: str) -> socket.socket:
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.bind(address)
    return ours


def test_a_service_manager_hears_of_readiness_life_reload_and_end(site: Site, tmp_path: Path) -> None:
    port = site.app("blog")
    said: list[str] = []
    with listening(str(tmp_path / "notify")) as ours:
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        daemon = site.execute(env=env)
        eventually(lambda: "READY=1" in heard(ours, said))
        eventually(lambda: heard(ours, said).count("WATCHDOG=1") >= 3)
        eventually(lambda: get(port), within=30)
        eventually(lambda: "STATUS=1 app: 1 running" in heard(ours, said), within=20)
        environ = Path(f"/proc/{site.pid('blog')}/environ").read_bytes()
        assert b"NOTIFY_SOCKET" not in environ
        assert b"WATCHDOG" not in environ

        said.clear()
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: "READY=1" in heard(ours, said))
        reload = [word.partition("=")[0] for word in said if not word.startswith(("WATCHDOG", "STATUS"))]
        assert reload == ["RELOADING", "MONOTONIC_USEC", "READY"]

        site.end(daemon)
        assert "STOPPING=1" in heard(ours, said)
        assert get(port)


def test_an_abstract_socket_is_told_and_a_missing_one_stops_nothing(tmp_path: Path) -> None:
    name = f"reconciler-test-{os.getpid()}-{tmp_path.name}"
    with listening("\0" + name) as ours:
        environ = {"NOTIFY_SOCKET": "@" + name, "WATCHDOG_PID": "1", "HOME": "/"}
        manager = ServiceManager(environ)
        assert environ == {"HOME": "/"}
        manager.status("two\nlines")
        manager.status("two lines")
        assert heard(ours, []) == ["STATUS=two lines"]
    manager.ready()


def test_told_so_the_daemon_stops_the_apps_before_it_ends(site: Site) -> None:
    site.app("blog")
    daemon = site.start("--stop-apps")
    site.await_settled("blog")
    pid = site.pid("blog")
    site.end(daemon)
    assert is_gone(pid)
    assert not site.instances()
    assert site.events()[-1] == ("", "daemon", "ended, after its apps")


def test_ready_means_that_what_runs_was_taken_back(site: Site, tmp_path: Path) -> None:
    site.app("blog")
    daemon = site.start()
    site.await_settled("blog")
    pid = site.pid("blog")
    site.end(daemon, signal.SIGKILL)
    said: list[str] = []
    with listening(str(tmp_path / "notify")) as ours:
        site.execute(env={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        eventually(lambda: "READY=1" in heard(ours, said))
        assert ("blog", "adopted", f"gunicorn {pid} keeps serving") in site.events()
    assert not any(word.startswith("WATCHDOG") for word in said), "nobody asked for it"


def test_a_loop_that_hangs_tells_the_watchdog_nothing_whatever_else_runs(tmp_path: Path) -> None:
    async def story(ours: socket.socket) -> None:
        said: list[str] = []
        address = str(tmp_path / "notify")
        alive = asyncio.create_task(ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "20000"}).stay_alive())
        await soon(lambda: heard(ours, said))
        said.clear()
        time.sleep(0.2)  # the loop hangs: ten times as long as it may be silent
        assert heard(ours, said) == []
        await soon(lambda: heard(ours, said))
        alive.cancel()

    with listening(str(tmp_path / "notify")) as ours:
        asyncio.run(story(ours))


def test_a_daemon_that_stands_still_is_silent_and_speaks_again_when_it_goes_on(site: Site, tmp_path: Path) -> None:
    said: list[str] = []
    with listening(str(tmp_path / "notify")) as ours:
        daemon = site.execute(env={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"})
        eventually(lambda: {"READY=1", "WATCHDOG=1"} <= set(heard(ours, said)))
        daemon.send_signal(signal.SIGSTOP)
        eventually(lambda: stands_still(daemon.pid))
        heard(ours, said).clear()
        time.sleep(0.5)  # five times as long as it may be silent
        assert heard(ours, said) == []
        daemon.send_signal(signal.SIGCONT)
        eventually(lambda: "WATCHDOG=1" in heard(ours, said))


def stands_still(pid: int) -> bool:
    """Whether every thread of a process is stopped."""
    stats = [file.read_text() for file in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(text.rpartition(")")[2].split()[0] == "T" for text in stats)


def children(pid: int) -> list[int]:
    """The children of a process."""
    return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


def is_named(pid: int, words: str) -> bool:
    """Whether this is the command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == words.replace(" ", "\0").encode()


@contextlib.contextmanager
def as_pid_1(site: Site) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """The daemon in a pid namespace of its own: what ends when that does, and the daemon's pid out here."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no pid namespace can be made here: that takes root, and a container that allows it")
    with (
        site.console.open("ab") as console,
        subprocess.Popen([*unshare, *site.command("run")], stdout=console, stderr=console) as outside,
    ):
        try:
            (inside,) = eventually(lambda: children(outside.pid))
            yield outside, inside
        finally:
            outside.kill()
            outside.wait()
            eventually(lambda: not site.marked())


def test_as_pid_1_the_daemon_ends_at_sigterm_and_takes_the_apps_along_gracefully(site: Site) -> None:
    port = site.app("blog")
    with as_pid_1(site) as (outside, inside):
        eventually(lambda: get(port), within=60)
        os.kill(inside, signal.SIGTERM)
        assert outside.wait(60) == 0
    told = [text for app, kind, text in site.events() if kind == "stopped" or app == ""]
    assert told[-1] == "ended, after its apps"
    assert "Worker exiting" in site.paths.log("blog", "app").read_text()


def test_as_pid_1_the_daemon_takes_in_orphans_and_leaves_no_zombie(site: Site) -> None:
    port = site.app("blog")
    site.save(site.root / "apps/blog/wsgi.py", LEAVING)
    with as_pid_1(site) as (_, inside):
        eventually(lambda: get(port, "/env"), within=60)
        (orphan,) = eventually(lambda: [pid for pid in children(inside) if is_named(pid, "sleep 34567")])
        os.kill(orphan, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{orphan}").exists(), within=60)
        assert get(port) == "left"
