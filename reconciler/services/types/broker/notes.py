"""What was asked of a broker, noted in the service's directory before it is asked: never what a broker gave.

A note decides one thing: whether what may be half made at the broker may be removed. What once was finished may hold
data or be in use by an app, so it is never removed because a later request about it went wrong.
"""

import contextlib
import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.error_words import in_words
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.services.provisioner import ServiceError

_MOST_OF_A_NOTE = 1 << 20

State: TypeAlias = Literal["begun", "orphan", "finished"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """One instance or binding: under which ids it is known, and how far it got.

    `parameters` is a fingerprint. `since_s` is when it was begun, in seconds since the machine started; after a reboot
    the time passed is told too short, never too long.
    """

    service_id: str
    plan_id: str
    parameters: str = ""
    state: State = "begun"
    since_s: float = 0.0

    def asks_the_same(self, other: "Note") -> bool:
        """Return whether both are about the same resource, however far it got."""
        return replace(self, state=other.state, since_s=other.since_s) == other

    def age_s(self) -> float:
        return max(0.0, uptime_s() - self.since_s)


def uptime_s() -> float:
    """Return the seconds since the machine booted, suspended time included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def read(file: Path) -> Note | None:
    """Read a note, None if there is none. Raises ServiceError if it cannot be read."""
    try:
        return Note(**read_record(file, _MOST_OF_A_NOTE))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise ServiceError(f"cannot read the request noted in {file}: {type(error).__name__}") from error


def write(file: Path, note: Note) -> None:
    """Write a note, complete or not at all. Raises ServiceError."""
    try:
        replace_file(file, json.dumps(asdict(note)))
    except OSError as error:
        raise ServiceError(f"cannot note the broker request in {file}: {in_words(error)}") from error


def forget(file: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        file.unlink()
