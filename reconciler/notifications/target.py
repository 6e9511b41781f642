"""Define a notification target: a value of the host's settings that parses and sends itself.

A target shows no secret when it is printed. Its `repr` identifies what it was sent in the state database.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from reconciler.documents.encoding import decoded
from reconciler.notifications.digest import Entry

if TYPE_CHECKING:
    from reconciler.notifications.own_thread import OwnThread


class NotSent(Exception):
    """The target did not take the message; says why, and contains nothing secret."""


class Target(Protocol):
    """One type of target. The fields of its settings, beside `to`, are REQUIRED and OPTIONAL."""

    REQUIRED: ClassVar[tuple[str, ...]]
    OPTIONAL: ClassVar[tuple[str, ...]]

    @classmethod
    def problem(cls, fields: Mapping[str, Any]) -> str:
        """Return what is wrong with fields that the schema accepts, empty when nothing is."""
        ...

    @classmethod
    def parse(cls, fields: Mapping[str, Any], folder: str) -> Self:
        """Return the target of valid fields; paths in them are relative to `folder`."""
        ...

    async def send(self, entries: Sequence[Entry], host: str, thread: "OwnThread", within_s: float) -> None:
        """Try once to send a message; raises NotSent, TimeoutError or OSError. What blocks runs in `thread`."""
        ...


def content_of(file: Path) -> str:
    """Return the text of a file, such as a password; raises NotSent."""
    try:
        return decoded(file.read_bytes()).strip()
    except (OSError, ValueError):
        raise NotSent(f"cannot read {file}") from None


def reason(error: object) -> str:
    """Return what the kernel said of an error, or its name: its text may quote what was sent."""
    return (isinstance(error, OSError) and error.strerror) or type(error).__name__
