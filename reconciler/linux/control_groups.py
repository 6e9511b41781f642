"""Control groups of the kernel, of both versions: where they are mounted, which of them a process is in, and one group.

cgroups(7). Version 1 has a hierarchy for each controller, version 2 one for all; both may be mounted at once.
"""

import contextlib
import functools
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.linux.proc_files import read_proc

Version: TypeAlias = Literal[1, 2]

PROCS = "cgroup.procs"
# Of version 1. The kernel moves the one thread that writes 0 without waiting for all other processes of the host.
TASKS = "tasks"
_OCTAL = re.compile(r"\\([0-7]{3})")
_ROUNDS = 20
_ROUND_S = 0.01
_MOST_PIDS = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Hierarchy:
    """A mounted hierarchy, and the group in it that a process is in.

    `controllers` are those of version 1; version 2 tells those of each group in a file. `own` is the group's path below
    the mount, "/" for the root.
    """

    version: Version
    controllers: frozenset[str]
    mount: Path
    own: str

    @property
    def group(self) -> "Group":
        """The group that the process is in."""
        return Group(self.mount / self.own.lstrip("/"), self.version)


def hierarchies(pid: int | str = "self", mounts: str = "", name: str = "") -> tuple[Hierarchy, ...]:
    """Return every hierarchy that is mounted, with the group of a process in it; none of a process that is gone.

    `mounts` is the table of mounts, read now unless given. With a `name`, only of groups that are called so.
    """
    try:
        return parsed(mounts or mount_table(), read_proc(f"/proc/{pid}/cgroup"), name)
    except OSError:
        return ()


def mount_table() -> str:
    """Return the table of mounts, for many calls of `hierarchies`; "" if it cannot be read now."""
    with contextlib.suppress(OSError):
        return read_proc("/proc/self/mountinfo")
    return ""


def parsed(mounts: str, groups: str, name: str = "") -> tuple[Hierarchy, ...]:
    """Return the hierarchies of a table of mounts, proc_pid_mountinfo(5), that a process is in by its /proc/PID/cgroup.

    A group outside of what is mounted, or of another namespace, is passed over, as is one that was removed. With a
    `name`, so is every group that is called otherwise.
    """
    ending = f"/{name}" if name else ""
    own = {controllers: path for controllers, path in _memberships(groups) if path.endswith(ending)}
    found: dict[frozenset[str], Hierarchy] = {}
    for version, controllers, root, mount in _mounts(mounts):
        path = own.get(controllers)
        if path is None or controllers in found:
            continue
        below = path if root == "/" else path.removeprefix(root) if f"{path}/".startswith(f"{root}/") else None
        if below is not None and not below.startswith("/.."):
            found[controllers] = Hierarchy(version=version, controllers=controllers, mount=mount, own=below or "/")
    return tuple(found.values())


def _memberships(groups: str) -> Iterator[tuple[frozenset[str], str]]:
    for line in groups.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3 and "name=" not in parts[1] and not parts[2].endswith(" (deleted)"):
            yield _named(parts[1]), parts[2]


@functools.lru_cache(maxsize=32)
def _named(text: str) -> frozenset[str]:
    """Return the controllers of a line, which are those of every process."""
    return frozenset(filter(None, text.split(",")))


@functools.lru_cache(maxsize=2)
def _mounts(table: str) -> tuple[tuple[Version, frozenset[str], str, Path], ...]:
    """Return the mounts of a table, which seldom changes and is asked for with every process."""
    return tuple(_parsed_mounts(table))


def _parsed_mounts(table: str) -> Iterator[tuple[Version, frozenset[str], str, Path]]:
    for line in table.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in {"cgroup", "cgroup2"}:
            continue
        root, mount = (_OCTAL.sub(lambda found: chr(int(found[1], 8)), text) for text in fields[3:5])
        if kind[0] == "cgroup2":
            yield 2, frozenset(), root, Path(mount)
        elif "name=" not in kind[2]:
            yield 1, frozenset(kind[2].split(",")) & _CONTROLLERS, root, Path(mount)


