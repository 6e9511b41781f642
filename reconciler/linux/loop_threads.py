"""The threads of an event loop, for `asyncio.to_thread`: work that hangs keeps neither others' work nor the process."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from reconciler.linux.daemon_threads import DaemonThreads

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 8
_AT_ALL = 64
_SETTLES_WITHIN_S = 5.0


class LoopThreads(ThreadPoolExecutor):
    """What `loop.set_default_executor` takes, which is a ThreadPoolExecutor and no other executor."""

    def __init__(self) -> None:
        super().__init__(1)  # it starts no thread of its own
        self._work = DaemonThreads("work", _MOST, at_all=_AT_ALL, least=1)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Run a function in a thread; raises RuntimeError if none can be started."""
        return self._work.run(partial(fn, *args, **kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for what is under way, but not for long: what hangs may never end."""
        if wait:
            self._work.settle(_SETTLES_WITHIN_S)
        super().shutdown(wait=False, cancel_futures=cancel_futures)
