"""A listener, and a process of an app that has it, too, and does with it what it likes."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@contextlib.contextmanager
def shared_with(program: str, listener: socket.socket, *arguments: str) -> Iterator[None]:
    """Run Python code that gets the listener's descriptor as its first argument, once it has printed a line."""
    number = listener.fileno()
    command = [sys.executable, "-c", program, str(number), *arguments]
    with subprocess.Popen(command, pass_fds=[number], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()
