"""Draw on the whole screen of a terminal without flicker, and read its keys.

However the program ends or is suspended (Ctrl-C, Ctrl-Z, SIGTERM, SIGHUP, an error), the terminal is restored.
"""

import contextlib
import copy
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Any, Self

from reconciler.cli.live.keys import Keys
from reconciler.cli.table import cut

# The alternate screen; no wrapping at the right edge and no cursor; and back.
_ENTER, _MODES, _LEAVE = "\x1b[?1049h", "\x1b[?7l\x1b[?25l", "\x1b[?25h\x1b[?7h\x1b[?1049l"
_REST_OF_SCREEN = "\x1b[J"
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_WATCHED = (*_ENDING, signal.SIGINT, signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH)
_ESC_ALONE_S = 0.05
_LEAVING = frozenset({"q", "esc", "ctrl-c"})


class Terminal:
    """The terminal on standard output, with keys from standard input; a context manager that restores it."""

    def __init__(self) -> None:
        self._keys = Keys()
        self._shown: list[str] = []
        self._input = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._modes_before: list[Any] = []
        self._handlers_before: dict[signal.Signals, Any] = {}
        self._reading = self._writing = self._woken_before = -1

    def __enter__(self) -> Self:
        self._reading, self._writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._handlers_before = {number: signal.signal(number, _noted) for number in _WATCHED}
        self._woken_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hide()
        signal.set_wakeup_fd(self._woken_before)
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        writing, self._writing = self._writing, -1
        os.close(self._reading)
        os.close(writing)

    @property
    def size(self) -> tuple[int, int]:
        """The size in columns and rows."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            return 80, 24
        return size.columns or 80, size.lines or 24

    def draw(self, lines: Sequence[str]) -> None:
        """Show these lines, which must fit; only lines that changed are sent."""
        if len(lines) < len(self._shown):
            self._shown = []
        changed = [
            f"\x1b[{number + 1};1H\x1b[2K{line}"
            for number, line in enumerate(lines)
            if number >= len(self._shown) or self._shown[number] != line
        ]
        if len(self._shown) != len(lines) < self.size[1]:
            changed.append(f"\x1b[{len(lines) + 1};1H{_REST_OF_SCREEN}")
        self._shown = list(lines)
        _write("".join(changed))

    def wait(self, seconds: float) -> list[str]:
        """Return the keys pressed as soon as there are any; none on a timeout or when the screen must be redrawn.

        Raises SystemExit on a signal that ends the program.
        """
        sources = [self._reading] if self._input is None else [self._reading, self._input]
        ready = select.select(sources, [], [], max(0.0, seconds))[0]
        if self._reading in ready and (keys := self._signalled()):
            return keys
        if self._input is not None and self._input in ready:
            return self._typed(self._input)
        return []

    def wake(self) -> None:
        """End `wait`, from any thread."""
        with contextlib.suppress(OSError):  # full, so it wakes anyway; or closed, so nothing waits
            os.write(self._writing, b"\0")

    def _typed(self, source: int) -> list[str]:
        keys = self._keys.feed(_read(source))
        while self._keys.waiting:
            if select.select([source], [], [], _ESC_ALONE_S)[0]:
                keys += self._keys.feed(_read(source))
            else:
                keys += self._keys.flush()
                break
        return keys

    def _signalled(self) -> list[str]:
        numbers = os.read(self._reading, 512)
        for ending in _ENDING:
            if ending in numbers:
                raise SystemExit(128 + ending)
        if signal.SIGTSTP in numbers:
            self._suspend()
        elif signal.SIGCONT in numbers:
            self._set_modes()
        if signal.SIGWINCH in numbers:
            self._shown = []
        return ["ctrl-c"] if signal.SIGINT in numbers else []

    def _suspend(self) -> None:
        """Stop as any program does, and return after SIGCONT."""
        self._hide()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, _noted)
        self._show()

    def _show(self) -> None:
        if self._input is not None:
            self._modes_before = termios.tcgetattr(self._input)
        _write(_ENTER)
        self._set_modes()

    def _set_modes(self) -> None:
        """Receive keys at once and without echo; those that send signals still do."""
        if self._input is not None:
            modes = copy.deepcopy(self._modes_before)
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self._input, termios.TCSADRAIN, modes)
        self._shown = []
        _write(_MODES)

    def _hide(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # the terminal was closed
            if self._input is not None:
                termios.tcsetattr(self._input, termios.TCSAFLUSH, self._modes_before)
            _write(_LEAVE)


def live(draw: Callable[[int], list[str]], refresh_s: float) -> None:
    """Redraw every `refresh_s` and whenever the window is resized, until q, Esc or Ctrl-C.

    `draw` gets the number of columns.
    """
    with Terminal() as terminal:
        while True:
            columns, rows = terminal.size
            lines = draw(columns)
            if len(lines) > rows:
                lines = [*lines[: rows - 1], cut(f"… and {len(lines) - rows + 1} more lines", columns)]
            terminal.draw(lines)
            until = time.monotonic() + refresh_s
            while time.monotonic() < until and terminal.size == (columns, rows):
                if _LEAVING.intersection(terminal.wait(until - time.monotonic())):
                    return


def _noted(number: int, frame: FrameType | None) -> None:
    """Do nothing: the signal's number arrives through the wake-up descriptor."""


def _read(source: int) -> bytes:
    with contextlib.suppress(OSError):
        if sent := os.read(source, 1024):
            return sent
    raise SystemExit(128 + signal.SIGHUP)  # the terminal was closed


def _write(text: str) -> None:
    out = sys.stdout
    out.flush()
    left = memoryview(text.encode(out.encoding or "utf-8", "replace"))
    while left:
        left = left[os.write(out.fileno(), left) :]
