"""Keep the runtimes of this host, found once for all who ask, until a place where they are searched changes."""

import asyncio
import os
from collections.abc import Sequence

from reconciler.staging.concurrency import SingleFlight
from reconciler.staging.detection.runtimes import Runtime, discover, names, probe, search_paths, stamp
from reconciler.staging.errors import StagingError


class Interpreters:
    """The runtimes of this host, cached until one of the places where they are searched changes."""

    def __init__(self, extra: Sequence[str]) -> None:
        self._extra = tuple(extra)
        self._known: tuple[Runtime, ...] = ()
        self._stamps: object = None
        self._discovery: SingleFlight[str, tuple[Runtime, ...]] = SingleFlight()

    async def known(self) -> tuple[Runtime, ...]:
        """Return every runtime of this host."""
        if self._stamps is None or self._stamps != self._current_stamps():
            self._known = await self._discovery.result("discover", self._discover)
        return self._known

    async def known_to(self, name: str | None, *, isolated: bool) -> tuple[Runtime, ...]:
        """Return every runtime of this host, and the program at `name`, if that is a path, for this caller alone.

        Such a program is run as the daemon to learn what it is, and its author may have it say that it is the newest.
        So no other app gets it, and it is not run for an isolated one: that raises StagingError.
        """
        host = await self.known()
        if name is None or not name.startswith("/") or os.path.realpath(name) in {runtime.path for runtime in host}:
            return host
        if isolated:
            raise StagingError(
                f"cannot choose a runtime: {name} is no Python of this host, and the daemon runs no other for an "
                f"isolated app: name it in `interpreters` of the host's settings, or choose one of {names(host)}",
                retry="later",
            )
        own = await asyncio.to_thread(probe, os.path.realpath(name))
        return host if own is None else (*host, own)

    async def _discover(self) -> tuple[Runtime, ...]:
        self._known = await asyncio.to_thread(discover, self._extra)
        self._stamps = self._current_stamps()
        return self._known

    def _current_stamps(self) -> object:
        """Return what stat reports of each place to search, and of each interpreter that was found."""
        paths = search_paths(self._extra, os.environ)
        return tuple((path, stamp(path)) for path in (*paths, *(runtime.path for runtime in self._known)))
