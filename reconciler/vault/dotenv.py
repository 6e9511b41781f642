"""Files that hold secrets in; their values out, or why they cannot be used. Blocking, and bounded.

What a file holds never stands in a message.
"""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

_LARGEST = 1024 * 1024
_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)")


class Unusable(Exception):
    """A file that cannot be read or does not say what it must."""


def content_of(file: Path) -> str:
    """Return the text of a file of at most 1 MiB. Raises Unusable."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        with open(descriptor, "rb") as opened:  # noqa: PTH123  a descriptor, not a path
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise Unusable(f"{file} is not a file")
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise Unusable(f"cannot read {file}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise Unusable(f"{file} is larger than 1 MiB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Unusable(f"{file} is not UTF-8 text") from None
    if "\0" in text:
        raise Unusable(f"{file} holds a NUL character")
    return text


def value_of(file: Path) -> str:
    """Return the text of a file without its last line break, which editors add. Raises Unusable."""
    return content_of(file).removesuffix("\n").removesuffix("\r")


def pairs_of(file: Path, text: str) -> dict[str, str]:
    """Return the values of lines of NAME=VALUE, the last of each name. Raises Unusable.

    Empty lines and those that begin with `#` say nothing; `export` before a name and quotes around a value are taken
    off. Nothing is expanded: a `$` is a `$`.
    """
    return dict(_pairs(file, text))


def _pairs(file: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        told = line.strip()
        if not told or told.startswith("#"):
            continue
        found = _LINE.fullmatch(told)
        if found is None:
            raise Unusable(f"{file}:{number}: expected NAME=VALUE")
        value = found["value"]
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        yield found["name"], value
