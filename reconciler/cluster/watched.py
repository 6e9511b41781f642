"""Keep what a cluster has of this installation in memory: each kind is listed once, and watched from there on.

An event only says that an app is to be looked at. What cannot be looked at stays as it was seen last.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from reconciler.cluster.api.client import ApiError, Client, is_gone
from reconciler.cluster.ownership import INSTALLATION, Seen, app_of, as_kept, key_of
from reconciler.cluster.versions import PLURALS, READ_VERSIONS

_WATCH_S = 240
_FIRST_S, _CAP_S = 0.2, 30.0
# A watch that lasts this long is one that works: what breaks it is tried again soon.
_LASTING_S = 10.0
_NOT_SERVED = 404
_MAY_NOT = frozenset((401, 403))
# A server that does not know these is none.
_EVERYWHERE = frozenset(("v1", "apps/v1"))
_NONE: Mapping[tuple[str, str], Seen] = {}


class WatchedObjects:
    """The objects of this installation in a cluster, by app. `wake` is called with the name of each app that differs.

    `unseen` says why a kind cannot be looked at now, empty if all can. `sleep` waits before it is tried again.
    """

    def __init__(
        self,
        client: Client,
        installation: str,
        wake: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._client = client
        self._installation = installation
        self._selector = f"{INSTALLATION}={installation}"
        self._wake = wake
        self._listed: set[str] = set()
        self._quiet: set[str] = set()
        self._troubles: dict[str, str] = {}
        self._apps: dict[str, dict[tuple[str, str], Seen]] = {}
        # One value as long as nothing changes, as plans compare what they are made from.
        self._shown: dict[str, tuple[Mapping[tuple[str, str], Seen], tuple[Seen, ...]]] = {}

    @property
    def looked(self) -> bool:
        """Whether every kind was listed once."""
        return len(self._listed) == len(PLURALS)

    @property
    def unseen(self) -> str:
        """Why something cannot be looked at now."""
        return next(iter(self._troubles.values()), "")

    def apps(self) -> frozenset[str]:
        """Return every app of which there is anything."""
        return frozenset(app for app, found in self._apps.items() if found)

    def of(self, app: str) -> tuple[Mapping[tuple[str, str], Seen], tuple[Seen, ...]]:
        """Return the objects of an app, and its pods."""
        if app not in self._shown:
            found = self._apps.get(app)
            if found is None:
                return _NONE, ()
            pods = tuple(each for (kind, _), each in sorted(found.items()) if kind == "Pod")
            self._shown[app] = {key: each for key, each in found.items() if key[0] != "Pod"}, pods
        return self._shown[app]

    @contextmanager
    def quiet(self, app: str) -> Iterator[None]:
        """Wake an app only afterwards: what a request does is seen before its answer is there, and would cancel it."""
        self._quiet.add(app)
        try:
            yield
        finally:
            self._quiet.discard(app)
            self._wake(app)

    def is_quiet(self, app: str) -> bool:
        """Return whether an app is woken only afterwards."""
        return app in self._quiet

    def note(self, seen: dict[str, Any]) -> None:
        """Take an object as the answer to a request has it, unless it was seen changed since."""
        known = self._apps.get(app_of(seen), {}).get(key_of(seen))
        if known is None or _version_of(known) <= _version_of(seen):
            self._put(seen)

    def forget(self, app: str, kind: str, name: str) -> None:
        """Take note that an object is being deleted: it is not deleted again."""
        seen = self._apps.get(app, {}).get((kind, name))
        if seen is not None and not seen["metadata"].get("deletionTimestamp"):
            self._put({**seen, "metadata": {**seen["metadata"], "deletionTimestamp": "now"}})

    async def watch(self, kind: str) -> None:
        """List and watch a kind until cancelled."""
        pause_s = _FIRST_S
        while True:
            begun = time.monotonic()
            try:
                version = await self._list(kind)
                begun = time.monotonic()
                while version:
                    version = await self._follow(kind, version)
            except ApiError as error:
                if not is_gone(error):  # the next page of a list may come too late
                    self._trouble(kind, str(error))
            if time.monotonic() - begun >= _LASTING_S:
                pause_s = _FIRST_S
            await self._sleep(pause_s)
            pause_s = min(pause_s * 2, _CAP_S)

    async def _list(self, kind: str) -> str:
        try:
            items, version = await self._client.list(kind, self._selector)
        except ApiError as error:
            if error.status != _NOT_SERVED or READ_VERSIONS[kind] in _EVERYWHERE:
                raise
            items, version = [], ""  # this cluster knows no such kind
        self._replace(kind, items)
        self._trouble(kind, "")
        if kind not in self._listed:
            self._listed.add(kind)
            if self.looked:
                for app in self._apps:
                    self._wake(app)
                self._wake("")
        if not version:
            await self._sleep(_WATCH_S)
        return version

    async def _follow(self, kind: str, version: str) -> str:
        """Watch from a version on, and return the one to go on from; "" if everything is to be listed again."""
        begun = time.monotonic()
        try:
            async for what, seen in self._client.watch(kind, self._selector, version, _WATCH_S):
                self._trouble(_watch_of(kind), "")
                version = str(seen.get("metadata", {}).get("resourceVersion") or version)
                if what in {"ADDED", "MODIFIED"}:
                    self._put(seen)
                elif what == "DELETED":
                    self._drop(seen)
        except ApiError as error:
            # Of others, the next list says whether anything can be looked at.
            if error.status in _MAY_NOT:
                self._trouble(_watch_of(kind), str(error))
            return ""
        self._trouble(_watch_of(kind), "")
        return version if time.monotonic() - begun >= 1.0 else ""

    def _trouble(self, kind: str, why: str) -> None:
        before = self.unseen
        if why:
            self._troubles[kind] = why
        else:
            self._troubles.pop(kind, None)
        if self.unseen != before:
            self._wake("")

    def _replace(self, kind: str, items: list[dict[str, Any]]) -> None:
        found = {(kind, str(each["metadata"]["name"])) for each in items}
        for known in list(self._apps.values()):
            for key, each in list(known.items()):
                if key[0] == kind and key not in found:
                    self._drop(each)
        for each in items:
            self._put(each)

    def _put(self, seen: Seen) -> None:
        seen, app = as_kept(seen, self._installation), app_of(seen)
        known = self._apps.setdefault(app, {})
        if known.get(key_of(seen)) != seen:
            known[key_of(seen)] = seen
            self._changed(app)

    def _drop(self, seen: Seen) -> None:
        app = app_of(seen)
        if self._apps.get(app, {}).pop(key_of(seen), None) is not None:
            self._changed(app)

    def _changed(self, app: str) -> None:
        self._shown.pop(app, None)
        if not self._apps.get(app):
            self._apps.pop(app, None)
        if app not in self._quiet:
            self._wake(app)


def _version_of(seen: Seen) -> int:
    version = str(seen["metadata"].get("resourceVersion") or "")
    return int(version) if version.isdecimal() else 0


def _watch_of(kind: str) -> str:
    return f"watch {kind}"
