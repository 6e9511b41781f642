"""The wake-ups of one World: names that may need something, between what notices it and the controller that acts.

A wake-up carries a name and nothing else, and many of one name are one. None is passed on before the queue is open:
as long as desired state is unknown, nothing that happens is a reason to act.
"""

import asyncio
from collections.abc import Callable, Collection
from itertools import islice
from typing import Protocol

from reconciler.linux.dataclass import dataclass
from reconciler.linux.garbage import PacedCollections
from reconciler.linux.lean_event import LeanEvent

# Names looked at before the loop goes on with something else.
_AT_ONCE = 200
# What a step of work on a name makes of objects, beside a look that finds nothing.
_OF_WORK = 4


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
    """Built before whatever wakes and whatever is woken, and handed to both.

    `rests` says of a name that, while its plan stays the same, there is nothing to report of it.
    """

    def __init__(self) -> None:
        self.rests: Callable[[str], bool] = lambda _: False
        self._wakeups: dict[str, asyncio.Event] = {}
        self._ignored: Collection[str] = ()
        self._start: Callable[[str, asyncio.Event], None] | None = None
        self._unless: dict[str, Callable[[], bool]] = {}
        self._woken: dict[str, None] = {}
        self._collections = PacedCollections(every=_AT_ONCE)

    def wake(self, name: str) -> None:
        """Have this name looked at soon, unless it is ignored or the queue is closed."""
        if self._start is None or name in self._ignored:
            return
        if name in self._unless:
            if not self._woken:
                asyncio.get_running_loop().call_soon(self._pass_on)
            self._woken[name] = None
            return
        wakeup = self._wakeups.get(name)
        if wakeup is None:
            wakeup = self._wakeups[name] = LeanEvent()
            self._start(name, wakeup)
        wakeup.set()

    def look_again(self, name: str) -> None:
        """Have this name looked at soon, and reported again unless it rests, though nothing of it was noticed."""
        if self.rests(name):
            self.wake(name)
        elif self._start is not None and name not in self._ignored and name in self._wakeups:
            self._wakeups[name].set()

    def wake_unless(self, name: str, is_unchanged: Callable[[], bool]) -> None:
        """Pass wake-ups of a name on, until `wake_always`, only where that is not so: its task need not run for it.

        Where it cannot be found out, the wake-up is passed on.
        """
        self._unless[name] = is_unchanged

    def wake_always(self, name: str) -> None:
        """Pass every wake-up of a name on again, the one included that is to be looked at yet."""
        del self._unless[name]
        if name in self._woken:
            del self._woken[name]
            self.wake(name)

    def _pass_on(self) -> None:
        """Look at the first of the names that were woken, and have the others looked at soon."""
        for name in list(islice(self._woken, _AT_ONCE)):
            del self._woken[name]
            self._collections.count()
            if self._start is not None and not _holds(self._unless[name]):
                self._wakeups[name].set()
        if self._woken:
            asyncio.get_running_loop().call_soon(self._pass_on)

    def count_work(self) -> None:
        """Count a step of work on a name: the objects that it makes are not to pile up with those of all others."""
        self._collections.count(_OF_WORK)

    def ignore(self, names: Collection[str]) -> None:
        """Drop the wake-ups of these names, and only of these, from now on."""
        self._ignored = names

    def open(self, start: Callable[[str, asyncio.Event], None]) -> None:
        """Pass wake-ups on from now on; `start` gets each name that nothing waits for yet, and its event."""
        self._start = start

    def close(self) -> None:
        """Drop every wake-up from now on."""
        self._start = None

    def served_names(self) -> tuple[str, ...]:
        """Return the names that something waits for."""
        return tuple(self._wakeups)

    def is_served(self, name: str) -> bool:
        """Return whether something waits for wake-ups of this name."""
        return name in self._wakeups

    def release(self, name: str) -> None:
        """Note that nothing waits for this name any more: its next wake-up starts it again."""
        del self._wakeups[name]


def _holds(is_unchanged: Callable[[], bool]) -> bool:
    try:
        return is_unchanged()
    except Exception:  # noqa: BLE001  the task of the name runs into the same, and says so
        return False
