"""The wake-ups of one World: names that may need something, between what notices it and the controller that acts.

A wake-up carries a name and nothing else, and many of one name are one. None is passed on before the queue is open:
as long as desired state is unknown, nothing that happens is a reason to act.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol


class Wakes(Protocol):
    """Whatever takes the name of something that may need to be looked at."""

    def wake(self, name: str) -> None:
        """Have this name looked at soon."""
        ...


@dataclass(frozen=True, slots=True)
class WakeRoutes:
    """Passes the names of apps to one queue, and those of their processes, `APP/PROCESS`, to another."""

    apps: Wakes
    processes: Wakes

    def wake(self, name: str) -> None:
        """Have this name looked at soon."""
        (self.processes if "/" in name else self.apps).wake(name)


class WakeQueue:
    """Built before whatever wakes and whatever is woken, and handed to both."""

    def __init__(self) -> None:
        self._wakeups: dict[str, asyncio.Event] = {}
        self._ignored: Collection[str] = ()
        self._start: Callable[[str, asyncio.Event], None] | None = None

    def wake(self, name: str) -> None:
        """Have this name looked at soon, unless it is ignored or the queue is closed."""
        if self._start is None or name in self._ignored:
            return
        wakeup = self._wakeups.get(name)
        if wakeup is None:
            wakeup = self._wakeups[name] = asyncio.Event()
            self._start(name, wakeup)
        wakeup.set()

    def ignore(self, names: Collection[str]) -> None:
        """Drop the wake-ups of these names, and only of these, from now on."""
        self._ignored = names

    def open(self, start: Callable[[str, asyncio.Event], None]) -> None:
        """Pass wake-ups on from now on; `start` gets each name that nothing waits for yet, and its event."""
        self._start = start

    def close(self) -> None:
        """Drop every wake-up from now on."""
        self._start = None

    def is_served(self, name: str) -> bool:
        """Return whether something waits for wake-ups of this name."""
        return name in self._wakeups

    def release(self, name: str) -> None:
        """Note that nothing waits for this name any more: its next wake-up starts it again."""
        del self._wakeups[name]
