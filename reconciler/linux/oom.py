"""Tell whether a SIGKILL was likely the kernel's, for want of memory, from its count of such kills.

Which process it killed stands in the kernel's log only, which not every user may read.
"""

from pathlib import Path

from reconciler.linux.proc_files import read_proc

_COUNTS = Path("/proc/vmstat")  # proc(5); `oom_kill` since Linux 4.13


class OomKillCounter:
    """The count as it was when last reset; `counts` is the file in which the kernel gives it."""

    def __init__(self, counts: Path = _COUNTS) -> None:
        self._counts = counts
        self._before = self._count()

    def look(self) -> None:
        """Take the kills until now as known; called every half minute or so."""
        self._before = self._count()

    def struck(self) -> bool:
        """Whether the kernel has killed a process for want of memory since the last reset."""
        return self._count() > self._before

    def _count(self) -> int:
        try:
            return int(read_proc(self._counts).partition("\noom_kill ")[2].partition("\n")[0])
        except (OSError, ValueError):
            return 0
