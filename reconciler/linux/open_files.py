"""Open more files at once than a shell allows its programs."""

import contextlib
import resource


def allow_many_open_files() -> None:
    """Raise this process's limit of open files to the highest that it may set."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
