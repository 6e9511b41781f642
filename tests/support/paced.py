"""A load of so many requests a second over TLS, by all the ways in which clients ask, and streams that stay open.

Requests fall due by the clock, however long the one before took: the rate is what was asked for, not what was answered.
"""

import asyncio
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from tests.support.http_2 import Http2
from tests.support.proxies import connected, context, hang_up
from tests.support.websockets import upgraded

BODY = b"x" * 2048


@dataclass(slots=True, kw_only=True)
class Outcomes:
    """What every request ended with: by the way it was sent, then its method, then its status or its error."""

    of: Counter[tuple[str, str, str]] = field(default_factory=Counter)

    @property
    def failed(self) -> dict[tuple[str, str, str], int]:
        return {key: count for key, count in self.of.items() if key[2] != "200"}

    def total(self, way: str = "", method: str = "") -> int:
        return sum(count for key, count in self.of.items() if way in ("", key[0]) and method in ("", key[1]))


class Http1:
    """HTTP/1.1 on one connection; `kept` for all requests, else on a new one for each."""

    def __init__(self, name: str, port: int, *, kept: bool, within: float = 30) -> None:
        self._name, self._port, self._kept, self._within = name, port, kept, within
        self._connection = http.client.HTTPConnection(name)
        self._line: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._hang_up()

    def ask(self, body: bytes | None = None, path: str = "/") -> tuple[int, bytes]:
        """Status and body of a GET, or of a POST with a body. Raises OSError or HTTPException for one without."""
        try:
            if self._line is None:
                self._connection.sock = self._line = connected(self._name, self._port, self._within)
            self._connection.request("GET" if body is None else "POST", path, body=body, headers={"Host": self._name})
            answer = self._connection.getresponse()
            found = answer.status, answer.read()
        except BaseException:
            self._hang_up()
            raise
        if answer.will_close or not self._kept:
            self._hang_up()
        return found

    def _hang_up(self) -> None:
        hang_up(self._connection, self._line)
        self._line = None


@contextmanager
def at_rate(name: str, port: int, a_second: int = 200) -> Iterator[Outcomes]:
    """So many requests a second, every other one a POST: half by HTTP/2, a tenth on connections of their own."""
    tenth = a_second / 10
    clients: tuple[tuple[str, int, float, Callable[[], Http1 | Http2]], ...] = (
        ("HTTP/2", 5, 5 * tenth, lambda: Http2(name, port)),
        ("HTTP/1.1, kept", 5, 4 * tenth, lambda: Http1(name, port, kept=True)),
        ("HTTP/1.1, new", 2, tenth, lambda: Http1(name, port, kept=False)),
    )
    outcomes, over, began = Outcomes(), threading.Event(), time.monotonic()

    def client(way: str, every_s: float, offset_s: float, opened: Callable[[], Http1 | Http2]) -> None:
        line, number = opened(), 0
        try:
            while not over.wait(max(0.0, began + offset_s + number * every_s - time.monotonic())):
                number += 1
                method = ("GET", "POST")[number % 2]
                try:
                    said = str(line.ask(body=BODY if method == "POST" else None)[0])
                except (OSError, http.client.HTTPException) as error:
                    said = repr(error)
                    line.__exit__(None, None, None)
                    line = opened()
                outcomes.of[way, method, said] += 1
        finally:
            line.__exit__(None, None, None)

    threads = [
        threading.Thread(target=client, args=(way, count / rate, turn / rate, opened))
        for way, count, rate, opened in clients
        for turn in range(count)
    ]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        for thread in threads:
            thread.join(60)


@dataclass(slots=True)
class Streams:
    """Event streams that are read for as long as a context lasts: how many events each had, and why any ended."""

    events: list[int]
    ended: list[str] = field(default_factory=list)


@contextmanager
def event_streams(name: str, port: int, count: int, path: str = "/") -> Iterator[Streams]:
    """So many event streams, whose events are numbered from 0: each has to bring all while the context lasts."""
    streams, over = Streams([0] * count), threading.Event()

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context(), server_hostname=name)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: {name}\r\nAccept: text/event-stream\r\n\r\n".encode())
        try:
            while not over.is_set():
                async with asyncio.timeout(60):
                    line = await reader.readline()
                if not line:
                    streams.ended.append(f"stream {number} was closed after {streams.events[number]} events")
                    return
                if line.startswith(b"data: "):
                    if int(line[6:]) != streams.events[number]:
                        streams.ended.append(f"stream {number} lost events before {line!r}")
                        return
                    streams.events[number] += 1
        except (OSError, TimeoutError) as error:
            streams.ended.append(f"stream {number}: {error!r}")
        finally:
            writer.transport.abort()  # an orderly end would have to wait for what the stream goes on to send
            with suppress(OSError):
                await writer.wait_closed()

    async def all_of_them() -> None:
        await asyncio.gather(*map(one, range(count)))

    watching = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    watching.start()
    try:
        yield streams
    finally:
        over.set()
        watching.join(60)


@contextmanager
def websockets(name: str, port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many open websockets to a name."""
    with ExitStack() as stack:
        yield [stack.enter_context(upgraded(connected(name, port, 30), name)) for _ in range(count)]
