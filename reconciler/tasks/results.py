"""Read what the runner of a task left about its end. An app may have written the file: every value is checked."""

import math
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.regular_files import read_record

_MOST_BYTES = 1 << 16
_ASKS_WITHIN_S = 600.0
_LONGEST_NUMBER = 2**62
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How the command of a task ended: by an exit `code` or by a `signal`, when, after how long, and what it said last.

    `error` is why it could not be run at all, `exceeded` which limit it did not keep to. `ended_at` is
    wall-clock seconds, `peak_memory` and `size` are bytes.
    """

    code: int | None
    signal: int | None
    timed_out: bool
    cancelled: bool
    took_s: float
    ended_at: float
    peak_memory: int
    size: int
    error: str
    said: str
    exceeded: str = ""


def read_result(file: Path, task: str) -> Result | None:
    """Return the result of a task, None while there is none, or if it is none that a runner wrote of this task."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = read_record(file, _MOST_BYTES)
        if found["id"] != task:
            return None
        return Result(
            code=_number(found["code"], 255),
            signal=_number(found["signal"], 127),
            timed_out=found["timed_out"] is True,
            cancelled=found["cancelled"] is True,
            took_s=_duration(found["took_s"]),
            ended_at=_duration(found["ended_at"]),
            peak_memory=_number(found["peak_memory"], _LONGEST_NUMBER) or 0,
            size=_number(found["size"], _LONGEST_NUMBER) or 0,
            error=printable(str(found["error"])),
            said=printable(str(found["said"])),
        )
    return None


def forget_result(file: Path) -> None:
    """Remove the result of a task that is on record, and its claim."""
    for each in (file, claim_of(file)):
        with suppress(OSError):
            _remove(each)


def forget_results(directory: Path, kept: Collection[str], now: float) -> None:
    """Remove what runners and terminals left, but for that of what is `kept`, and of a terminal that may ask soon."""
    with suppress(OSError):
        for file in sorted(directory.iterdir()):
            with suppress(OSError):
                name = file.name.partition(".")[0]
                is_new = name.startswith("terminal-") and abs(now - file.lstat().st_mtime) < _ASKS_WITHIN_S
                if name not in kept and not is_new:
                    _remove(file)


def _remove(file: Path) -> None:
    """Remove a file, or a directory that an app put in its place. Raises OSError."""
    try:
        file.unlink(missing_ok=True)
    except IsADirectoryError:
        from reconciler.linux.remove_tree import remove_tree  # no task makes one by accident

        remove_tree(file)


def claim_of(file: Path) -> Path:
    """Return the file that the runner creates before it begins, and renames into the result."""
    return file.with_name(f"{file.name}.draft")


def printable(text: str) -> str:
    """Return a text without control characters, but for the ends of its lines and tabs."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def _number(value: Any, most: int) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(value)
    return int(value)


def _duration(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise ValueError(value)
    return float(value)
