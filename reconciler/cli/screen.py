"""A whole screen drawn anew again and again, without a flicker, until Ctrl-C."""

import contextlib
import os
import select
import shutil
import signal
from collections.abc import Callable, Iterator

import click

from reconciler.cli.table import cut

_OTHER_SCREEN, _OWN_SCREEN = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_HOME, _REST_OF_LINE, _REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"


def live(draw: Callable[[int], list[str]], refresh_s: float, more: str = "") -> None:
    """Redraw in place on the alternate screen, and at once when the window changes its size.

    `draw` is given the columns there are; `more` says where lines are to be had that did not fit.
    """
    click.echo(_OTHER_SCREEN, nl=False)
    try:
        with _resizes() as resized:
            while True:
                click.echo(_frame(draw, more), nl=False)
                if select.select([resized], [], [], refresh_s)[0]:
                    os.read(resized, 512)
    except KeyboardInterrupt:
        pass
    finally:
        click.echo(_OWN_SCREEN, nl=False)


def _frame(draw: Callable[[int], list[str]], more: str) -> str:
    """One full screen, written over the last one: nothing is cleared first, so nothing flickers."""
    columns, rows = shutil.get_terminal_size()
    told = draw(columns)
    if len(told) > rows:
        told = [*told[: rows - 1], cut(f"… and {len(told) - rows + 1} more lines{more}", columns)]
    return _HOME + f"{_REST_OF_LINE}\r\n".join(told) + _REST_OF_LINE + _REST_OF_SCREEN


@contextlib.contextmanager
def _resizes() -> Iterator[int]:
    """A descriptor that becomes readable when the window changes its size."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGWINCH, before)
        os.close(reading)
        os.close(writing)
