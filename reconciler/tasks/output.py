"""Pass on what a task prints: to its log, which is bounded, and to the terminal that is attached, whole.

Neither a full disk nor a terminal that is gone, or that reads nothing, ends the task.
"""

import errno
import os
import select
import socket
import stat
import struct
import time
from contextlib import suppress
from typing import Final

FRAME: Final = struct.Struct("!cI")
OUTPUT, ERRORS, END = b"o", b"e", b"x"
_TAIL = 1 << 16
_MOST_SAID, _SAID_LINES, _LONGEST_LINE = 4000, 20, 500
_PATIENCE_S = 30.0


class OutputLog:
    """The task's log: the first bytes as they come, a note of how many are left out, and the last ones at the end."""

    def __init__(self, path: str, limit: int, mode: int) -> None:
        self._file = -1
        with suppress(OSError):
            self._file = _appending(path, mode)
        self._limit = limit
        self._tail_size = min(_TAIL, limit // 4)
        self._head_size = max(0, limit - self._tail_size - 256)
        self.tail = b""
        self.size = 0

    def add(self, block: bytes) -> None:
        room = self._head_size - self.size
        if room > 0:
            self._write(block[:room])
        self.size += len(block)
        self.tail = block[-_TAIL:] if len(block) >= _TAIL else (self.tail + block)[-_TAIL:]

    def close(self) -> None:
        beyond = self.size - self._head_size
        if beyond > 0:
            kept = min(beyond, self._tail_size)
            left_out = beyond - kept
            if left_out:
                self._write(f"\nreconciler: {left_out} bytes are left out here, as a log has {self._limit}\n".encode())
            self._write(self.tail[-kept:])

    @property
    def said(self) -> str:
        """The last lines, shortened."""
        lines = [line.rstrip() for line in self.tail.decode(errors="backslashreplace").splitlines()]
        return "\n".join([line[:_LONGEST_LINE] for line in lines if line][-_SAID_LINES:])[-_MOST_SAID:]

    def note(self, text: str) -> None:
        """Write a line of this process's own."""
        self._write(f"reconciler: {text}\n".encode(errors="backslashreplace"))

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        with suppress(OSError):  # a full disk costs what is printed, not the task
            while rest and self._file >= 0:
                rest = rest[os.write(self._file, rest) :]


def _appending(path: str, mode: int) -> int:
    """Open a regular file to append to it; a pipe that the app put in its place is not waited for. Raises OSError."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    opened = os.open(path, flags, mode)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    os.set_blocking(opened, True)
    return opened


class Terminal:
    """The terminal that is attached: gets everything in frames, and is left alone once it is gone or reads nothing."""

    def __init__(self, path: str) -> None:
        self._socket: socket.socket | None = None
        self._unsent = b""
        self._since = 0.0
        if not path:
            return
        with suppress(OSError):
            opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: PTH120
            try:
                opened.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")  # noqa: PTH119
            finally:
                os.close(directory)
            opened.setblocking(False)
            self._socket = opened

    @property
    def is_behind(self) -> bool:
        return bool(self._unsent)

    def fileno(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def send(self, kind: bytes, block: bytes) -> None:
        if self._socket is None or (not block and kind != END):
            return
        if not self._unsent:
            self._since = time.monotonic()
        self._unsent += FRAME.pack(kind, len(block)) + block
        self.go_on()

    def go_on(self) -> None:
        """Send what it takes now."""
        while self._socket is not None and self._unsent:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                if time.monotonic() - self._since > _PATIENCE_S:
                    self.leave()
                return
            except OSError:
                self.leave()
                return
            self._unsent = self._unsent[sent:]
            self._since = time.monotonic()

    def leave(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket, self._unsent = None, b""

    def finish(self) -> None:
        """Wait until it has read all, for so long as it reads."""
        while self._socket is not None and self._unsent:
            poll = select.poll()
            poll.register(self._socket, select.POLLOUT)
            poll.poll(_PATIENCE_S * 1000)
            self.go_on()
        self.leave()
