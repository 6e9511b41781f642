"""Run event loops that go on where the kernel lets their user wait for no more descriptors by epoll(7)."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from reconciler.linux.readiness import Readiness

T = TypeVar("T")


class _Selector(selectors.EpollSelector):
    _selector_cls = Readiness


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=_loop) as runner:
        return runner.run(main)


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(_Selector())
