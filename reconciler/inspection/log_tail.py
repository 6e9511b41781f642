"""Read the last lines of one log, and follow it, for a screen or a program that shows a limited number of lines."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

from reconciler.inspection.log_files import LogFiles
from reconciler.inspection.log_history import Arriving, Wanted, last_lines
from reconciler.inspection.log_lines import Line
from reconciler.inspection.printable import coloured
from reconciler.serving.log_times import KnownTimes

MOST_LINES = 2000
_MOST_BYTES = 512 * 1024
_POLL_S = 1.0


def tail(log: Path, count: int, *, fold: bool = False) -> list[str]:
    """Return the last lines, none if the log does not exist; with `fold`, failed starts folded and no colours.

    Raises OSError if it is unreadable.
    """
    with LogFiles(log) as files:
        return [_text(line, fold) for line in _last(files, log, count, fold)]


async def follow(log: Path, count: int, *, fold: bool = False) -> AsyncIterator[list[str] | None]:
    """Yield the last lines, then those that are appended; None whenever nothing was appended for a moment."""
    files = await asyncio.to_thread(LogFiles, log)
    with files:
        if lines := await asyncio.to_thread(_last, files, log, count, fold):
            yield [_text(line, fold) for line in lines]
        files.skip_to_sizes()
        arriving = Arriving(Wanted(stream=log.stem, fold=fold))
        while True:
            raw = _read(files)
            found = arriving.taken(raw, time.time())  # noqa: TID251  shown to people
            if found:
                yield [_text(line, fold) for line in found[-MOST_LINES:]]
            elif not raw:
                yield None
            await asyncio.sleep(0.1 if raw or found else _POLL_S)


def _last(files: LogFiles, log: Path, count: int, fold: bool) -> list[Line]:
    return last_lines(files, KnownTimes(log.parent), Wanted(stream=log.stem, fold=fold), count, _MOST_BYTES)


def _read(files: LogFiles) -> list[bytes]:
    try:
        return files.read()
    except OSError:  # unreadable for now
        return []


def _text(line: Line, fold: bool) -> str:
    return coloured(line.shown, keep=False) if fold else line.text
