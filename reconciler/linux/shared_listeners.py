"""Accept connections at listeners that processes of an app have open, too, and close what they may have changed.

Whether accept(2) waits is a property of the open file (O_NONBLOCK): all who have the listener share it, and each may
change it between a look at it and the call. So a timer ends each call that waits, and a listener where calls did
is left alone: for a second, then for twice as long each time, up to a minute. For the main thread alone.
"""

import ctypes
import errno
import fcntl
import os
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

from reconciler.linux.passed_files import close_in_thread

# Other threads stand still meanwhile: the call waits for the kernel alone, though this one may for them right after it.
_accept4 = ctypes.PyDLL(None, use_errno=True).accept4
_accept4.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int]
# The timer goes on: the first signal may come before the kernel waits, or to another thread.
_AT_MOST_S = 0.05
# So long may calls seem to wait in all, and for so much of the time between them: by threads of this process, too.
_WAITED_S, _SHARE = 0.25, 0.05
_FIRST_S, _LONGEST_S, _FORGIVEN_S = 1.0, 60.0, 600.0
_PAUSE_S = 1.0
_LINGERS_NOT = struct.pack("ii", 0, 0)
# Nothing waits, a signal came, or what waited was gone by then.
_NONE_NOW = frozenset((errno.EAGAIN, errno.EINTR, errno.ECONNABORTED, errno.EPROTO))


class LeftAlone(Exception):
    """A listener is not to be accepted at before `until`, of the monotonic clock."""

    def __init__(self, until: float) -> None:
        super().__init__(until)
        self.until = until


class _Patience:
    """What is known of a listener at which processes of an app have accept wait."""

    def __init__(self) -> None:
        self.until = self.last = float("-inf")
        self.pause_s = self.waited_s = self.waited_at = 0.0
        self.told: Callable[[float], None] = lambda _: None

    def seemed_to_wait(self, so_long_s: float) -> None:
        """Know of a call that may have waited, and leave the listener alone if that is too much."""
        now = time.monotonic()
        self.waited_s = max(0.0, self.waited_s - _SHARE * (now - self.waited_at)) + so_long_s
        self.waited_at = now
        if self.waited_s >= _WAITED_S:
            self.end()

    def end(self) -> None:
        """Leave the listener alone for a while."""
        now = time.monotonic()
        is_old = now - self.last > _FORGIVEN_S
        self.pause_s = _FIRST_S if is_old else min(_LONGEST_S, 2 * self.pause_s)
        self.last, self.until = now, now + self.pause_s
        self.told(self.pause_s)


# By the socket, as who accepts there comes and goes while the app stays.
_PATIENCE: "WeakKeyDictionary[socket.socket, _Patience]" = WeakKeyDictionary()


def when_left_alone(listener: socket.socket, told: Callable[[float], None]) -> None:
    """Call `told` with how many seconds a listener is left alone, each time that a process has accept wait there."""
    _PATIENCE.setdefault(listener, _Patience()).told = told


def left_alone_until(listener: socket.socket) -> float:
    """Return when a listener may be accepted at again, of the monotonic clock; in the past as a rule."""
    known = _PATIENCE.get(listener)
    return float("-inf") if known is None else known.until


def accepted_at(listener: socket.socket, *, last: bool = False) -> socket.socket | None:
    """Return the next connection at a listener, None if there is none now. Waits for 50 ms at worst.

    No call for the connection waits, its `close` neither. Raises LeftAlone where the listener is, whatever the cause;
    not of old, if these are the last calls for it.
    """
    if not last and time.monotonic() < left_alone_until(listener):
        raise LeftAlone(left_alone_until(listener))
    if not fcntl.fcntl(listener, fcntl.F_GETFL) & os.O_NONBLOCK:
        listener.setblocking(False)
    slept, began = _sleeps(), time.monotonic()
    number, error = _accepted_in_time(listener.fileno())
    has_slept, took_s = _sleeps() != slept, time.monotonic() - began
    connection = None
    if number >= 0:
        connection = socket.socket(listener.family, listener.type, listener.proto, number)
        forbid_lingering(connection)
        connection.setblocking(False)
    if number < 0 and error == errno.EINTR:  # a call that does not wait is never interrupted
        _PATIENCE.setdefault(listener, _Patience()).end()
    elif has_slept:
        _PATIENCE.setdefault(listener, _Patience()).seemed_to_wait(took_s)
    if connection is not None or error in _NONE_NOW:
        return connection
    # No descriptor is left, or the app shut it down: the kernel calls it ready all the same.
    raise LeftAlone(time.monotonic() + _PAUSE_S)


def close_shared(opened: socket.socket) -> None:
    """Close a listener that processes of an app have or had: waits for no byte or file that they left in it."""
    forbid_lingering(opened)
    if opened.family == socket.AF_UNIX:
        close_in_thread(opened)
    else:
        opened.close()


def forbid_lingering(opened: socket.socket) -> None:
    """Have `close` not wait until what was sent has arrived: a connection inherits that from its listener."""
    with suppress(OSError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGERS_NOT)


def _accepted_in_time(number: int) -> tuple[int, int]:
    """Call accept(2), which a signal ends: Python's own would go on after it. Return a descriptor or -1, and errno."""
    if signal.getsignal(signal.SIGALRM) is not _ring:
        _catch_alarms()
    signal.setitimer(signal.ITIMER_REAL, _AT_MOST_S, _AT_MOST_S)
    try:
        return _accept4(number, None, None, socket.SOCK_CLOEXEC), ctypes.get_errno()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _sleeps() -> int:
    """Return how often this thread has let go of its processor to wait for something."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw


def _catch_alarms() -> None:
    """Have the signal end a call of the kernel, and nothing else. Programs that are started get it as ever."""
    assert threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGALRM, _ring)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


def _ring(number: int, frame: object) -> None:
    """Come too late, as a rule."""
