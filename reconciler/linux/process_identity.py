"""Read from proc(5) which process a pid names: its start time, group, parent and user; and which boot this is.

A process is identified by pid, start time and boot id together; a pid alone is never trusted.
"""

import os

from reconciler.linux.proc_files import proc_bytes, read_proc


def boot_id() -> str:
    """Return the kernel's random id of this boot."""
    return read_proc("/proc/sys/kernel/random/boot_id").strip()


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22 of stat); None when it is gone."""
    stat = stat_of(pid)
    return None if stat is None or stat[0] in "ZX" else int(stat[19])


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, None when it is gone."""
    stat = stat_of(pid)
    return None if stat is None else int(stat[1])


def stat_of(pid: int) -> list[str] | None:
    """Return the fields of a process's stat from the third on, its state; None when it is gone."""
    try:
        text = read_proc(f"/proc/{pid}/stat")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def owner_of(pid: int) -> int | None:
    """Return the user of a process, None when it is gone, or has more than one (real, effective, saved, file system).

    The owner of its directory in /proc would not do: that is root as soon as a process forbids to be traced.
    """
    users = set(_of_status(pid, b"Uid").split())
    return int(users.pop()) if len(users) == 1 else None


def has_processes(user: int) -> bool:
    """Return whether any process has this real user, by one call, however many there are: getpriority(2)."""
    try:
        os.getpriority(os.PRIO_USER, user if user < 1 << 31 else user - (1 << 32))  # the call takes it as an int
    except ProcessLookupError:
        return False
    return True


def user_and_group(pid: int) -> tuple[int, int] | None:
    """Return the real user and group of a process, by one look, None when it is gone."""
    found = _status(pid)
    users, groups = (_field(found, name).split() for name in (b"Uid", b"Gid"))
    return (int(users[0]), int(groups[0])) if users and groups else None


def catches(pid: int, number: int) -> bool | None:
    """Return whether a process has a handler of its own for a signal, None when it is gone."""
    caught = _of_status(pid, b"SigCgt")
    return bool(int(caught, 16) >> (number - 1) & 1) if caught else None


def status_number(pid: int, field: bytes) -> int:
    """Return a number of a process's status, 0 when it is gone."""
    found = _of_status(pid, field).split()
    return int(found[0]) if found else 0


def _of_status(pid: int, field: bytes) -> bytes:
    """Return a line of a process's status, b"" when it is gone."""
    return _field(_status(pid), field)


def _status(pid: int) -> bytes:
    try:
        return proc_bytes(f"/proc/{pid}/status")
    except OSError:
        return b""


def _field(status: bytes, name: bytes) -> bytes:
    return status.partition(b"\n%s:" % name)[2].partition(b"\n")[0]
