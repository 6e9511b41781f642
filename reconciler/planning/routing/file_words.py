"""Words of the configuration of a proxy that is told by a file, each of a grammar that no format can misread.

Every value is of a grammar without quotes, blanks, `$` and control characters, and stands in quotes all the same where
the format has them; a value that does not is refused, so that no byte of one ends up outside its string.
"""

import re

HEAD = "# Written by reconciler from the manifests of this host; edits are overwritten."
_WORD = re.compile(r"[A-Za-z0-9_.:/\[\]*~+@=,-]+")
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_.:/~+@=, -]*")


class Unquotable(ValueError):
    """A value that a format cannot hold for certain."""


def is_plain_path(path: str) -> bool:
    """Return whether every format can hold a path."""
    return _PLAIN_PATH.fullmatch(path) is not None


def word(text: str) -> str:
    """Return a text that can stand as it is. Raises Unquotable."""
    if not _WORD.fullmatch(text):
        raise Unquotable(f"{text!r} cannot stand in the configuration of a proxy")
    return text


def path_of(text: str) -> str:
    """Return a path in quotes. Raises Unquotable."""
    if not is_plain_path(text):
        raise Unquotable(f"{text!r} cannot stand in the configuration of a proxy")
    return f'"{text}"'
