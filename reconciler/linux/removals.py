"""Remove what programs wrote, in threads of its own: however much it is, it waits for no one and no one waits for it.

What is removed disappears at once, by a rename. A thread that is under way ends with the process; what it leaves is
found by `leftovers`.
"""

import asyncio
from pathlib import Path

from reconciler.linux.daemon_threads import DaemonThreads
from reconciler.linux.files import set_aside
from reconciler.linux.remove_tree import remove_tree

_THREADS = 2
_MOMENT_S = 2.0  # a process that ends soon leaves little; what others left takes no longer than this


class Removals:
    """Removes directories, one after the other in each of a few threads, which are started when first needed."""

    def __init__(self) -> None:
        self._threads = DaemonThreads("remove", _THREADS)
        self._pending: dict[Path, asyncio.Future[bool]] = {}

    def begin(self, path: Path) -> None:
        """Set a directory aside, or whatever is at this path, and remove it soon. Raises OSError, RuntimeError."""
        self._begun(path)

    async def remove(self, path: Path) -> None:
        """Set a directory aside at once, and wait a moment for its removal. Raises OSError, RuntimeError."""
        if (begun := self._begun(path)) is not None:
            await asyncio.wait((begun,), timeout=_MOMENT_S)

    def _begun(self, path: Path) -> "asyncio.Future[bool] | None":
        """Begin to remove what is at a path, None if there is nothing."""
        gone = set_aside(path)
        if gone is not None and gone not in self._pending:
            self._pending[gone] = removed = asyncio.wrap_future(self._threads.run(lambda: remove_tree(gone)))
            removed.add_done_callback(lambda _: self._pending.pop(gone))
        return None if gone is None else self._pending[gone]
