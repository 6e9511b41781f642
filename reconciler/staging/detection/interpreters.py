"""Keep the runtimes of this host, found once for all who ask, until a place where they are searched changes."""

import asyncio
import os
from collections.abc import Sequence

from reconciler.staging.concurrency import SingleFlight
from reconciler.staging.detection.runtimes import Runtime, discover, search_paths, stamp


class Interpreters:
    """The runtimes of this host, cached until one of the places where they are searched changes."""

    def __init__(self, extra: Sequence[str]) -> None:
        self._extra = tuple(extra)
        self._known: tuple[Runtime, ...] = ()
        self._stamps: object = None
        self._discovery: SingleFlight[str, tuple[Runtime, ...]] = SingleFlight()

    async def known(self, name: str | None = None) -> tuple[Runtime, ...]:
        """Return every runtime of this host, with the program at `name` if that is a path."""
        if name is not None and name.startswith("/") and name not in self._extra:
            self._extra = (*self._extra, name)
        if self._stamps is None or self._stamps != self._current_stamps():
            self._known = await self._discovery.result("discover", self._discover)
        return self._known

    async def _discover(self) -> tuple[Runtime, ...]:
        self._known = await asyncio.to_thread(discover, self._extra)
        self._stamps = self._current_stamps()
        return self._known

    def _current_stamps(self) -> object:
        """Return what stat reports of each place to search, and of each interpreter that was found."""
        paths = search_paths(self._extra, os.environ)
        return tuple((path, stamp(path)) for path in (*paths, *(runtime.path for runtime in self._known)))
