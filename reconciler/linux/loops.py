"""Run event loops that go on where the kernel lets their user wait for no more descriptors by epoll(7).

Signals that come faster than a loop takes them are not told by Python: that takes a lock within the handler of a
signal, and the next signal that comes at that moment would wait for it for ever, with all threads of the process.
"""

import asyncio
import selectors
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from reconciler.linux.readiness import Readiness

T = TypeVar("T")


class _Selector(selectors.EpollSelector):
    _selector_cls = Readiness


class _Loop(asyncio.SelectorEventLoop):
    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:  # type: ignore[override]
        super().add_signal_handler(sig, callback, *args)
        signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)  # type: ignore[attr-defined]  # as there


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(main)


def _loop() -> asyncio.AbstractEventLoop:
    return _Loop(_Selector())
