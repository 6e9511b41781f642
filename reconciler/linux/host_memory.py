"""Read how much memory this host has, and how much of it programs may still take."""

from contextlib import suppress

from reconciler.linux.proc_files import read_proc


def host_memory() -> tuple[int | None, int | None]:
    """Return the bytes of memory in all, and those to be had without swapping; None where the kernel does not tell."""
    found: dict[str, int] = {}
    with suppress(OSError, ValueError):
        for line in read_proc("/proc/meminfo").splitlines():
            words = line.split()
            if len(words) > 1:
                found[words[0].rstrip(":")] = int(words[1]) * 1024
    return found.get("MemTotal"), found.get("MemAvailable")
