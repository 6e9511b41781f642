"""Lines that wait for the target of the log drain: a bounded number of bytes, of which the oldest are dropped."""

import errno
from collections import deque
from typing import NamedTuple

from reconciler.daemon.drains.followed_logs import FollowedLog
from reconciler.daemon.drains.targets import Target
from reconciler.inspection.log_files import LogFile


class _Waiting(NamedTuple):
    line: bytes
    log: FollowedLog
    file: LogFile
    end: int

    def settle(self) -> None:
        """Let the log be read on behind this line."""
        self.log.waiting -= 1
        self.file.settled = self.end


class Backlog:
    """Sends lines in order. `dropped` counts those that found no room, `failure` says why the last try failed.

    A target that may lose lines without an error gets a single one after a failure, and the others once that is known
    to have arrived, or at least not to have been refused.
    """

    def __init__(self, target: Target, *, most_bytes: int) -> None:
        self._target = target
        self._most_bytes = most_bytes
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._last: _Waiting | None = None
        self._is_on_trial = False
        self.sent = 0
        self.dropped = 0
        self.failure = ""

    def begin(self) -> None:
        """Try the target again, with what waits."""
        before, self.failure = self.failure, ""
        self._is_on_trial = bool(before) and self._target.may_lose and not self._is_on_trial
        self._send_waiting(check=True)
        if self._is_on_trial and not self.failure:
            self.failure = before

    def add(self, line: bytes, log: FollowedLog, file: LogFile, end: int) -> None:
        """Take a line, and send it unless the target has failed since `begin`."""
        log.waiting += 1
        self._waiting.append(_Waiting(line, log, file, end))
        self._bytes += len(line)
        if not self.failure:
            self._send_waiting()
        while self._bytes > self._most_bytes:
            self._taken().settle()
            self.dropped += 1

    def _send_waiting(self, *, check: bool = False) -> None:
        try:
            if check:
                self._target.check()
            while self._waiting:
                self._target.send(self._waiting[0].line)
                self._last = self._taken()
                self._last.settle()
                self.sent += 1
                if self._is_on_trial:
                    return
        except OSError as error:
            self.failure = _said(error)
            self._is_on_trial = False
            if self._target.may_lose and self._last is not None and error.errno == errno.ECONNREFUSED:
                self._waiting.appendleft(self._last)
                self._last.log.waiting += 1
                self._bytes += len(self._last.line)
            self._last = None

    def _taken(self) -> _Waiting:
        first = self._waiting.popleft()
        self._bytes -= len(first.line)
        return first


def _said(error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return "it takes no more"
    return error.strerror or str(error) or type(error).__name__
