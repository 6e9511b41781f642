"""What of this host anything isolated may see, and what none of it may."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from reconciler.planning.isolation.confinement import Mount, Part
from reconciler.state.paths import StatePaths

_OF_THE_KERNEL = ("/sys/devices/system/cpu", "/sys/devices/system/node")
_RESOLVER = "/etc/resolv.conf"  # a link to what /run has, where systemd resolves names


class HostSight:
    """`secrets` are files of the daemon that no app may read.

    `mounts` are what apps may see of the host, wherever links in it lead. Without the `required` parts nothing starts.
    `shut` can be opened by none of them, and `alone` are where each app has a directory of its own.
    """

    def __init__(
        self,
        paths: StatePaths,
        *,
        secrets: Sequence[Path] = (),
        mounts: Sequence[str] = (),
        required: tuple[Part, ...] = (),
    ) -> None:
        self.secrets = tuple(map(str, secrets))
        self.required = required
        self.shut = str(paths.database), str(paths.control)
        self.alone = str(paths.apps), str(paths.home("any").parent)
        self._mounts = [os.path.realpath(path) for path in mounts]

    def allowed(self, mounts: Iterable[Mount]) -> list[Mount]:
        """Return the mounts that are where the host's settings allow it: a link that an app made may lead anywhere."""
        return [mount for mount in mounts if self._is_allowed(os.path.realpath(mount.path))]

    def _is_allowed(self, found: str) -> bool:
        return any(f"{found}/".startswith(f"{each}/") for each in self._mounts)

    def hidden(self) -> tuple[str, ...]:
        """Return what is left out of whatever is seen."""
        from reconciler.isolation.fence import SECRET  # apps without isolation see all there is

        return (*SECRET, *self.secrets)


def of_the_system() -> tuple[str, ...]:
    """Return what each isolated program sees of the system."""
    from reconciler.isolation.fence import SYSTEM  # apps without isolation see all there is

    return *SYSTEM, *((_RESOLVER,) if Path(_RESOLVER).is_symlink() else ()), *_OF_THE_KERNEL
