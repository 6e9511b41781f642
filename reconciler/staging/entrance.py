"""Bound how many apps are half staged at once: each takes 17 kB for so long, and leaves holes in memory behind.

An app that waits for what another one makes holds up none but those like it, which would wait for the same.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

from reconciler.convergence.slots import Slots
from reconciler.staging.progress import ENVIRONMENT_OF_ANOTHER, Progress
from reconciler.staging.slots import slot_of


class Entrance:
    """Where apps wait before anything of their staging is begun; each that is inside holds one of the `slots`."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._inside: dict[str, tuple[Hashable, Callable[[], None]]] = {}
        self._waiting: dict[str, Hashable] = {}
        self._waited_for: dict[Hashable, asyncio.Event] = {}

    @asynccontextmanager
    async def inside(self, name: str, made_of: Hashable, progress: Progress) -> AsyncIterator[None]:
        """Wait until an app may be staged, and hold its slot until it ends, or `waits`.

        While another app that is `made_of` the same code by the same recipe waits for an environment, it stays outside.
        """
        while True:
            while (others := self._waited_for.get(made_of)) is not None:
                progress(ENVIRONMENT_OF_ANOTHER)
                await others.wait()
            async with slot_of(self._slots, name, progress, goes_on=False) as leave:
                if made_of in self._waited_for:
                    continue
                self._inside[name] = made_of, leave
                try:
                    yield
                    return
                finally:
                    self._inside.pop(name, None)
                    self._waiting.pop(name, None)
                    self._admit(made_of)

    def waits(self, name: str) -> None:
        """Give up the slot of an app that goes on when others have made something."""
        if (found := self._inside.pop(name, None)) is not None:
            made_of, leave = found
            self._waiting[name] = made_of
            self._waited_for.setdefault(made_of, asyncio.Event())
            leave()

    def goes_on(self, name: str) -> None:
        """Admit those like an app that waited and does something of its own by now, which may take long."""
        if name in self._waiting:
            self._admit(self._waiting.pop(name))

    def _admit(self, made_of: Hashable) -> None:
        if (others := self._waited_for.pop(made_of, None)) is not None:
            others.set()
