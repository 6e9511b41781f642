"""What is asked of every proxy with an app behind it: serve a name over TLS, deploy the app, serve one more name."""

import contextlib
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks import gunicorn, processes, tools
from benchmarks.clients import free_ports
from benchmarks.peers.peer import Room

# The one name that every client resolves, wrk among them.
NAME = "localhost"


class Front(ABC):
    """One contender: a proxy at `https`, and behind it the app of all of them. `ways` says how a thing is asked for."""

    name: ClassVar[str]
    programs: ClassVar[Sequence[str]]
    ways: ClassVar[Mapping[str, str]]

    def __init__(self, room: Room) -> None:
        self.room = room
        self.directory = room.directory
        self.http, self.https = free_ports(2)
        self.code = self.directory / "code"
        self.names: list[str] = [NAME]
        self.mark = f"{room.directory}"
        self._spawned: list[subprocess.Popen[bytes]] = []
        gunicorn.write_app(self.code)

    @classmethod
    def missing(cls) -> str:
        """Why it cannot take part, empty when it can."""
        return next((why for program in cls.programs if (why := tools.tool(program).missing)), "")

    @abstractmethod
    def start(self) -> None:
        """Start the proxy and the app; waits for nothing."""

    @abstractmethod
    def deploy(self, version: int) -> None:
        """Let another version of the code serve, the way its users do."""

    @abstractmethod
    def add(self, name: str) -> None:
        """Have one more name served."""

    def stop(self) -> None:
        """End everything; nginx writes over the environment by which others are found."""
        for each in self._spawned:
            each.terminate()
        for each in self._spawned:
            with contextlib.suppress(subprocess.TimeoutExpired):
                each.wait(10)
        processes.end_marked(self.mark, within_s=0.0)

    def spawn(self, *argv: str, cwd: Path | None = None) -> "subprocess.Popen[bytes]":
        """Start something that is found again by its mark, in a session of its own."""
        with (self.directory / "output.log").open("ab") as log:
            started = subprocess.Popen(
                argv, cwd=cwd or self.directory, env=self.environment(), stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True,
            )  # fmt: skip
        self._spawned.append(started)
        return started

    def tell(self, *argv: str) -> None:
        """Run one of its commands to its end."""
        with (self.directory / "output.log").open("ab") as log:
            subprocess.run(argv, cwd=self.directory, env=self.environment(), stdout=log, stderr=log, check=True)

    def environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(self.directory), processes.MARK: self.mark,
            "XDG_DATA_HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory),
        }  # fmt: skip

    def gunicorn(self, port: int) -> "subprocess.Popen[bytes]":
        """gunicorn by hand, with its defaults, on the app."""
        return self.spawn(*gunicorn.command(self.room.python, port), cwd=self.code)

    def last_words(self) -> str:
        """The last lines of what it has printed."""
        with contextlib.suppress(OSError):
            return " | ".join((self.directory / "output.log").read_text(errors="replace").splitlines()[-3:])
        return "nothing"


class OverGunicorn(Front):
    """A proxy written by hand in front of a gunicorn by hand, which takes a deploy by HUP."""

    def __init__(self, room: Room) -> None:
        super().__init__(room)
        (self.port,) = free_ports(1)
        self.app: subprocess.Popen[bytes] | None = None

    def deploy(self, version: int) -> None:
        gunicorn.write_app(self.code, version)
        assert self.app is not None
        self.app.send_signal(signal.SIGHUP)
