"""Run blocking work in a bounded number of threads that nothing waits for when the process ends.

The threads of asyncio and of `concurrent.futures` are joined at exit, so that one that hangs keeps the process.
"""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """At most `most` threads, started when needed; work beyond that waits in order.

    A thread ends when it has had nothing to do for `kept_s`: its stack is memory that an idle daemon can do without.
    """

    def __init__(self, name: str, most: int, *, kept_s: float = 10.0) -> None:
        self._name = name
        self._most = most
        self._kept_s = kept_s
        self._numbers = itertools.count()
        self._changing = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._idle = 0
        self._started = 0

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Return the future of what `work` returns; raises RuntimeError if no thread can be started."""
        future: Future[T] = Future()
        with self._changing:
            if self._idle <= len(self._waiting) and self._started < self._most:
                threading.Thread(target=self._serve, name=f"{self._name}-{next(self._numbers)}", daemon=True).start()
                self._started += 1
                self._idle += 1
            self._waiting.append((future, work))
            self._changing.notify()
        return future

    def _serve(self) -> None:
        while True:
            with self._changing:
                while not self._waiting:
                    # A notice may reach a thread whose wait is just over: what waits is looked at once more.
                    if not self._changing.wait(self._kept_s) and not self._waiting:
                        self._idle -= 1
                        self._started -= 1
                        return
                future, work = self._waiting.popleft()
                self._idle -= 1
            _settle(future, work)
            del future, work  # nothing is held while there is nothing to do
            with self._changing:
                self._idle += 1


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
