"""A client and a program with a forwarder between them: what each of them gets, and when the forwarder has rest."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest

from reconciler.linux.readiness import Readiness
from reconciler.serving.forwarder.pair import Pair

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"


@dataclass
class Line:
    """Both ends, and the pair between them."""

    client: socket.socket
    program: socket.socket
    pair: Pair
    epoll: Readiness

    def pump(self, *, closing: bool = False, rounds: int = 200) -> int:
        """Do what can be done; return after how many rounds nothing is left."""
        numbers = {side.fileno(): at for at, side in enumerate(self.pair.sides)}
        for done in range(rounds):
            events = self.epoll.poll(0)
            if not events or self.pair.over:
                return done
            for number, what in events:
                if not self.pair.over:
                    self.pair.ready(numbers[number], what, closing=closing)
        return rounds


def connected(family: int) -> tuple[socket.socket, socket.socket]:
    if family == socket.AF_UNIX:
        return socket.socketpair()
    with socket.create_server(("127.0.0.1", 0)) as server:
        one = socket.create_connection(server.getsockname())
        return one, server.accept()[0]


@pytest.fixture(params=[socket.AF_UNIX, socket.AF_INET], ids=["unix", "tcp"])
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    client, front = connected(socket.AF_INET)
    back, program = connected(request.param)
    for each in (front, back):
        each.setblocking(False)
    for each in (client, program):
        each.settimeout(60)
    epoll = Readiness()
    pair = Pair(front, back, epoll, None)
    yield Line(client, program, pair, epoll)
    pair.close()
    epoll.close()
    for each in (client, program):
        each.close()


def until(line: Line, check: Callable[[], bool], *, closing: bool = False) -> None:
    """Pump until it holds: the kernel may pass a byte on a moment later."""
    for _ in range(3000):
        line.pump(closing=closing)
        if check():
            return
        time.sleep(0.01)
    raise AssertionError("it never came true")


def read_all(client: socket.socket) -> None:
    while client.recv(1 << 20):
        pass


def test_question_and_answer_are_passed_on_and_a_kept_connection_is_idle_between(line: Line) -> None:
    for _ in range(2):
        line.client.sendall(GET)
        until(line, lambda: line.pair.is_busy(0))
        assert line.program.recv(1000) == GET
        line.program.sendall(ANSWER)
        until(line, lambda: not line.pair.is_busy(0))
        assert line.client.recv(1000) == ANSWER
    line.client.close()
    until(line, lambda: line.program.recv(10, socket.MSG_DONTWAIT) == b"")
    line.program.close()
    until(line, lambda: line.pair.over)


def test_a_slow_client_costs_no_processor_time_though_the_program_has_closed(line: Line) -> None:
    body = b"x" * 30_000_000
    line.client.sendall(GET)
    until(line, lambda: line.pair.is_busy(0))
    line.program.recv(1000)
    line.program.setblocking(False)
    answer = memoryview(b"HTTP/1.0 200 OK\r\n\r\n" + body)
    got = 0
    while answer:
        with suppress(BlockingIOError):
            answer = answer[line.program.send(answer) :]
        assert line.pump() < 200
        if not line.epoll.poll(0):
            with suppress(BlockingIOError):
                got += len(line.client.recv(1 << 20, socket.MSG_DONTWAIT))
    line.program.close()
    time.sleep(0.05)
    assert line.pump() < 200, "the forwarder finds no rest"
    while chunk := line.client.recv(1 << 20):
        got += len(chunk)
        line.pump()
        if got == len(body) + 19:
            break
    assert got == len(body) + 19
    until(line, lambda: line.pair.until is not None)
    assert line.client.recv(10) == b""


def test_a_slow_client_that_says_no_more_costs_no_processor_time(line: Line) -> None:
    line.client.sendall(GET)
    line.client.shutdown(socket.SHUT_WR)
    until(line, lambda: line.pair.is_busy(0))
    line.program.recv(1000)
    line.program.setblocking(False)
    answer = memoryview(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 30_000_000)
    while not line.pair._held[0]:
        with suppress(BlockingIOError):
            answer = answer[line.program.send(answer) :]
        line.pump()
    line.program.close()
    for _ in range(20):
        assert line.pump() < 200, "the forwarder finds no rest"
    line.pair.close(broken=line.pair.is_unfinished())
    with pytest.raises(ConnectionResetError):
        read_all(line.client)


def test_a_program_that_breaks_off_is_no_end_of_an_answer(line: Line) -> None:
    line.client.sendall(GET)
    until(line, lambda: line.pair.is_busy(0))
    line.program.recv(1000)
    line.program.sendall(b"HTTP/1.1 200 OK\r\n\r\nsome")
    until(line, lambda: line.client.recv(1000, socket.MSG_DONTWAIT | socket.MSG_PEEK).endswith(b"some"))
    if line.program.family == socket.AF_INET:
        line.program.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        line.program.close()
        until(line, lambda: line.pair.over)
        assert line.client.recv(1000).endswith(b"some")
        with pytest.raises(ConnectionResetError):
            line.client.recv(1000)


def test_an_early_refusal_reaches_a_client_that_is_still_sending(line: Line) -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    line.client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 100_000)
    until(line, lambda: line.pair.is_busy(0))
    line.program.sendall(refusal)
    line.program.shutdown(socket.SHUT_WR)
    line.program.close()
    line.client.setblocking(False)
    for _ in range(20):
        with suppress(OSError):
            line.client.send(b"x" * 50_000)
        line.pump()
    line.client.settimeout(60)
    assert line.client.recv(1000) == refusal


def test_the_last_answer_closes_the_connection_behind_it(line: Line) -> None:
    line.client.sendall(GET)
    until(line, lambda: line.pair.is_busy(0))
    line.program.sendall(ANSWER)
    until(line, lambda: line.pair.until is not None, closing=True)
    said = b""
    while chunk := line.client.recv(1000):
        said += chunk
    assert said == ANSWER.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    line.client.close()
    until(line, lambda: line.pair.over)


class Counted:
    """Figures that fail where a request ends that never began."""

    in_flight = answered = 0

    def begin(self) -> float:
        self.in_flight += 1
        return 0.0

    def end(self, _began: float, _status: int) -> None:
        assert self.in_flight > 0
        self.in_flight -= 1
        self.answered += 1


@pytest.mark.parametrize("asked", [1, 7])
def test_every_request_is_counted_once_also_of_clients_that_leave(line: Line, asked: int) -> None:
    line.pair._figures = figures = Counted()  # type: ignore[assignment]
    line.client.sendall(GET * asked)
    until(line, lambda: line.pair.is_busy(0))
    line.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    line.client.close()
    line.program.sendall(ANSWER * asked)
    line.program.close()
    until(line, lambda: line.pair.over)
    assert figures.in_flight == 0
    assert figures.answered >= 1
