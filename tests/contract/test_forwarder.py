"""A forwarder on its own, at the edges: told to stop more than once, few descriptors, a program that hears nobody."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib import resources
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.programs import python

_SCRIPT = str(resources.files("reconciler.serving.forwarder") / "main.py")
_INSTANCE = "0123456789ab"
_STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
)
_DEAF = """
import os, socket, time
listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
listener.accept()
listener.close()
open("deaf", "w").close()
time.sleep(60)
"""


# Answers before it has a body, which it reads for as long as there is any.
_EARLY = """
import os, socket
listener = socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
while True:
    client, _ = listener.accept()
    said = b""
    while b"\\r\\n\\r\\n" not in said and (more := client.recv(4096)):
        said += more
    if said:
        client.sendall(b"HTTP/1.1 413 Too Large\\r\\nContent-Length: 0\\r\\n\\r\\n")
        while client.recv(4096):
            pass
"""


class Running:
    """A forwarder and its program, with a listener of the test's."""

    def __init__(
        self, root: Path, command: list[str], listen: str = "port", source: str = "", stop_timeout_s: float = 10.0
    ) -> None:
        self.code, self.ready, self.log = root / "code", root / "ready" / _INSTANCE, root / "log"
        for directory in (self.code, self.ready, root / "scratch"):
            directory.mkdir(parents=True)
        (self.code / "server.py").write_text(source)
        settings = {
            "app": "blog", "command": command, "listen": listen, "directory": str(self.code),
            "readiness": str(root / "ready"), "scratch": str(root / "scratch"), "wakeup_file": str(root / "none"),
            "log": str(self.log), "health_path": None, "health_host": "localhost", "health_timeout_s": 2.0,
            "start_timeout_s": 30.0, "stop_timeout_s": stop_timeout_s,
        }  # fmt: skip
        (root / "settings").write_text(json.dumps(settings))
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.settings = str(root / "settings")
        self.pid = 0

    def start(self, soft_limit: int = 0) -> None:
        """Start it as the daemon does, with the listener as descriptor 3."""
        limit = f"ulimit -Sn {soft_limit}; " if soft_limit else ""
        line = f'{limit}exec "$@" 3<&{self.listener.fileno()}'
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", line, "-", sys.executable, "-I", "-S", _SCRIPT, self.settings],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(self.listener.fileno(),),
                env={**os.environ, "RECONCILER_INSTANCE": _INSTANCE}, start_new_session=True,
            )  # fmt: skip
        self.pid = self.process.pid

    def accepts(self) -> bool:
        return any(each.name.isdecimal() and int(each.name) != self.pid for each in self.ready.iterdir())

    def client(self) -> socket.socket:
        return socket.create_connection(self.listener.getsockname(), 10)

    def end(self) -> None:
        self.listener.close()
        if self.pid:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    with ExitStack() as ends:

        def make(*given: object, **more: object) -> Running:
            made = Running(tmp_path, *given, **more)  # type: ignore[arg-type]
            ends.callback(made.end)
            return made

        yield make


def test_one_that_is_told_twice_to_stop_before_it_is_ready_waits_for_its_program(
    running: Callable[..., Running],
) -> None:
    forwarder = running(["python3", "-c", _STUBBORN])
    forwarder.start()
    eventually(lambda: "up" in forwarder.log.read_text())
    for _ in range(3):
        forwarder.process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):
            forwarder.process.wait(0.1)
    (child,) = Path(f"/proc/{forwarder.pid}/task/{forwarder.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGKILL)
    assert forwarder.process.wait(60) == 0
    assert forwarder.log.read_text() == "up\n"


def test_few_descriptors_for_a_program_do_not_limit_its_clients(running: Callable[..., Running]) -> None:
    kind = python("descriptor")
    forwarder = running(["python3", "server.py"], "descriptor", kind.files["server.py"])
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 300:
        pytest.skip("this host allows fewer descriptors")
    forwarder.start(soft_limit=100)
    eventually(forwarder.accepts)
    with ExitStack() as idle:
        for _ in range(70):
            idle.enter_context(forwarder.client())
        with forwarder.client() as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")


def test_clients_of_a_program_that_has_closed_its_listener_wait_for_the_next(running: Callable[..., Running]) -> None:
    forwarder = running(["python3", "server.py"], source=_DEAF)
    forwarder.start()
    eventually(forwarder.accepts)
    eventually((forwarder.code / "deaf").exists)
    with forwarder.client() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        client.settimeout(0.5)
        with pytest.raises(TimeoutError):
            client.recv(1)
        os.killpg(forwarder.pid, signal.SIGKILL)
        accepted, _ = forwarder.listener.accept()
        accepted.close()


def test_a_body_in_chunks_that_comes_after_its_answer_holds_up_no_stop(running: Callable[..., Running]) -> None:
    forwarder = running(["python3", "server.py"], source=_EARLY, stop_timeout_s=600.0)
    forwarder.start()
    eventually(forwarder.accepts)
    with forwarder.client() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe")
        assert client.recv(4096).startswith(b"HTTP/1.1 413")
        client.sendall(b"llo\r\n10\r\nGET / HTTP/1.1\r\n\r\n")
        os.kill(forwarder.pid, signal.SIGTERM)
        forwarder.process.wait(60)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (
            ["sh", "-c", "echo 'Error: listen EINVAL: invalid argument' >&2; exit 1"],
            (
                "sh exited with 1 before it was ready: Error: listen EINVAL: invalid argument; if it takes its"
                " listening socket as descriptor 3, write `listen: descriptor` in the manifest"
            ),
        ),
        (["./absent"], "cannot start ./absent: No such file or directory"),
        (["./server.py"], "cannot start ./server.py: Permission denied"),
        (["sh", "-c", "absent-program"], "sh exited with 127 before it was ready: sh: 1: absent-program: not found"),
        (["true"], "true exited with 0 before it was ready: it has to stay in the foreground"),
        (
            ["echo", "detached"],
            "echo exited with 0 before it was ready: it has to stay in the foreground (it said: detached)",
        ),
    ],
    ids=[
        "takes a descriptor",
        "absent",
        "not executable",
        "absent for a shell",
        "in the background",
        "in the background with a word",
    ],
)
def test_why_a_program_did_not_start_is_told_once(
    running: Callable[..., Running], command: list[str], said: str
) -> None:
    forwarder = running(command)
    forwarder.start()
    assert forwarder.process.wait(60) == 3
    found = (forwarder.ready / "refused").read_text()
    assert found == said or (command[0] == "sh" and found.startswith("sh exited with 127"))


def test_a_program_at_another_port_than_its_own_is_told_which(running: Callable[..., Running]) -> None:
    listens = "at = socket.create_server(('127.0.0.1', 0)); print(at.getsockname()[1], flush=True)"
    forwarder = running(["python3", "-c", f"import socket, time; {listens}; time.sleep(600)"])
    forwarder.start()
    eventually(lambda: re.fullmatch(r"(\d+)\n(?:.*\n)*.*, yet, but at port \1\n(?:.*\n)*", forwarder.log.read_text()))
