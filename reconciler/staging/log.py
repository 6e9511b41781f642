"""The staging log of an app: every step, its command, its output and how long it took, with secrets masked."""

import re
from datetime import datetime
from pathlib import Path
from typing import Self, TextIO

_CREDENTIALS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)[^/\s@]+@", re.IGNORECASE)


def masked(text: str, secrets: frozenset[str] = frozenset()) -> str:
    """The text with the user and password of every URL in it replaced, and each of `secrets` wherever it is."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub(r"\g<scheme>***@", text)


class Log:
    """Lines appended to a file that the operator reads with `logs --which staging`; `secrets` never get there."""

    def __init__(self, path: Path, secrets: frozenset[str] = frozenset()) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._secrets = secrets
        self._file: TextIO = path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def masked(self, text: str) -> str:
        """The text as it may be shown."""
        return masked(text, self._secrets)

    def say(self, text: str) -> None:
        """A step of ours, with the time of day."""
        self._file.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {self.masked(text)}\n")

    def repeat(self, line: str) -> None:
        """A line of a command's output."""
        self._file.write(f"    {self.masked(line)}\n")
