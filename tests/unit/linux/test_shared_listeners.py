"""No accept waits, and no close, whatever a process that has the listener, too, makes of it at the same time."""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from reconciler.linux.shared_listeners import (
    LeftAlone,
    accepted_at,
    close_shared,
    left_alone_until,
    when_left_alone,
)
from tests.support.shared_listener import listener, shared_with

__all__ = ["listener"]

HOUR_S = 3600
# Has each accept of all who share the listener wait for ever, or for a moment, as often as it can.
HOSTILE = """
import fcntl, os, socket, struct, sys
number, timeout_us = int(sys.argv[1]), int(sys.argv[2])
listener = socket.socket(fileno=number)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, timeout_us))
blocking = fcntl.fcntl(number, fcntl.F_GETFL) & ~os.O_NONBLOCK
print(flush=True)
while True:
    fcntl.fcntl(number, fcntl.F_SETFL, blocking)
"""


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """As many threads that would get a signal as well as the main one, some of them at work."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            sum(range(1000))

    made = [threading.Thread(target=work if number < 2 else over.wait) for number in range(count)]
    for each in made:
        each.start()
    try:
        yield
    finally:
        over.set()
        for each in made:
            each.join()


def accept_until_left_alone(listener: socket.socket) -> float:
    """Return until when: the hostile process has a call wait that comes at the wrong time."""
    while True:
        try:
            accepted_at(listener)
        except LeftAlone as error:
            return error.until


@pytest.mark.parametrize("timeout_s", [0.0, 0.02])
def test_a_call_that_another_process_has_wait_ends_and_the_listener_is_left_alone_for_longer_each_time(
    listener: socket.socket, timeout_s: float
) -> None:
    pauses: list[float] = []
    when_left_alone(listener, pauses.append)
    with shared_with(HOSTILE, listener, str(int(timeout_s * 1e6))), threads(24):
        until = accept_until_left_alone(listener)
        assert accept_until_left_alone(listener) == until == left_alone_until(listener)
        time.sleep(max(0.0, until - time.monotonic()))
        assert accept_until_left_alone(listener) > until
    assert pauses == [1.0, 2.0]


def test_a_listener_that_would_have_accept_wait_is_accepted_at_all_the_same(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        assert not fcntl.fcntl(listener, fcntl.F_GETFL) & os.O_NONBLOCK
        accepted = accepted_at(listener)
        assert accepted is not None
        with accepted:
            assert accepted.getpeername() == client.getsockname()
            assert accepted.gettimeout() == 0.0
            assert not accepted.get_inheritable()
    assert accepted_at(listener) is None
    assert left_alone_until(listener) < time.monotonic()


def test_a_listener_that_was_shut_down_is_left_alone_and_nobody_is_blamed(listener: socket.socket) -> None:
    listener.shutdown(socket.SHUT_RDWR)
    with pytest.raises(LeftAlone):
        accepted_at(listener)
    assert left_alone_until(listener) < time.monotonic()


def test_a_connection_does_not_inherit_that_its_close_waits(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, HOUR_S))
    with socket.create_connection(listener.getsockname()) as client:
        accepted = accepted_at(listener)
        assert accepted is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                accepted.send(bytes(65536))
        accepted.close()  # for an hour, otherwise
        assert client.recv(1)


def test_what_an_app_has_made_of_its_listener_is_closed_without_waiting(listener: socket.socket) -> None:
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        listener.shutdown(socket.SHUT_RDWR)
        listener.connect(elsewhere.getsockname())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, HOUR_S))
        listener.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                listener.send(bytes(65536))
        listener.setblocking(True)
        close_shared(listener)  # for an hour, otherwise


def test_a_program_that_is_started_has_no_timer_and_ends_by_its_alarm(listener: socket.socket) -> None:
    listener.setblocking(False)
    assert accepted_at(listener) is None
    script = "import signal as s; print(s.getitimer(0), s.getsignal(14) == s.SIG_DFL, s.pthread_sigmask(0, ()))"
    ran = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True)
    assert ran.stdout == "(0.0, 0.0) True set()\n"
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
