"""The kernel's count of those it has killed for want of memory in; whether a SIGKILL is likely one of them out.

Whom it killed it tells only its own log, which not everybody may read.
"""

from pathlib import Path

_COUNTS = Path("/proc/vmstat")  # proc(5); `oom_kill` since Linux 4.13


class OomKillCounter:
    """Remembers the count of a while ago; `counts` is where the kernel gives it."""

    def __init__(self, counts: Path = _COUNTS) -> None:
        self._counts = counts
        self._before = self._count()

    def look(self) -> None:
        """What was killed until now explains nothing any more; call it every half minute or so."""
        self._before = self._count()

    def struck(self) -> bool:
        """True when something was killed for want of memory since the last look."""
        return self._count() > self._before

    def _count(self) -> int:
        try:
            for line in self._counts.read_text().splitlines():
                name, _, number = line.partition(" ")
                if name == "oom_kill":
                    return int(number)
        except (OSError, ValueError):
            pass
        return 0
