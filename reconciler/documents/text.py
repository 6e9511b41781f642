"""Decode a file's bytes, or return the problem that prevents it; a file that is too large is not decoded."""

import re

from reconciler.documents.encoding import Undecodable, decoded
from reconciler.documents.problem import Problem

LARGEST_MANIFEST = 256 * 1024

# The characters that YAML allows; for any other, the parser's own message would be less helpful.
_ASCII = re.compile("[^\t\n\r\x20-\x7e]")
_UNPRINTABLE = "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"


def text_of(file: str, content: bytes, *, remedy: str = "") -> str | Problem:
    """Return the file's text without a byte order mark; `remedy` says what to do about an empty one."""
    if len(content) > LARGEST_MANIFEST:
        return _problem(file, "", too_large(len(content)))
    try:
        text = decoded(content)
    except Undecodable as error:
        return Problem(file=file, line=error.line, column=error.column, path="", message=f"is {error}")
    if not text.strip():
        return _problem(file, "", f"is empty{remedy and f'; {remedy}'}")
    # To compile the other one takes as long as to read a hundred manifests, which are ASCII.
    if found := _ASCII.search(text) if text.isascii() else re.search(_UNPRINTABLE, text):
        return _problem(file, text[: found.start()], f"contains the control character U+{ord(found[0]):04X}; remove it")
    return text


def too_large(size: int) -> str:
    """Return the message for a file of `size` bytes."""
    return f"is {_shown(size)}; the limit is {LARGEST_MANIFEST // 1024} KiB"


def _shown(size: int) -> str:
    return f"{size / 1024**2:.1f} MiB" if size >= 1024**2 else f"{size / 1024:.1f} KiB"


def _problem(file: str, before: str, message: str) -> Problem:
    line, column = _position(before)
    return Problem(file=file, line=line, column=column, path="", message=message)


def _position(before: str) -> tuple[int, int]:
    lines = before.split("\n")
    return len(lines), len(lines[-1]) + 1