# Of version 1, as its options name them.
_CONTROLLERS = frozenset(
    ("blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "net_cls", "net_prio",
     "perf_event", "pids", "rdma")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Group:
    """One group: a directory of a hierarchy."""

    path: Path
    version: Version

    @property
    def entrance(self) -> Path:
        """The file to which a process of one thread writes 0 to enter."""
        return self.path / (TASKS if self.version == 1 else PROCS)

    def make(self) -> None:
        """Create it, and the groups above it; one that exists stays as it is. Raises OSError."""
        for _ in range(3):  # an empty group above it may be removed meanwhile
            with contextlib.suppress(FileNotFoundError):
                self.path.mkdir(mode=0o755, parents=True, exist_ok=True)
                return
        self.path.mkdir(mode=0o755, parents=True, exist_ok=True)

    def exists(self) -> bool:
        """Whether it is there."""
        return self.path.is_dir()

    def read(self, name: str) -> str | None:
        """Return what a file of it says, None if it has none."""
        try:
            return read_proc(f"{self.path}/{name}")
        except OSError:
            return None

    def number(self, name: str, key: str = "") -> int | None:
        """Return the number in a file, or of a `key` in it; None without one."""
        for line in (self.read(name) or "").splitlines():
            words = line.split()
            if (words[:-1] == [key] if key else len(words) == 1) and words[-1].isdecimal():
                return int(words[-1])
        return None

    def write(self, name: str, value: str) -> None:
        """Write to a file of it. Raises OSError."""
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)

    def add(self, pid: int) -> bool:
        """Put a process into it; return whether it is in it."""
        try:
            self.write(PROCS, str(pid))
        except OSError:
            return False
        return True

    def pids(self) -> frozenset[int]:
        """Return every process in it, and in the groups below it."""
        found = set[int]()
        for group in self._tree():
            found.update(int(line) for line in (group.read(PROCS) or "").split()[:_MOST_PIDS] if line.isdecimal())
        return frozenset(found)

    def is_populated(self) -> bool:
        """Whether a process is in it, or below it; one that has ended counts no more."""
        if self.version == 2 and (known := self.number("cgroup.events", "populated")) is not None:
            return known > 0
        return bool(self.pids())

    def kill(self) -> None:
        """Send SIGKILL to every process in it and below it: at once where the kernel can, else round by round.

        With `cgroup.kill` (Linux 5.14) none escapes, however fast it forks; a freezer does the same for version 1. It
        may take some rounds until the last is gone: `end` waits for that.
        """
        with contextlib.suppress(OSError):
            self.write("cgroup.kill", "1")
            return
        frozen = self._freeze("FROZEN", "1")
        try:
            for pid in self.pids():
                self._kill_one(pid)
        finally:
            if frozen:
                self._freeze("THAWED", "0")

    def end(self) -> bool:
        """Kill whatever is in it until nothing is left, and remove it; return whether it is gone. Blocks."""
        for _ in range(_ROUNDS):
            if self.is_populated():
                self.kill()
            elif self.remove():
                return True
            time.sleep(_ROUND_S)
        return self.remove()

    def remove(self) -> bool:
        """Remove it, with the groups below it; return whether it is gone. One with a process in it stays."""
        for group in sorted(self._tree(), key=lambda each: len(each.path.parts), reverse=True):
            with contextlib.suppress(OSError):
                group.path.rmdir()
        return not self.exists()

    def _tree(self) -> list["Group"]:
        """Return it, and the groups below it: an app that may, makes some."""
        return [Group(Path(path), self.version) for path, _, _ in os.walk(self.path)]

    def _freeze(self, state: str, flag: str) -> bool:
        with contextlib.suppress(OSError):
            self.write("cgroup.freeze" if self.version == 2 else "freezer.state", flag if self.version == 2 else state)
            return True
        return False

    def _kill_one(self, pid: int) -> None:
        """Kill a process that is still in this group, whatever has its number by now."""
        with contextlib.suppress(OSError):
            descriptor = os.pidfd_open(pid)
            try:
                if any(
                    f"/{self.path.name}/" in f"{path}/" for _, path in _memberships(read_proc(f"/proc/{pid}/cgroup"))
                ):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)
