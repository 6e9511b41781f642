"""File systems that are mounted: whether inotify hears of every change below a directory."""

import os
import re
from collections.abc import Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass

# Only this machine changes these, so every change passes the kernel that watches. Others change under their mount, as
# network file systems do, or have numbers of devices that the table does not tell, as btrfs.
_LOCAL = frozenset(("ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs"))
_ESCAPED = re.compile(r"[\\ \t\n]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mounts:
    """The table of mounts at one moment; two are equal if nothing was mounted or unmounted in between."""

    table: str = field(repr=False)
    types: Mapping[str, str] = field(compare=False, repr=False)
    points: tuple[str, ...] = field(compare=False, repr=False)

    @classmethod
    def now(cls) -> "Mounts":
        """Read the table of this process; empty where there is none."""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
                return cls.of(file.read())
        except OSError:
            return cls.of("")

    @classmethod
    def of(cls, table: str) -> "Mounts":
        """Take a table as the kernel writes it: proc_pid_mountinfo(5)."""
        lines = [line.split(" ") for line in table.splitlines()]
        return cls(
            table=table,
            types={line[2]: line[line.index("-", 6) + 1] for line in lines},
            points=tuple(line[4] for line in lines),
        )

    def notify_of_all_below(self, path: str) -> bool:
        """Return whether watches on a directory, and on those below it, hear of each change of its files."""
        try:
            device = os.stat(path).st_dev  # noqa: PTH116  text
        except (OSError, ValueError):
            return False
        below = _ESCAPED.sub(lambda found: f"\\{ord(found[0]):03o}", path.rstrip("/")) + "/"
        is_local = self.types.get(f"{os.major(device)}:{os.minor(device)}") in _LOCAL
        return is_local and not any(point.startswith(below) for point in self.points)
