"""The staging log of an app: every step, its command, its output and how long it took, with secrets masked."""

import re
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Self

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def masked(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """The text with the user and password of every URL in it replaced, and each of `secrets` wherever it is."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub(r"\g<scheme>***@", text)


class Log:
    """Lines appended to a file that the operator reads with `logs --which staging`; `secrets` never get there.

    A file that cannot be written costs its lines, not what they are about.
    """

    def __init__(self, path: Path, secrets: frozenset[str] = frozenset()) -> None:
        self._secrets = secrets
        self._file: FileIO | None = None
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def masked(self, text: str) -> str:
        """The text as it may be shown."""
        return masked(text, self._secrets)

    def say(self, text: str) -> None:
        """A step of ours, with the time of day."""
        self._write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {self.masked(text)}\n")

    def repeat(self, line: str) -> None:
        """A line of a command's output."""
        self._write(f"    {self.masked(line)}\n")

    def _write(self, text: str) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text.encode(errors="backslashreplace"))
