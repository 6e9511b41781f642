"""Where a case runs: who takes part, rooms for them that are cleared again, and the interpreter of the apps."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.bench import Bench
from benchmarks.clients import free_ports, seconds_to_all
from benchmarks.gunicorn import write_app
from benchmarks.peers.known import ALL
from benchmarks.peers.peer import App, Peer, Room

T = TypeVar("T")


@dataclass
class Setting:
    """One run of the benchmarks. `quick` is for trying; `wanted` names the contenders, all when it is empty."""

    directory: Path
    quick: bool = False
    wanted: frozenset[str] = frozenset()
    _python: str = field(default="", init=False)
    _rooms: int = field(default=0, init=False)

    @property
    def python(self) -> str:
        """An interpreter with the gunicorn that our daemon installs; everybody's apps run on it."""
        if not self._python:
            directory = self.directory / "python"
            directory.mkdir()
            here = Bench(directory)
            here.drop("app", f"path: {here.app}\n")
            here.start()
            try:
                here.until("running", ["app"])
            finally:
                here.end()
            self._python = here.environment_python()
        return self._python

    @contextlib.contextmanager
    def contenders(
        self, *, needs: Sequence[str], absent: Callable[[str, str], None], of: Sequence[type[Peer]] = ALL
    ) -> Iterator[list[Peer]]:
        """A fresh one of each that can do what the case `needs`; who takes no part is told to `absent`, with why."""
        peers: list[Peer] = []
        for kind in of:
            if self.wanted and kind.name not in self.wanted:
                continue
            why = kind.missing() or next((kind.cannot[need] for need in needs if need in kind.cannot), "")
            if why:
                absent(kind.name, why)
            else:
                peers.append(kind(self.room()))
        with contextlib.ExitStack() as stack:
            for peer in peers:
                stack.callback(peer.stop)
            yield peers

    def bring_up(self, peer: Peer, apps: Sequence[App], absent: Callable[[str, str], None]) -> float | None:
        """Seconds from the manager's start until all apps have answered; None, told to `absent`, when they never do."""
        peer.configure(apps)
        began = time.perf_counter()
        try:
            peer.start()
            return seconds_to_all([app.port for app in apps], began, within_s=60 + len(apps))
        except TimeoutError as error:
            absent(peer.name, f"with {len(apps)} apps, {error}; it says: {peer.last_words()}")
            peer.stop()
            return None

    def room(self) -> Room:
        self._rooms += 1
        directory = self.directory / f"r{self._rooms}"  # short: there are sockets in it
        directory.mkdir()
        return Room(directory=directory, python=self.python)

    def apps(self, prefix: str, count: int) -> list[App]:
        """Apps on ports of their own, all with one and the same code."""
        code = self.directory / "code"
        if not code.exists():
            write_app(code)
        return [App(name=f"{prefix}-{n:03}", port=port, code=code) for n, port in enumerate(free_ports(count))]


@contextlib.contextmanager
def setting(*, quick: bool, wanted: frozenset[str] = frozenset()) -> Iterator[Setting]:
    """A setting whose files are removed at the end; the contenders end their processes themselves."""
    with tempfile.TemporaryDirectory(prefix="rb-", ignore_cleanup_errors=True) as directory:
        yield Setting(Path(directory), quick=quick, wanted=wanted)


def in_turn(contenders: Sequence[T], turn: int) -> Sequence[T]:
    """All of them, beginning with another one each turn: what else the machine does meets all alike."""
    start = turn % len(contenders) if contenders else 0
    return [*contenders[start:], *contenders[:start]]
