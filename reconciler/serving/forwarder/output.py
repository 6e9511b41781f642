"""Pass what a program prints on to the app's log, and remember its last lines.

A disk that takes no more costs what is printed, not the program: it never waits for its log.
"""

import contextlib
import os
import re
import threading
from collections import deque

from reconciler.linux.regular_files import append_to

_LINES = 60
_LONGEST = 400
_CHUNK = 64 * 1024
_SAYS_WHY = re.compile(
    r"(?:(?<![\w.:])[A-Za-z_][\w.:]*(?:Error|Exception)\b"
    r"|(?i:panic|fatal|error|cannot|could not|unable)\b|(?<!\S)\S+: not found)"
)
_FRAME = re.compile(r"\s+(?:at |from |\.\.\. )|\s*[\^~]+\s*$|\s*(?:Node\.js v|throw )")


class Output:
    """What comes out of the pipe `reading`, written to the log at `path`, which is opened again by `reopen`."""

    def __init__(self, reading: int, path: str) -> None:
        self._reading = reading
        self._path = path
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._unended = b""
        self._thread = threading.Thread(target=self._copy, daemon=True)
        self._thread.start()

    def reopen(self) -> None:
        """Go on in the file that is at the log's path now."""
        with contextlib.suppress(OSError):
            opened = append_to(self._path, 0o600)
            os.dup2(opened, 1)
            os.dup2(opened, 2)
            os.close(opened)

    def ended(self, at_most_s: float) -> None:
        """Wait for the rest of what a program printed that has ended; what it started may keep the pipe open."""
        self._thread.join(at_most_s)

    def why(self) -> str:
        """Return the line that most likely says why the program ended, "" if it said nothing."""
        lines = [line.strip() for line in self._lines if line.strip() and not _FRAME.match(line)]
        begins = [line for line in lines if _SAYS_WHY.match(line)]
        chosen = (begins or [line for line in lines if _SAYS_WHY.search(line)] or lines)[-1:]
        return chosen[0][:_LONGEST] if chosen else ""

    def _copy(self) -> None:
        while data := self._read():
            *lines, self._unended = (self._unended[-_CHUNK:] + data).split(b"\n")
            self._lines.extend(line[:_LONGEST].decode("utf-8", "replace") for line in lines[-_LINES:])
            while data:
                try:
                    data = data[os.write(1, data) :]
                except OSError:
                    break
        if self._unended:
            self._lines.append(self._unended[:_LONGEST].decode("utf-8", "replace"))

    def _read(self) -> bytes:
        with contextlib.suppress(OSError):
            return os.read(self._reading, _CHUNK)
        return b""
