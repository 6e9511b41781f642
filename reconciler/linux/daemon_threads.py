"""Run blocking work in a bounded number of threads that nothing waits for when the process ends.

The threads of asyncio and of `concurrent.futures` are joined at exit, so that one that hangs keeps the process. What
hangs, as a file of a server that does not answer does, keeps its thread, too: a few such files would end all such work.
"""

import contextlib
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_SETTLING_S = 0.01


class DaemonThreads:
    """At most `most` threads, started when needed; work beyond that waits in order.

    One whose work has hung for `hangs_s`, as its thread took no time of a processor, is not counted any more, so that
    others take what waits. There are never more than `at_all` threads, `most` without it.

    A thread ends when it has had nothing to do for `kept_s`: its stack is memory that an idle daemon can do without.
    The last `least` stay, so that there are some where the kernel gives no other.
    """

    def __init__(  # noqa: PLR0913  numbers, each named
        self,
        name: str,
        most: int,
        *,
        kept_s: float = 10.0,
        at_all: int | None = None,
        hangs_s: float = 1.0,
        least: int = 0,
    ) -> None:
        self._name = name
        self._most = most
        self._at_all = most if at_all is None else at_all
        self._kept_s = kept_s
        self._hangs_s = hangs_s
        self._least = least
        self._numbers = itertools.count()
        self._changing = threading.Condition()
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._idle = 0
        self._started = 0
        self._working: dict[int, Future[Any]] = {}  # by the thread's identifier
        self._hung: set[int] = set()  # of those that work
        self._is_watched = False

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Return the future of what `work` returns; raises RuntimeError if there is no thread, nor can be one."""
        future: Future[T] = Future()
        with self._changing:
            if self._idle <= len(self._waiting):
                if self._started < self._allowed():
                    try:
                        self._start()
                    except RuntimeError:
                        if not self._started:
                            raise
                elif not self._is_watched and self._started < self._at_all:
                    with contextlib.suppress(RuntimeError):  # no thread: as if none hung
                        threading.Thread(target=self._watch, name=f"{self._name} watch", daemon=True).start()
                        self._is_watched = True
            self._waiting.append((future, work))
            self._changing.notify()
        return future

    def settle(self, within_s: float) -> None:
        """Wait until all work is done but what hangs, at most so long. Blocks."""
        deadline, before, look_at = time.monotonic() + within_s, dict[int, tuple[Future[Any], float]](), 0.0
        while (now_s := time.monotonic()) < deadline:
            with self._changing:
                if not self._working and not self._waiting:
                    return
                if now_s >= look_at:
                    now, look_at = self._work(), now_s + self._hangs_s
                    if now == before and not self._waiting:
                        return
                    before = now
            time.sleep(_SETTLING_S)

    def _work(self) -> dict[int, tuple[Future[Any], float]]:
        """Return the work of each thread, and how long the thread has had a processor; what hangs stays the same."""
        return {thread: (future, _processor_s(thread)) for thread, future in self._working.items()}

    def _allowed(self) -> int:
        """Return how many threads there may be: twice as many more as hang, as what waits may hang as well."""
        return min(self._most + 2 * len(self._hung), self._at_all)

    def _start(self) -> None:
        threading.Thread(target=self._serve, name=f"{self._name}-{next(self._numbers)}", daemon=True).start()
        self._started += 1
        self._idle += 1

    def _watch(self) -> None:
        """Start as many threads for what waits as there are whose work hangs, until nothing waits."""
        before: dict[int, tuple[Future[Any], float]] = {}
        while True:
            with self._changing:
                if not self._waiting:
                    self._is_watched = False
                    return
                now = self._work()
                self._hung = {thread for thread, work in now.items() if before.get(thread) == work}
                with contextlib.suppress(RuntimeError):
                    for _ in range(min(self._allowed() - self._started, len(self._waiting) - self._idle)):
                        self._start()
            before = now
            time.sleep(self._hangs_s)

    def _serve(self) -> None:
        thread = threading.get_ident()
        while True:
            with self._changing:
                while not self._waiting:
                    # A notice may reach a thread whose wait is just over: what waits is looked at once more.
                    told = self._changing.wait(self._kept_s if self._started > self._least else None)
                    if not told and not self._waiting and self._started > self._least:
                        self._idle -= 1
                        self._started -= 1
                        return
                future, work = self._waiting.popleft()
                self._idle -= 1
                self._working[thread] = future
            _settle(future, work)
            del future, work  # nothing is held while there is nothing to do
            with self._changing:
                del self._working[thread]
                self._hung.discard(thread)
                if self._started > self._allowed():  # what hung went on
                    self._started -= 1
                    return
                self._idle += 1


def _processor_s(thread: int) -> float:
    """Return how long a thread that runs has had a processor."""
    return time.clock_gettime(time.pthread_getcpuclockid(thread))


def _settle(future: "Future[T]", work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001  raised where the result is awaited
        future.set_exception(error)
    else:
        future.set_result(result)
