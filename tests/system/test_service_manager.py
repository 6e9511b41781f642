"""The real daemon under a service manager's socket, and as the first process of a container."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.service_manager import ServiceManager
from tests.eventually import eventually
from tests.site import Site, get, is_gone

pytestmark = pytest.mark.system


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
        daemon = site.start(env=env)
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
    assert site.events()[-1] == ("", "daemon", "ended; so did the apps")


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="only root makes a pid namespace")
def test_as_pid_1_the_daemon_ends_at_sigterm_and_takes_the_apps_along_gracefully(site: Site) -> None:
    port = site.app("blog")
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "reconciler", "run"]
    command += ["--manifests", str(site.manifests), "--state", str(site.state)]
    with (
        site.console.open("ab") as console,
        subprocess.Popen(command, stdout=console, stderr=console) as outside,
    ):
        try:
            eventually(lambda: get(port), within=60)
            (inside,) = map(int, Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text().split())
            os.kill(inside, signal.SIGTERM)
            assert outside.wait(30) == 0
        finally:
            outside.kill()
    told = [text for app, kind, text in site.events() if kind == "stopped" or app == ""]
    assert told[-1] == "ended; so did the apps"
    assert "Worker exiting" in site.layout.log("blog", "app").read_text()
