"""Say in a message why the kernel, or what stands for it, refused something."""

import os


def in_words(error: BaseException) -> str:
    """Return the kernel's words for an error, without its number and the file; else its text, never nothing.

    An OSError that a library raised with a text of its own has no words of the kernel.

    >>> in_words(FileNotFoundError(2, "No such file or directory", "/srv/x"))
    'No such file or directory'
    >>> in_words(TimeoutError())
    'TimeoutError'
    """
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def with_file(error: OSError) -> str:
    """Return the kernel's words for an error and the file that it is about, if that is known.

    >>> with_file(PermissionError(13, "Permission denied", "/srv/x"))
    'Permission denied: /srv/x'
    """
    file = error.filename if isinstance(error.filename, str | bytes) else ""
    return f"{in_words(error)}{f': {os.fsdecode(file)}' if file else ''}"
