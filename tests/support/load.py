"""A steady loop of requests, each on a connection of its own, and what became of every one of them."""

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from tests.support.eventually import eventually

_TIMEOUT_S = 20.0


@dataclass(slots=True, kw_only=True)
class Load:
    """How many requests ended how: `ok`, `refused`, `reset`, or the status line of what was no 200.

    One without an answer in time is `late`, or `unconnected` where not even its connection was there in time.
    """

    port: int
    host: str = "127.0.0.1"
    pause_s: float = 0.002  # steady, and leaves the processor to those under test
    inside: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext  # where its sockets are made
    outcomes: Counter[str] = field(default_factory=Counter)
    bodies: Counter[str] = field(default_factory=Counter)
    failed_at: list[str] = field(default_factory=list)
    _ending: threading.Event = field(default_factory=threading.Event)

    @property
    def failed(self) -> dict[str, int]:
        return {outcome: count for outcome, count in self.outcomes.items() if outcome != "ok"}

    @property
    def ok(self) -> int:
        return self.outcomes["ok"]

    def one(self) -> str:
        outcome, body = ask(self.port, self.host)
        if body is not None:
            self.bodies[body] += 1
        if outcome != "ok":
            self.failed_at.append(f"{datetime.now(UTC):%T} {outcome}")
        return outcome

    def run(self) -> None:
        with self.inside():
            while not self._ending.is_set():
                self.outcomes[self.one()] += 1
                self._ending.wait(self.pause_s)

    def await_more(self, count: int) -> None:
        """Wait until that many more requests were answered as they should."""
        enough = self.ok + count
        eventually(lambda: self.ok >= enough)

    def end(self) -> None:
        self._ending.set()


def ask(port: int, host: str = "127.0.0.1", path: str = "/") -> tuple[str, str | None]:
    """One request: how it ended, as in `Load`, and the body of what was answered."""
    is_connected = False
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
            is_connected = True
            connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
            answer = b""
            while more := connection.recv(65536):
                answer += more
    except ConnectionRefusedError:
        return "refused", None
    except TimeoutError:
        return "late" if is_connected else "unconnected", None
    except OSError:
        return "reset", None
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.partition(b"\r\n")[0].decode()
    if not status:
        return "reset", None
    return "ok" if status.split()[1:2] == ["200"] else status, body.decode(errors="replace")


@contextlib.contextmanager
def under_load(port: int, clients: int = 2, pause_s: float = 0.002) -> Iterator[Load]:
    """Requests without a pause for as long as the context lasts, and a few more after it."""
    with carried(Load(port=port, pause_s=pause_s), clients) as load:
        yield load


@contextlib.contextmanager
def carried(load: Load, clients: int = 2) -> Iterator[Load]:
    """The same with a load that is already made."""
    threads = [threading.Thread(target=load.run, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
        load.await_more(10)
    finally:
        load.end()
        for thread in threads:
            thread.join()
