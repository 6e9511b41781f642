"""Write a path for people: without the `..` that the place of a manifest brings into it."""

import os


def readable_path(path: str | os.PathLike[str]) -> str:
    """Return the path without `.` and `..`, unless a symbolic link makes it lead elsewhere that way."""
    written = os.fspath(path)
    short = os.path.normpath(written)
    return short if os.path.realpath(short) == os.path.realpath(written) else written
