"""Talk to one fork server: a process that has imported gunicorn and no app, and forks instances of its kind.

It lives as long as the socket between it and the daemon. A forked process waits for permission before it runs any code
of an app, so that whichever process dies meanwhile, an app is started once or not at all.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.processes import Command, Process, open_output, watched_or_killed
from reconciler.serving.forkserver.ahead import Begun, env_of, start
from reconciler.serving.forkserver.eligibility import ForkKind, NotForkable

_READY_WITHIN_S = 2.0
_MOST_ENTRIES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A process that was forked; `inside` says whether it began in the control group of its command."""

    process: Process
    inside: bool


class ForkServer:
    """A fork server from its start to its end; `ended` is called with it on the loop when it is gone.

    It starts by the `words` of its command, in the environment of the Python that is the first of them, and keeps
    nothing of that open afterwards; one for isolated apps has it for itself, and forks no others. One that was `begun`
    before takes the place of another.
    """

    def __init__(
        self,
        kind: ForkKind,
        words: Sequence[str],
        *,
        log: Path,
        ended: Callable[["ForkServer"], None],
        begun: Begun | None,
    ) -> None:
        self.kind = kind
        self.env = env_of(words[0])
        self.python = words[0]
        self.alive = 0
        self.unfit: str | None = None
        self.used_at = asyncio.get_running_loop().time()
        self._early: frozenset[str] | None = None
        self._greeted = asyncio.Event()
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        if begun is None:
            pid, self._socket = start(words, log)
        else:
            pid, self._socket = begun.pid, begun.connection
        with contextlib.ExitStack() as undo:
            undo.callback(self._socket.close)
            self.process = Process(pid, watched_or_killed(pid), child=True, ended=self._on_end)
            undo.pop_all()
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._on_message)

    async def fork(
        self, command: Command, within_s: float, ended: Callable[[], None], confinement: Sequence[str] = ()
    ) -> Forked:
        """Fork an instance that becomes `command`, confined first by those arguments, if any.

        Raises NotForkable if it cannot be had in time.
        """
        self.used_at = self._loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_WITHIN_S):
                await self._greeted.wait()
        self._refuse(command)
        with contextlib.closing(self._send_request(command, confinement)) as line:
            try:
                async with asyncio.timeout(within_s):
                    await _readable(line)
                forked = self._answered(line, ended)
            except TimeoutError:
                self.close()
                self.process.kill_group()
                raise NotForkable("its fork server does not answer") from None
            except OSError as error:
                raise NotForkable(f"its fork server ended: {error}") from error
        self.alive += 1
        return forked

    def close(self) -> None:
        """Let it end; the instances it forked keep running."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
            self._socket.close()

    def forget(self) -> None:
        """Let it end, and stop watching it."""
        self.close()
        self.process.forget()

    def _refuse(self, command: Command) -> None:
        if self.unfit is not None:
            raise NotForkable(self.unfit)
        if self._early is None:
            raise NotForkable("its fork server is not ready yet")
        with contextlib.suppress(OSError), os.scandir(command.argv[2]) as entries:
            for number, entry in enumerate(entries):
                if number >= _MOST_ENTRIES:
                    raise NotForkable("its directory has too many files to look at")
                if entry.name.partition(".")[0] in self._early and _is_module(Path(entry.path)):
                    raise NotForkable(f"its own {entry.name} shadows Python's")

    def _send_request(self, command: Command, confinement: Sequence[str] = ()) -> socket.socket:
        """Send an order; return the connection on which its one receiver answers."""
        if command.listener is None:
            raise NotForkable("only a program with a listener is forked")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs, _encoded(command, confinement) as request, _opened(command) as output, _group(command) as last:
                more = [each for each in (command.beside, command.report, last) if each is not None]
                word = b"c" if confinement else b"f"
                passed = [theirs.fileno(), request, output, command.listener, *more]
                socket.send_fds(self._socket, [word if last is None else word.upper()], passed)
        except OSError as error:
            ours.close()
            raise NotForkable(f"its fork server takes no requests: {in_words(error)}") from error
        ours.setblocking(False)
        return ours

    def _answered(self, line: socket.socket, ended: Callable[[], None]) -> Forked:
        message, descriptors, _, _ = socket.recv_fds(line, 4096, 1, socket.MSG_CMSG_CLOEXEC)
        if message and not descriptors:
            raise NotForkable(message.decode())
        if not message:
            raise ConnectionResetError("it closed the connection")
        pid, word = message.split()
        process = Process(int(pid), descriptors[0], child=True, ended=lambda: self._on_instance_end(ended))
        try:
            line.send(b"g")
        except OSError:
            process.forget()
            raise
        return Forked(process=process, inside=word == b"inside")

    def _on_instance_end(self, ended: Callable[[], None]) -> None:
        self.alive -= 1
        self.used_at = self._loop.time()
        ended()

    def _on_message(self) -> None:
        try:
            verdict, _, rest = self._socket.recv(1 << 16).decode().partition(" ")
        except BlockingIOError:
            return
        except OSError:
            verdict, rest = "", ""
        if verdict == "ready":
            self._early = frozenset(rest.split())
            self._greeted.set()
            return
        self.unfit = rest if verdict == "unfit" else self.unfit
        self.close()
        if self.unfit is not None:
            self._greeted.set()

    def _on_end(self) -> None:
        self.close()
        if self._early is None and self.unfit is None:
            self.unfit = f"its fork server {self.process.end} before it was ready"
        self._greeted.set()
        self._ended(self)


@contextlib.contextmanager
def _encoded(command: Command, confinement: Sequence[str]) -> Iterator[int]:
    """Open a descriptor of the request: two counts, then NUL-terminated arguments, confinement and environment."""
    strings = [*command.argv, *confinement, *(f"{name}={value}" for name, value in command.env.items())]
    counts = b"%d %d\n" % (len(command.argv), len(confinement))
    text = counts + b"".join(os.fsencode(each) + b"\0" for each in strings)
    descriptor = os.memfd_create("request", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, text)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _opened(command: Command) -> Iterator[int]:
    descriptor = open_output(command.output, command.output_mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _group(command: Command) -> Iterator[int | None]:
    """Open the control group that the process is to begin in; None where there is none."""
    with contextlib.ExitStack() as opened:
        group = None
        with contextlib.suppress(OSError):
            if command.group is not None:
                group = os.open(command.group, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, group)
        yield group


def _is_module(entry: Path) -> bool:
    return entry.suffix in {".py", ".pyc", ".so"} or (entry / "__init__.py").exists()


async def _readable(line: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(line, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(line)
