"""The locks of processes of which there must never be two: held by whatever of one is alive, freed by the kernel.

The lock is an flock on a descriptor that the process and all its children inherit. The daemon takes it, hands it over
and closes its own copy: whatever ends in between, the kernel frees it with the last that holds it.
"""

import os
from contextlib import suppress
from pathlib import Path

from reconciler.linux.file_lock import try_lock
from reconciler.state.paths import StatePaths


class SingleLocks:
    """The locks of single processes, by app and process."""

    def __init__(self, paths: StatePaths) -> None:
        self._paths = paths

    def is_held(self, app: str, process: str) -> bool:
        """Return whether something holds the lock of a process."""
        try:
            lock = try_lock(self._file(app, process))
        except FileNotFoundError:
            return False
        except OSError:
            return True  # what cannot be told apart is not started twice
        if lock is None:
            return True
        os.close(lock)
        return False

    def take(self, app: str, process: str) -> int | None:
        """Take the lock of a process and return its descriptor, None if something holds it. Raises OSError."""
        file = self._file(app, process)
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return try_lock(file)

    def forget(self, app: str, process: str) -> None:
        """Remove the lock of a process of which nothing is left."""
        with suppress(OSError):
            self._file(app, process).unlink()

    def _file(self, app: str, process: str) -> Path:
        return self._paths.app(app) / "locks" / f"{process}.lock"
