"""Read from proc(5) which process a pid names: its start time, group, parent and user; and which boot this is.

A process is identified by pid, start time and boot id together; a pid alone is never trusted.
"""

from reconciler.linux.proc_files import read_proc


def boot_id() -> str:
    """Return the kernel's random id of this boot."""
    return read_proc("/proc/sys/kernel/random/boot_id").strip()


def start_ticks(pid: int) -> int | None:
    """Return when a process started, in clock ticks since boot (proc(5), field 22 of stat); None when it is gone."""
    stat = stat_of(pid)
    return None if stat is None or stat[0] in "ZX" else int(stat[19])


def group_of(pid: int) -> int | None:
    """Return the process group of a process, None when it is gone."""
    stat = stat_of(pid)
    return None if stat is None else int(stat[2])


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
    try:
        with open(f"/proc/{pid}/status", "rb") as status:  # noqa: PTH123  as cheap as can be
            users = next((line.split()[1:] for line in status if line.startswith(b"Uid:")), [])
    except OSError:
        return None
    return int(users[0]) if len(set(users)) == 1 else None
