"""Decide whether a program may get clients, and tell the daemon by files in the instance's directory, as workers do.

What stands in these files is what gunicorn's workers write, so that the daemon reads both alike.
"""

import contextlib
import os
import re
import sys

from reconciler.linux.regular_files import written_anew

_FIRST_LINES = 300
_TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


class Refused(Exception):
    """The program failed its check; the text is the reason that `status` shows."""


class Gate:
    """The gate of one instance: `path` is None where accepting connections is enough, `told` what was said last."""

    def __init__(  # noqa: PLR0913  what the daemon wrote about it, each named
        self,
        *,
        directory: str,
        wakeup_file: str,
        path: str | None,
        host: str,
        timeout_s: float,
        start_timeout_s: float,
    ) -> None:
        self.path = path
        self.host = host
        self.told = ""
        self._directory = directory
        self._wakeup_file = wakeup_file
        self._timeout_s = timeout_s
        self._start_timeout_s = start_timeout_s

    def patience_s(self) -> float:
        """Return how long one try may take: the first may fill a program's caches, which an end would undo."""
        return max(self._timeout_s, min(self._start_timeout_s / 3.0, 20.0))

    def late(self) -> str:
        """Return what the time limit of a try says."""
        return f"GET {self.path} did not answer within {self._timeout_s:g} s"

    def check_time(self, took_s: float) -> None:
        """Raise Refused if an answer took longer than a probe may take."""
        if took_s > self._timeout_s:
            raise Refused(self.late())

    def judge(self, status: str, body: bytes) -> None:
        """Raise Refused unless a status line is one of success."""
        if not status.startswith("2"):
            said = _readable(body[:_FIRST_LINES].decode("utf-8", "replace"))
            raise Refused(f"GET {self.path} answered {status}{': ' + said if said else ''}")

    def tell(self, reason: str) -> None:
        """Record why the program is not ready yet."""
        if reason != self.told:
            self.told = reason
            self.log(f"not ready: {reason}")
            self._say(f"waiting-{os.getpid()}", reason)
            self.ring()

    def reject(self, reason: str) -> None:
        """Record why the program can never be ready."""
        self.tell(reason)
        self._say("refused", reason)

    def log(self, text: str) -> None:
        """Write a line of ours into the log."""
        with contextlib.suppress(OSError):
            sys.stderr.write(f"reconciler: {text}\n")
            sys.stderr.flush()

    def let_in(self, pid: int) -> None:
        """Record that the program with this pid gets clients from now on."""
        self.rename(str(os.getpid()), str(pid))
        self.remove(f"waiting-{os.getpid()}")
        if self.told:
            self.log("ready")
        self.ring()

    def is_unwanted(self) -> bool:
        """Whether the daemon has given the instance up; it looks for who has passed only after saying so."""
        return os.path.exists(f"{self._directory}/unwanted")  # noqa: PTH110  that module is large

    def ring(self) -> None:
        """Wake the daemon, if one runs; another finds the files when it starts."""
        with contextlib.suppress(OSError):
            os.close(os.open(self._wakeup_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))

    def write(self, name: str, text: str) -> None:
        """Write a file with all of its text at once. Raises OSError."""
        place, draft = f"{self._directory}/{name}", f"{self._directory}/draft-{os.getpid()}"
        opened = written_anew(draft)
        try:
            os.write(opened, text.encode("utf-8", "replace"))
        finally:
            os.close(opened)
        os.rename(draft, place)  # noqa: PTH104  that module is large

    def name_program(self, name: str) -> None:
        """Record what messages call the program."""
        self._say("program", name)

    def _say(self, name: str, text: str) -> None:
        """Write what only messages need: a disk that takes no more keeps no program from serving."""
        with contextlib.suppress(OSError):
            self.write(name, text)

    def rename(self, name: str, other: str) -> None:
        """Rename a file, if it is there."""
        with contextlib.suppress(OSError):
            os.rename(f"{self._directory}/{name}", f"{self._directory}/{other}")  # noqa: PTH104

    def remove(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(OSError):
            os.unlink(f"{self._directory}/{name}")  # noqa: PTH108


def _readable(body: str) -> str:
    """Return the text of a body on one line; of HTML, only the title."""
    if body.lstrip().startswith("<"):
        title = _TITLE.search(body)
        body = title[1] if title else ""
    return " ".join(body.split())
