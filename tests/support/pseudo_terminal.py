"""A terminal of a test's own: a program runs in it, is typed to, and its screen is read as a person would."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Sequence
from typing import Any

from tests.support.eventually import eventually
from tests.support.site import REPOSITORY

# Becomes the program in a session of its own, whose terminal is the one on standard input.
_IN_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
_PLACED = re.compile(r"\x1b\[(\d+);1H")
_STYLE = re.compile(r"\x1b\[[\d;]*m")
LEAVE = "\x1b[?25h\x1b[?7h\x1b[?1049l"


class PseudoTerminal:
    """Runs one program; what it sends is read all the time, so that it never waits for its reader."""

    def __init__(self, command: Sequence[str], columns: int = 80, rows: int = 24, **environment: str) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, rows)
        self.modes = self._modes()
        kept = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        self.program = subprocess.Popen(
            [sys.executable, "-c", _IN_TERMINAL, *command],
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, cwd=REPOSITORY,
            env={**kept, "TERM": "xterm-256color", **environment},
        )  # fmt: skip
        self._sent = bytearray()
        self._over = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def resize(self, columns: int, rows: int) -> None:
        """Give the window another size; the kernel tells the program."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Send what a keyboard would."""
        os.write(self._ours, keys.encode())

    @property
    def sent(self) -> str:
        """Everything it ever sent."""
        return bytes(self._sent).decode("utf-8", "replace")

    @property
    def screen(self) -> str:
        """What the live screen shows now; empty while it is not there."""
        text = self.sent
        began = text.rfind("\x1b[?1049h")
        if began < 0 or LEAVE in text[began:]:
            return ""
        rows: dict[int, str] = {}
        # Text before the first place is that of the modes.
        _, *parts = _PLACED.split(_STYLE.sub("", text[began:]))
        for number, part in zip(map(int, parts[::2]), parts[1::2], strict=True):
            if part.startswith("\x1b[J"):
                rows = {row: line for row, line in rows.items() if row < number}
            elif part.startswith("\x1b[2K"):
                rows[number] = part.removeprefix("\x1b[2K").replace("\x1b[?7l\x1b[?25l", "")
        return "\n".join(rows[number].rstrip() for number in sorted(rows))

    def await_shown(self, *texts: str, without: str | None = None, within: float = 60.0) -> str:
        """Wait until the live screen shows all of these texts, and not the other one; returns the screen.

        What is drawn at once is read in parts: of one text that is there it does not follow that the rest is.
        """

        def seen() -> str:
            screen = self.screen
            for text in texts:
                assert text in screen, f"no {text!r} in\n{screen}"
            assert without is None or without not in screen, f"{without!r} in\n{screen}"
            return screen

        return eventually(seen, within)

    def await_end(self) -> int:
        """How the program ended."""
        return self.program.wait(60)

    @property
    def restored(self) -> bool:
        """True when the terminal is as it was before the program: its modes, its screen, its cursor."""
        return self._modes() == self.modes and self.sent.rfind(LEAVE) > self.sent.rfind("\x1b[?1049h")

    def close(self) -> None:
        """End the program and its group; what a shell runs beside it ends with the terminal."""
        if self.program.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has no group of its own yet
                os.killpg(self.program.pid, signal.SIGKILL)
            self.program.kill()
            self.program.wait(20)
        self._over.set()
        self._reader.join(20)
        os.close(self._ours)
        os.close(self._theirs)

    def _modes(self) -> list[Any]:
        return termios.tcgetattr(self._theirs)

    def _read(self) -> None:
        while not self._over.is_set():
            if select.select([self._ours], [], [], 0.1)[0]:
                self._sent += os.read(self._ours, 65536)
