"""Watch a child process on the event loop, with its pipes as streams; nothing here ever waits in the kernel for it.

asyncio's own does, from Python 3.12 on: a process that another one traces has ended, but is not to be waited for before
its tracer lets it go, and the code of an app may see to that.
"""

import asyncio
import os
import subprocess
from contextlib import suppress
from functools import partial
from typing import IO, Any

from reconciler.linux.processes import end_marked_orphans, watched_or_killed

_UNKNOWN = 255  # as a shell's; it has ended, and only its tracer has learnt how
_TRACED_S = 1.0
_LOOK_EVERY_S = 0.01


class Child:
    """A child process that leads a session of its own; `connect` makes streams of its pipes.

    `returncode` is None until it has ended, then its exit code, or the negated number of the signal that ended it. What
    it was to end with it, and could not as it was killed, has ended by then as well.
    """

    def __init__(self, argv: tuple[str, ...], **options: Any) -> None:
        """Start it, on a running loop; `options` are those of `subprocess.Popen`. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._process = subprocess.Popen(argv, start_new_session=True, bufsize=0, **options)
        self.pid = self._process.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._reading: list[asyncio.BaseTransport] = []
        self._ended = asyncio.Event()
        try:
            self._fd = watched_or_killed(self.pid)
        except OSError:
            self._process.returncode = _UNKNOWN
            self._close_pipes()
            raise
        self._loop.add_reader(self._fd, self._on_end)

    @property
    def returncode(self) -> int | None:
        code: int | None = self._process.returncode
        return code

    async def connect(self) -> None:
        """Make streams of its pipes. It is to be ended if that fails, or is cancelled."""
        self.stdout = await self._reader(self._process.stdout)
        self.stderr = await self._reader(self._process.stderr)
        if self._process.stdin is not None:
            unread = asyncio.StreamReader(loop=self._loop)
            transport, protocol = await self._loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(unread), self._process.stdin
            )
            self.stdin = asyncio.StreamWriter(transport, protocol, unread, self._loop)

    async def wait(self) -> int:
        """Wait until it has ended, whether all it wrote is read or not, and return its code."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self, given: bytes | None = None) -> tuple[bytes, bytes]:
        """Write its whole input, read all it writes, and wait until it has ended."""
        _, output, errors = await asyncio.gather(self._write(given), _all_of(self.stdout), _all_of(self.stderr))
        await self.wait()
        return output, errors

    def close(self) -> None:
        """Close what is still open of its pipes, whatever is left in them."""
        if self.stdin is not None and not self.stdin.is_closing():
            self.stdin.transport.abort()
        for transport in self._reading:
            transport.close()
        self._close_pipes()

    async def _reader(self, pipe: IO[bytes] | None) -> asyncio.StreamReader | None:
        if pipe is None:
            return None
        stream = asyncio.StreamReader(loop=self._loop)
        transport, _ = await self._loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        self._reading.append(transport)
        return stream

    async def _write(self, given: bytes | None) -> None:
        if self.stdin is None:
            return
        with suppress(BrokenPipeError, ConnectionResetError):
            self.stdin.write(given or b"")
            await self.stdin.drain()
        self.stdin.close()

    def _close_pipes(self) -> None:
        """Close the pipes that are no streams yet; a stream closes its own once what it holds is written."""
        pipes = (self._process.stdin, self._process.stdout, self._process.stderr)
        for pipe, stream in zip(pipes, (self.stdin, self.stdout, self.stderr), strict=True):
            if pipe is not None and stream is None:
                pipe.close()

    def _on_end(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._reap(self._loop.time() + _TRACED_S)

    def _reap(self, until: float) -> None:
        """Learn how it ended. One that stays traced is an orphan to reap later."""
        code = _UNKNOWN
        with suppress(ChildProcessError):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == 0 and self._loop.time() < until:
                self._loop.call_later(_LOOK_EVERY_S, self._reap, until)
                return
            code = os.waitstatus_to_exitcode(status) if pid else _UNKNOWN
        if code < 0 or code == _UNKNOWN:  # what it was to end, it may have left
            end_marked_orphans(partial(self._has_ended, code))
        else:
            self._has_ended(code)

    def _has_ended(self, code: int) -> None:
        self._process.returncode = code
        self._ended.set()


async def _all_of(stream: asyncio.StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()
