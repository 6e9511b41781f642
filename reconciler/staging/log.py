"""The staging log of an app: every step with its command, output and duration.

No secret is written: what is secret is masked before it reaches the file.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Self

from reconciler.linux.regular_files import append_to
from reconciler.vault.secret_patterns import LineRedactor, redacted

# What stands before each line of a command's output.
INDENT = "    "
_LARGEST = 16 * 2**20
_FORMS = ("file://", "")


class Log:
    """Appends lines to a file that the operator reads with `logs --which staging`; `secrets` are masked.

    `redact` takes further secrets out of a line. If the file cannot be written, or is full,
    the lines are lost and staging goes on.
    """

    def __init__(
        self, path: Path, secrets: frozenset[str] = frozenset(), redact: Callable[[str], str] = lambda line: line
    ) -> None:
        self._secrets = secrets
        self._redact = redact
        self._output = LineRedactor(secrets)
        self._names: list[tuple[str, str]] = []
        self._file: FileIO | None = None
        self._left = _LARGEST
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_file() and path.stat().st_size > _LARGEST:
                path.replace(path.with_name(f"{path.name}.1"))
            self._file = FileIO(append_to(path), "ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def name(self, path: Path, shown: str) -> None:
        """Show a path that an operator does not know as `shown`, and what is below it relative to that, from now on."""
        for known in dict.fromkeys((str(path), os.path.realpath(path))):
            self._names.append((known, shown))

    def step(self, text: str) -> None:
        """Write a step of staging, with the time of day."""
        shown = self._named(self._redact(redacted(text, self._secrets)))
        self._write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S} {shown}\n")

    def output(self, line: str) -> str:
        """Write a line of a command's output; return it as it may be shown."""
        shown = self._named(self._redact(self._output.redacted(line)))
        if shown:
            self._write(f"{INDENT}{shown}\n")
        return shown

    def _named(self, text: str) -> str:
        for path, name in self._names:
            if path not in text:
                continue
            for end, instead in (("/", "" if name == "." else f"{name}/"), ("", name)):
                for form in _FORMS:
                    text = text.replace(f"{form}{path}{end}", instead)
        return text

    def _write(self, text: str) -> None:
        if self._file is None or self._left <= 0:
            return
        content = text.encode(errors="backslashreplace")
        self._left -= len(content)
        if self._left <= 0:
            content = f"    … nothing more is kept of this: the log has {_LARGEST // 2**20} MiB\n".encode()
        with suppress(OSError):
            self._file.write(content)

    def copy(self, text: str) -> None:
        """Write lines that another log has made ready."""
        self._write(text)


class CopiedLog(Log):
    """A log whose lines are written to another one as well."""

    def __init__(self, path: Path, secrets: frozenset[str], redact: Callable[[str], str], *, copy: Log) -> None:
        super().__init__(path, secrets, redact)
        self._copy = copy

    def _write(self, text: str) -> None:
        super()._write(text)
        self._copy.copy(text)
