"""The staging log of an app: every step with its command, output and duration.

No secret is written: what is secret is masked before it reaches the file.
"""

import re
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Self

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def masked(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """Replace the user and password of every URL in a text, and each of `secrets` wherever it occurs."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub(r"\g<scheme>***@", text)


class Log:
    """Appends lines to a file that the operator reads with `logs --which staging`; `secrets` are masked.

    If the file cannot be written, the lines are lost and staging goes on.
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
        """Mask the secrets of a text."""
        return masked(text, self._secrets)

    def step(self, text: str) -> None:
        """Write a step of staging, with the time of day."""
        self._write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {self.masked(text)}\n")

    def output(self, line: str) -> None:
        """Write a line of a command's output."""
        self._write(f"    {self.masked(line)}\n")

    def _write(self, text: str) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text.encode(errors="backslashreplace"))
