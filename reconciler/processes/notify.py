"""The sockets at which processes say READY=1 and WATCHDOG=1, one of its own for each: sd_notify(3) without systemd."""

import asyncio
import os
import socket
import stat
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import field
from functools import partial
from pathlib import Path

from reconciler.convergence.rests import Rests
from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.dataclass import dataclass
from reconciler.linux.held_files import contents
from reconciler.linux.passed_files import Aside, close_aside, looked_at
from reconciler.linux.removals import Removals
from reconciler.linux.unix_sockets import refuse_files
from reconciler.serving.live_instance import LiveInstance

_LONGEST = 4096
_AT_ONCE = 64
PREFIX = "notify-"
_resting = Rests()


@dataclass(slots=True)
class _Listening:
    opened: socket.socket
    path: Path
    watchdog_s: float | None
    heard_at: float
    aside: Aside = field(default_factory=Aside)
    timer: asyncio.TimerHandle | None = None


class NotifySockets:
    """The sockets of the instances that are alive; `changed` is called with the key of one that has something new.

    What lies at the path of a socket is removed beside the loop: it may be a file of the app's that takes long.
    """

    def __init__(self, changed: Callable[[str], None]) -> None:
        self._changed = changed
        self._removals = Removals()
        self._listening: dict[str, _Listening] = {}
        self._threads = DaemonThreads("notify", 1)
        self._looked_for: set[str] = set()
        self._paths: set[Path] = set()  # of what is open, also for one that is still being started

    def open(self, path: Path) -> socket.socket:
        """Open the socket of an instance that is about to start. Raises OSError."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            refuse_files(opened)
            self._remove(path)
            opened.bind(str(path))
            if path.parent.stat().st_uid != os.geteuid():
                _let_all_write(path)
        except BaseException:
            opened.close()
            raise
        self._paths.add(path)
        return opened

    def listen(
        self, live: LiveInstance, opened: socket.socket, watchdog_s: float | None, *, says_ready: bool = False
    ) -> None:
        """Hear what an instance says from now on. Its watchdog begins now, or with the READY=1 that it is to say."""
        loop = asyncio.get_running_loop()
        listening = _Listening(opened, Path(opened.getsockname()), watchdog_s, loop.time())
        self._listening[live.record.id] = listening
        loop.add_reader(opened, self._hear, live, listening)
        if not says_ready:
            self._watch(live, listening)

    def listen_again(self, lives: Iterable[tuple[LiveInstance, Path, float | None]]) -> None:
        """Hear instances that an earlier daemon started, each with its scratch and its watchdog.

        The environment of each names its socket, and is read beside the loop: a process may keep its readers waiting.
        """
        named = {
            f"/proc/{each[0].record.pid}/environ": each
            for each in lives
            if each[0].record.pid is not None and each[0].record.id not in self._listening.keys() | self._looked_for
        }
        if not named:
            return
        ids, loop = {live.record.id for live, _, _ in named.values()}, asyncio.get_running_loop()

        def listen(done: "Future[dict[str, bytes | None]]") -> None:
            self._looked_for -= ids
            for environ, path in done.result().items():
                if path is not None:
                    self._listen_at(Path(os.fsdecode(path)), *named[environ])

        def looked(done: "Future[dict[str, bytes | None]]") -> None:
            with suppress(RuntimeError):  # the daemon has ended
                loop.call_soon_threadsafe(listen, done)

        with suppress(RuntimeError):  # no thread left: looked for again with the next change
            done = self._threads.run(partial(contents, [*named], _named_socket))
            self._looked_for |= ids
            done.add_done_callback(looked)

    def _listen_at(self, path: Path, live: LiveInstance, scratch: Path, watchdog_s: float | None) -> None:
        """Hear an instance at a socket that it names, which has to be in its scratch: it may change its environment."""
        if path in self._paths:
            return
        if live.end is None and path.name.startswith(PREFIX) and path.parent == scratch:
            with suppress(OSError, ValueError):
                self.listen(live, self.open(path), watchdog_s)

    def close(self, instance: str) -> None:
        """Hear an instance no more that has ended."""
        listening = self._listening.pop(instance, None)
        if listening is None:
            return
        if listening.timer is not None:
            listening.timer.cancel()
        asyncio.get_running_loop().remove_reader(listening.opened)
        self._paths.discard(listening.path)
        with suppress(OSError):
            self._remove(listening.path)
        close_aside(listening.opened, listening.aside, listening.opened.close)

    def discard(self, opened: socket.socket) -> None:
        """Close the socket of an instance that could not be started."""
        self._paths.discard(Path(opened.getsockname()))
        close_aside(opened, Aside(), opened.close)

    def _remove(self, path: Path) -> None:
        with suppress(RuntimeError):  # no thread can be started now: it is set aside all the same
            self._removals.begin(path)

    def _hear(self, live: LiveInstance, listening: _Listening) -> None:
        said, began = set[bytes](), time.monotonic()
        for _ in range(_AT_ONCE):
            try:
                text, has_files = looked_at(listening.opened, _LONGEST)
                said.update(text.splitlines())
                if has_files:  # taken off the queue where it holds up none but what is said after it
                    rest = partial(_rest, time.monotonic() - began, self._set_aside(live, listening))
                    listening.aside.run(partial(listening.opened.recv, 1), rest)
                    break
                listening.opened.recv(1)
            except OSError:
                break
        else:  # it says more than any watchdog needs
            _rest(time.monotonic() - began, self._set_aside(live, listening))
        if b"WATCHDOG=1" in said or b"READY=1" in said:
            listening.heard_at = asyncio.get_running_loop().time()
        if b"READY=1" in said and not live.says_ready:
            live.says_ready = True
            if listening.timer is None:
                self._watch(live, listening)
            self._changed(live.record.key)

    def _set_aside(self, live: LiveInstance, listening: _Listening) -> Callable[[], None]:
        """Hear nothing of an instance until the function is called that this returns."""
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening.opened)

        def go_on() -> None:
            if self._listening.get(live.record.id) is listening:
                loop.add_reader(listening.opened, self._hear, live, listening)

        return go_on

    def _watch(self, live: LiveInstance, listening: _Listening) -> None:
        """Find an instance hung that has not said WATCHDOG=1 for too long."""
        if listening.watchdog_s is None or live.end is not None or live.record.stopping_since is not None:
            return
        loop, late_at = asyncio.get_running_loop(), listening.heard_at + listening.watchdog_s
        if loop.time() >= late_at:
            live.silent = True
            live.unhealthy = f"it did not say WATCHDOG=1 for {listening.watchdog_s:g} s"
            self._changed(live.record.key)
            return
        listening.timer = loop.call_at(late_at, self._watch, live, listening)


def _rest(took_s: float, go_on: Callable[[], None]) -> None:
    """Go on after a rest from what took so long."""
    asyncio.get_running_loop().call_later(_resting.after(took_s), go_on)


def _let_all_write(path: Path) -> None:
    """Let another user, whose directory only that one may enter, send to a socket of this process. Raises OSError."""
    found = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(found)
        if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid() and status.st_nlink == 1:
            os.chmod(f"/proc/self/fd/{found}", 0o666)  # noqa: PTH101, S103  by its descriptor
    finally:
        os.close(found)


def variables(path: Path, watchdog_s: float | None) -> dict[str, str]:
    """Return the variables that tell a program of its socket."""
    found = {"NOTIFY_SOCKET": os.fspath(path)}
    if watchdog_s is not None:
        found["WATCHDOG_USEC"] = str(round(watchdog_s * 1e6))
    return found


def _named_socket(block: bytes) -> bytes | None:
    """Return the socket that an environment names, None without one."""
    entries = block.split(b"\0")
    return next((entry.partition(b"=")[2] for entry in entries if entry.startswith(b"NOTIFY_SOCKET=")), None)
