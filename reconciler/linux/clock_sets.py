"""Notice that the wall clock was set, or that the host slept: by a timer that the kernel cancels then.

It is timerfd_create(2) with TFD_TIMER_CANCEL_ON_SET. A clock that is only slowed down or sped up causes nothing.
"""

import asyncio
import os
import struct
from contextlib import suppress

from reconciler.linux.kernel_calls import call_libc

_CLOCK_REALTIME = 0
_ABSTIME, _CANCEL_ON_SET = 1, 2
_NEVER_S = 1 << 33  # a moment more than two centuries from now
_ITIMERSPEC = struct.Struct("qqqq")


class ClockSets:
    """Sets `happened` on the running loop whenever the wall clock was set. Raises OSError if the kernel cannot tell."""

    def __init__(self) -> None:
        self.happened = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._timer = call_libc("timerfd_create", _CLOCK_REALTIME, os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self._arm()
        except OSError:
            os.close(self._timer)
            raise
        self._loop.add_reader(self._timer, self.read)

    def read(self) -> None:
        """Learn what the kernel has to say of the timer, and wait for the next time."""
        with suppress(OSError):  # ECANCELED: the clock was set
            os.read(self._timer, 8)
        self._arm()
        self.happened.set()

    def close(self) -> None:
        """Notice nothing any more."""
        self._loop.remove_reader(self._timer)
        os.close(self._timer)

    def _arm(self) -> None:
        call_libc("timerfd_settime", self._timer, _ABSTIME | _CANCEL_ON_SET, _ITIMERSPEC.pack(0, 0, _NEVER_S, 0), None)
