"""End what an instance started and left: a process in a session of its own outlives the instance's group.

The process table is read in a thread, once for all instances that ended in the same moment.
"""

import asyncio
import contextlib
import os
import signal

from reconciler.serving.marks import marked, read_marks

_SOON_S = 0.2
_ROUNDS = 10


class Leftovers:
    """The processes that bear the mark of an instance that is gone, or of an app that is."""

    def __init__(self, state_id: str) -> None:
        self._state_id = state_id
        self._instances: set[str] = set()
        self._apps: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None

    def of_instance(self, instance: str) -> None:
        """End soon what an instance left that has ended."""
        self._instances.add(instance)
        self._later()

    def of_app(self, app: str) -> None:
        """End soon whatever is left of an app of which no instance is left."""
        self._apps.add(app)
        self._later()

    def keep(self, app: str) -> None:
        """Leave an app alone, as it is about to start an instance again."""
        self._apps.discard(app)

    def _later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_SOON_S, self._begin)

    def _begin(self) -> None:
        self._timer = None
        instances, apps = frozenset(self._instances), frozenset(self._apps)
        self._instances.clear()
        self._apps.clear()
        with contextlib.suppress(RuntimeError):  # no thread left: the next daemon ends them
            done = asyncio.get_running_loop().run_in_executor(None, end_marked, self._state_id, instances, apps)
            done.add_done_callback(lambda done: done.cancelled() or done.exception())


def end_marked(state_id: str, instances: frozenset[str], apps: frozenset[str]) -> int:
    """Send SIGKILL to every process marked with one of these, and to what it starts meanwhile; return their number."""
    ended: set[int] = set()
    for _ in range(_ROUNDS):
        found = [each for each in marked(state_id) if each.instance in instances or each.app in apps]
        for process in found:
            with contextlib.suppress(OSError):
                descriptor = os.pidfd_open(process.pid)
                try:
                    if read_marks(process.pid, state_id) == process:  # not another one that was given its pid
                        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                        ended.add(process.pid)
                finally:
                    os.close(descriptor)
        if not found:
            break
    return len(ended)
