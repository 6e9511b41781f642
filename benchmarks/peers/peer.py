"""What is asked of every contender: to run some apps, take one more, deploy one, and be killed or stopped.

Each does it the way its users do. All run the same app with the same gunicorn; uWSGI alone is a server itself.
"""

import contextlib
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmarks import gunicorn, processes, tools


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """Something to be served: its code on its port."""

    name: str
    port: int
    code: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Where a contender keeps its files, and the interpreter that has the gunicorn of the apps."""

    directory: Path
    python: str


class Peer(ABC):
    """One contender. `ways` says how it is asked to `drop`, `restart` (after a crash) and `deploy`.

    `cannot` holds, by the same words and by those of the cases, what it has no way to do, and why.
    """

    name: ClassVar[str]
    program: ClassVar[str] = ""
    ways: ClassVar[Mapping[str, str]]
    cannot: ClassVar[Mapping[str, str]] = {}
    log_name: ClassVar[str] = "output.log"
    ends_on: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, room: Room) -> None:
        self.room = room
        self.apps: list[App] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.mark = f"{room.directory}"

    @classmethod
    def missing(cls) -> str:
        """Why it is not here, empty when it is."""
        return tools.tool(cls.program).missing if cls.program else ""

    @abstractmethod
    def configure(self, apps: Sequence[App]) -> None:
        """Have it run exactly these once it is started."""

    @abstractmethod
    def start(self) -> None:
        """Start it; waits for nothing."""

    @abstractmethod
    def drop(self, app: App, /) -> None:
        """While it runs: one more app."""

    @abstractmethod
    def deploy(self, app: App, /) -> None:
        """While it runs: the code of an app is new."""

    def trace(self, app: App) -> str:
        """What is in the command line of an app's processes, and in no other's."""
        return f"127.0.0.1:{app.port}"

    def masters(self) -> dict[str, int]:
        """The first process of each app that runs, be it watched or not."""
        lines = {pid: processes.command_line(pid) for pid in processes.marked(self.mark)}
        found: dict[str, int] = {}
        for app in self.apps:
            mine = [pid for pid, line in lines.items() if self.trace(app) in line]
            firsts = [pid for pid in mine if processes.parent(pid) not in mine]
            if firsts:
                found[app.name] = min(firsts)
        return found

    def supervised(self) -> dict[str, int]:
        """Those of the masters that the manager that runs now watches over."""
        below = processes.with_descendants([self.manager_pid()])
        return {name: pid for name, pid in self.masters().items() if pid in below}

    def manager_pid(self) -> int:
        """The one process whose death is the manager's."""
        assert self.process is not None
        return self.process.pid

    def of_manager(self) -> list[int]:
        """Every process that is there for managing: all but the apps'."""
        of_apps = set(self.of_apps())
        return [pid for pid in processes.marked(self.mark) if pid not in of_apps]

    def of_apps(self) -> list[int]:
        """Every process of the apps."""
        return processes.with_descendants(self.masters().values())

    def kill_manager(self) -> None:
        """SIGKILL, as the kernel does when memory runs out."""
        os.kill(self.manager_pid(), signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def stop(self) -> None:
        """End it and every app."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(self.ends_on)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(20)
        processes.end_marked(self.mark, within_s=3.0)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def spawn(self, argv: Sequence[str], cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """Start something that is found again by its mark, in a session of its own."""
        with (self.room.directory / self.log_name).open("ab") as log:
            return subprocess.Popen(
                argv,
                cwd=cwd or self.room.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def last_words(self) -> str:
        """The last line of what it has printed."""
        said = (self.room.directory / self.log_name).read_text(errors="replace").strip().splitlines()
        return said[-1] if said else "nothing"

    def tell(self, *argv: str) -> str:
        """Run one of its commands, and return what it says."""
        done = subprocess.run(
            argv, cwd=self.room.directory, env=self.environment(), capture_output=True, text=True, check=False
        )
        return done.stdout

    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
        return {**kept, "HOME": str(self.room.directory), processes.MARK: self.mark}

    def gunicorn(self, app: App) -> list[str]:
        return gunicorn.command(self.room.python, app.port)


def wait_for_file(path: Path, within_s: float = 10.0) -> None:
    """Until a manager has made what it can be told things through."""
    deadline = time.monotonic() + within_s
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} was not there within {within_s:g} s")
        time.sleep(0.01)
