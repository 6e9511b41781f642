"""Say in a message why the kernel, or what stands for it, refused something."""

import errno
import os

_FULL = {errno.ENFILE: "the host", errno.EMFILE: "the daemon"}


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


def as_internal(error: BaseException) -> str:
    """Return what is said of an error that was not expected.

    >>> as_internal(KeyError("x"))
    "internal error in reconciler, please report it: KeyError('x')"
    """
    return f"internal error in reconciler, please report it: {error!r}"


def without_files(error: BaseException | None) -> str:
    """Return that there is no room for one more open file if an error comes of that, "" if it does not.

    >>> without_files(OSError(23, "Too many open files in system"))
    'the host has no room for more open files'
    >>> without_files(FileNotFoundError(2, "No such file or directory"))
    ''
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return f"{_FULL[error.errno]} has no room for more open files"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return ""
