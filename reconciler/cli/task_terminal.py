"""Attach this terminal to a task: print what it prints, as it comes, and learn its exit code.

The runner of the task connects to a socket of this command before the command begins, so that nothing is lost. The task
depends on none of this: it goes on when the terminal is gone.
"""

import json
import os
import secrets
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import click

from reconciler.cli.failure import Failure
from reconciler.linux.error_words import in_words

if TYPE_CHECKING:
    from reconciler.state.paths import StatePaths

_LOOK_EVERY_S = 0.5
_BLOCK = 1 << 18


class Detached(Exception):
    """Nothing more is heard of a task that may go on."""


class TaskTerminal:
    """The socket of a terminal; `name` is what the daemon is told of it."""

    def __init__(self, paths: "StatePaths") -> None:
        """Listen. Raises Failure where the state directory cannot be written to."""
        from reconciler.linux.unix_sockets import reachable
        from reconciler.tasks.runners import terminal_socket

        self.name = secrets.token_hex(8)
        self._path = terminal_socket(paths, self.name)
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._client: socket.socket | None = None
        try:
            self._path.parent.mkdir(mode=0o700, exist_ok=True)
            with reachable(self._path) as short:
                self._listening.bind(short)
            owner = self._path.parent.stat()
            if os.geteuid() == 0 and owner.st_uid != 0:
                os.chown(self._path, owner.st_uid, owner.st_gid)  # the runner is the daemon's user
            self._listening.listen(1)
        except OSError as error:
            self.close()
            raise Failure("not-allowed", f"cannot attach this terminal: {in_words(error)}; see --detach") from error

    def close(self) -> None:
        """Listen no more."""
        for each in (self._client, self._listening):
            if each is not None:
                each.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)

    def wait(self, is_over: Callable[[], bool]) -> bool:
        """Wait for the runner; return False if the task is over before that."""
        while not select.select([self._listening], [], [], _LOOK_EVERY_S)[0]:
            if is_over():
                return bool(select.select([self._listening], [], [], 0)[0])
        return True

    def result(self) -> dict[str, Any]:
        """Print what the task prints until it has ended, and return how it did. Raises Detached."""
        self._client = self._listening.accept()[0]
        for kind, block in self._frames():
            match kind:
                case b"o":
                    _write(1, block)
                case b"e":
                    _write(2, block)
                case b"x":
                    with suppress(ValueError):
                        found: dict[str, Any] = json.loads(block)
                        return found
        raise Detached

    def _frames(self) -> Iterator[tuple[bytes, bytes]]:
        from reconciler.tasks.output import FRAME

        assert self._client is not None
        unread = b""
        while True:
            while len(unread) >= FRAME.size:
                kind, size = FRAME.unpack_from(unread)
                if len(unread) < FRAME.size + size:
                    break
                yield kind, unread[FRAME.size : FRAME.size + size]
                unread = unread[FRAME.size + size :]
            try:
                block = self._client.recv(_BLOCK)
            except ConnectionError:
                return
            if not block:
                return
            unread += block


@contextmanager
def explained(app: str, task: str) -> Iterator[None]:
    """Say how to follow a task that goes on, where the operator leaves it or the reader of its output has gone."""
    follow = f"reconciler logs {app} --which task:{task} -f"
    try:
        yield
    except KeyboardInterrupt:
        click.echo(f"\ntask {task} goes on: '{follow}' follows it, 'reconciler cancel {task}' ends it", err=True)
        raise SystemExit(130) from None
    except BrokenPipeError:
        with suppress(OSError):
            click.echo(f"task {task} goes on: '{follow}' follows it", err=True)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(141) from None


def _write(descriptor: int, block: bytes) -> None:
    sys.stdout.flush()
    rest = memoryview(block)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
