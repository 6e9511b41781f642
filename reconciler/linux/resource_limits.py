"""Change limits of processes that run: prlimit(2)."""

import resource
from collections.abc import Iterable
from contextlib import suppress


def limit_files(pids: Iterable[int], files: tuple[int, int]) -> bool:
    """Set the soft and the hard limit of open files of each process; return whether the kernel took them all."""
    taken = [_limit(pid, resource.RLIMIT_NOFILE, files) for pid in pids]
    return all(taken)


def lift_files(pids: Iterable[int], files: tuple[int, int]) -> bool:
    """Give each process that may not open as many files as `files` allow that many; return whether the kernel did.

    A limit of the manifest is a hard one: a process whose hard limit is not lower keeps what it has set by itself.
    """
    lower = [(pid, found) for pid in pids if (found := files_limits(pid)) is not None and found[1] < files[1]]
    taken = [_limit(pid, resource.RLIMIT_NOFILE, (max(soft, files[0]), files[1])) for pid, (soft, _) in lower]
    return all(taken)


def limit_data(pids: Iterable[int], size: int | None) -> bool:
    """Limit the private memory of each process by itself, in bytes; None gives it this process's own limit again."""
    most = _own_data() if size is None else size
    # The soft limit only: to raise a hard one again takes a right that most users do not have.
    taken = [
        _limit(pid, resource.RLIMIT_DATA, (_least(most, hard), hard))
        for pid in pids
        if (hard := _hard_data(pid)) is not None
    ]
    return all(taken)


def data_limit(pid: int) -> int | None:
    """Return the limit of a process's private memory in bytes; None if it has that of this process, or is gone."""
    with suppress(OSError):
        soft, _ = resource.prlimit(pid, resource.RLIMIT_DATA)
        return None if soft == _own_data() else soft
    return None


def files_limits(pid: int) -> tuple[int, int] | None:
    """Return the soft and the hard limit of a process's open files; None if it is gone, or another user's."""
    with suppress(OSError):
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return None


def _own_data() -> int:
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def _hard_data(pid: int) -> int | None:
    with suppress(OSError):
        return resource.prlimit(pid, resource.RLIMIT_DATA)[1]
    return None


def _least(most: int, hard: int) -> int:
    """Return the lower of two limits, of which either may be none."""
    if resource.RLIM_INFINITY in {most, hard}:
        return hard if most == resource.RLIM_INFINITY else most
    return min(most, hard)


def _limit(pid: int, which: int, limits: tuple[int, int]) -> bool:
    try:
        if resource.prlimit(pid, which) != limits:
            resource.prlimit(pid, which, limits)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return True
