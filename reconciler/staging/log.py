"""The staging log of an app: every step, its command, its output and how long it took, with secrets masked."""

from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Self

from reconciler.vault.secret_patterns import LineRedactor, redacted


class Log:
    """Lines appended to a file that the operator reads with `logs --which staging`; `secrets` never get there.

    A file that cannot be written costs its lines, not what they are about.
    """

    def __init__(self, path: Path, secrets: frozenset[str] = frozenset()) -> None:
        self._secrets = secrets
        self._output = LineRedactor(secrets)
        self._file: FileIO | None = None
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def say(self, text: str) -> None:
        """A step of ours, with the time of day."""
        self._write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {redacted(text, self._secrets)}\n")

    def repeat(self, line: str) -> str:
        """Write a line of a command's output; return it as it may be shown."""
        shown = self._output.redacted(line)
        if shown:
            self._write(f"    {shown}\n")
        return shown

    def _write(self, text: str) -> None:
        if self._file is not None:
            with suppress(OSError):
                self._file.write(text.encode(errors="backslashreplace"))
