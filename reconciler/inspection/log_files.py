"""An app's log files: their last lines, and what is appended, read in bounded pieces."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from reconciler.linux.files import opened
from reconciler.serving.logs import is_replaced

MOST_LINES = 2000
_MOST_BYTES = 512 * 1024
_POLL_S = 1.0
_AT_ONCE = 64 * 1024
_LONGEST_LINE = 8192


def tail(log: Path, count: int) -> list[str]:
    """The last lines, nothing where nothing was ever written; raises OSError."""
    try:
        with opened(log) as file:
            return _last(file, count)
    except FileNotFoundError:
        return []


async def follow(log: Path, count: int) -> AsyncIterator[list[str] | None]:
    """The last lines, then those that come; None when nothing came for a moment. Rotation is followed."""
    file: BinaryIO | None = None
    rest = b""
    try:
        while True:
            if file is None:
                file, lines = await asyncio.to_thread(_opened, log, count)
                count = MOST_LINES  # of a successor, everything
                if lines:
                    yield lines
            chunk = b"" if file is None else file.read(_AT_ONCE)
            if chunk:
                *whole, rest = (rest + chunk).split(b"\n")
                if len(rest) > _LONGEST_LINE:
                    whole, rest = [*whole, rest], b""
                if whole:
                    yield [_text(part) for part in whole[-MOST_LINES:]]
            else:
                if file is not None and is_replaced(file, log):
                    file.close()
                    file, rest = None, b""
                    continue
                yield None
            await asyncio.sleep(0.1 if chunk else _POLL_S)
    finally:
        if file is not None:
            file.close()


def _opened(log: Path, count: int) -> tuple[BinaryIO | None, list[str]]:
    try:
        file = opened(log)
    except OSError:
        return None, []
    return file, _last(file, count)


def _last(file: BinaryIO, count: int) -> list[str]:
    """The last whole lines; the file is left behind them."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - _MOST_BYTES)
    file.seek(start)
    lines = file.read(end - start).split(b"\n")
    if not lines[-1]:
        lines.pop()
    if start > 0 and lines:
        del lines[0]
    return [_text(part) for part in lines[len(lines) - min(count, len(lines)) :]]


def _text(part: bytes) -> str:
    return part[:_LONGEST_LINE].decode("utf-8", "replace")
