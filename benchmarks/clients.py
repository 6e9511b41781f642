"""Those who ask: for a first 200, for everybody's, or again and again while something happens."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def ask(port: int, path: str = "/", timeout_s: float = 10.0) -> str:
    """The body of a 200 on a new connection; raises OSError or HTTPException, also for any other status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}")
        return answer.read().decode()
    finally:
        connection.close()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        ask(port, timeout_s=2.0)
        return True
    return False


def seconds_to_200(port: int, since: float, path: str = "/", within_s: float = 30.0) -> float:
    """Seconds from `since` until the port first answers 200, looked at every half millisecond."""
    while time.perf_counter() - since < within_s:
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(port, path)
            return time.perf_counter() - since
        time.sleep(0.0005)
    raise TimeoutError(f"port {port} did not answer within {within_s} s")


def seconds_to_all(ports: Sequence[int], since: float, within_s: float = 300.0) -> float:
    """Seconds from `since` until every port has answered 200; a pause between looks leaves the processors to them."""
    left = list(ports)
    while left:
        if time.perf_counter() - since > within_s:
            raise TimeoutError(f"{len(left)} of {len(ports)} never answered")
        try:
            ask(left[-1], timeout_s=60)
            left.pop()
        except (OSError, http.client.HTTPException):
            time.sleep(0.02)
    return time.perf_counter() - since


def until(check: Callable[[], bool], within_s: float = 60.0, pause_s: float = 0.02) -> None:
    deadline = time.perf_counter() + within_s
    while not check():
        if time.perf_counter() > deadline:
            raise TimeoutError(f"not within {within_s:g} s")
        time.sleep(pause_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One request: when it was over, how long it took, and what came: a body, or why none did."""

    at: float
    took_s: float
    body: str = ""
    failure: str = ""


@dataclass(eq=False)
class Asker(threading.Thread):
    """Asks again and again, each time on a new connection, and remembers every answer."""

    port: int
    pause_s: float = 0.002
    heard: list[Answer] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def run(self) -> None:
        while not self.over.wait(self.pause_s):
            began = time.perf_counter()
            body = failure = ""
            try:
                body = ask(self.port, timeout_s=30)
            except ConnectionRefusedError:
                failure = "refused"
            except (OSError, http.client.HTTPException) as error:
                failure = str(error) if str(error).startswith("status") else "cut"
            now = time.perf_counter()
            self.heard.append(Answer(at=now, took_s=now - began, body=body, failure=failure))

    def count(self, failure: str) -> int:
        """How many failed so; how many were answered for an empty one."""
        return sum(each.failure == failure for each in self.heard)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()
