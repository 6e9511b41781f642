"""Change limits of processes that run: prlimit(2)."""

import resource
from collections.abc import Iterable
from contextlib import suppress


def limit_files(pids: Iterable[int], files: tuple[int, int]) -> bool:
    """Set the soft and the hard limit of open files of each process; return whether the kernel took them all."""
    taken = [_limit(pid, resource.RLIMIT_NOFILE, files) for pid in pids]
    return all(taken)


def limit_data(pids: Iterable[int], size: int | None) -> bool:
    """Limit the private memory of each process by itself, in bytes; None lifts that."""
    most = resource.RLIM_INFINITY if size is None else size
    # The soft limit only: to raise a hard one again takes a right that most users do not have.
    taken = [_limit(pid, resource.RLIMIT_DATA, (most, resource.RLIM_INFINITY)) for pid in pids]
    return all(taken)


def data_limit(pid: int) -> int | None:
    """Return the limit of a process's private memory in bytes, None without one, or if it is gone."""
    with suppress(OSError):
        soft, _ = resource.prlimit(pid, resource.RLIMIT_DATA)
        return None if soft == resource.RLIM_INFINITY else soft
    return None


def files_limit(pid: int) -> int | None:
    """Return the soft limit of a process's open files; None if it is gone, or another user's."""
    with suppress(OSError):
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    return None


def _limit(pid: int, which: int, limits: tuple[int, int]) -> bool:
    try:
        if resource.prlimit(pid, which) != limits:
            resource.prlimit(pid, which, limits)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return True
