"""Decide the rights of an app's processes in one place: user, umask, descriptors, directories and environment.

What creates a file for an instance, or starts one, asks its sandbox. The launcher applies it inside the new
process, whichever way that was started, before any code of the app runs.
"""

import os
import resource
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import field, replace
from pathlib import Path

from reconciler.linux.dataclass import dataclass
from reconciler.linux.proc_files import read_proc
from reconciler.planning.isolation.limits import Held, Limit, Limits

SANDBOX_VARIABLE = "RECONCILER_SANDBOX"  # read, and taken out of the environment, by launcher.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A user and a group, by number."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """The rights of an instance. `owner` None is the daemon's own user; `nofile` are a soft and a hard limit.

    `data` is how many bytes of private memory each process may have, None without a limit.

    `private` is the mode of directories that only the instance's user enters, `readable` that of generated files which
    are no secret, `log` that of its log files. `environment` are
    the variables that every process starts with, and that anything else may override.
    """

    umask: int
    nofile: tuple[int, int]
    data: int | None = None
    owner: Owner | None = None
    private: int = 0o700
    readable: int = 0o644
    log: int = 0o600
    environment: Mapping[str, str] = field(default_factory=dict)

    def make_directory(self, path: Path) -> None:
        """Create a directory for the instance, with its parents; one that exists stays as it is. Raises OSError."""
        path.mkdir(mode=self.private, parents=True, exist_ok=True)
        if self.owner is not None:
            os.chown(path, self.owner.uid, self.owner.gid, follow_symlinks=False)

    def as_variable(self) -> str:
        """Encode for the launcher what a process applies to itself: umask, limits, then user and group if any.

        The limits are the two of open files and that of private memory, -1 for none.
        """
        owner = () if self.owner is None else (self.owner.uid, self.owner.gid)
        data = -1 if self.data is None else self.data
        return " ".join(map(str, (self.umask, *self.nofile, data, *owner)))

    def limited(self, limits: Limits, held: Mapping[Limit, Held]) -> "Sandbox":
        """Return the rights of an instance with these limits: those that hold for each process by itself."""
        files = self.nofile if limits.files is None else (min(limits.files, self.nofile[1]),) * 2
        return replace(self, nofile=files, data=limits.memory if held.get("memory") == "each" else None)


def todays_sandbox() -> Sandbox:
    """Return the rights of the daemon itself, which every app shares."""
    environment = {
        "LANG": os.environ.get("LANG", "C.UTF-8"),
        "PYTHONUNBUFFERED": "1",
        "SPT_NOENV": "1",  # setproctitle must not write over the marks that the process table shows
    }
    with suppress(KeyError):
        environment["TZ"] = os.environ["TZ"]
    return Sandbox(umask=_umask(), nofile=resource.getrlimit(resource.RLIMIT_NOFILE), environment=environment)


def _umask() -> int:
    """Return this process's umask, which umask(2) would only tell by changing it."""
    for line in read_proc("/proc/self/status").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
