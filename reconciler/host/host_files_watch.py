"""Watch the open files of the host, of which all programs together have so many (fs.file-max), and end what takes them.

The kernel refuses every program without CAP_SYS_ADMIN a file and a connection where there are none left, the neighbours
of an app and the daemon too. It holds no user to a share of them.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping

from reconciler.convergence.ticks import next_tick
from reconciler.host.stores import Stores
from reconciler.linux.host_files import HostFiles, Opener
from reconciler.linux.process_table import family
from reconciler.planning.isolation.host_files import is_full, largest, look_again_s
from reconciler.planning.reason import Reason
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.supervised import SupervisedInstances

_ROUNDS = 10
_CLOSING_S = 5.0  # the kernel closes what was open after an end: until then the next app would seem the largest


class HostFilesWatch:
    """Ends all of the app with the most open files before the host has none left.

    That of an app with a user of its own is whatever runs as that, as instances and tasks do, or with that as its group
    (builds). That of another one is what runs in its instances.
    """

    def __init__(self, stores: Stores, instances: SupervisedInstances, files: HostFiles) -> None:
        self._record = stores.record_event
        self._instances = instances
        self._files = files

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            if await self.look():
                await asyncio.sleep(_CLOSING_S)
            await next_tick(look_again_s(*self._files.figures()))

    async def look(self) -> str:
        """Look once, and return which app was ended, "" for none."""
        used, most = self._files.figures()
        if not is_full(used, most):
            return ""
        users, lives = self._instances.app_users(), list(self._instances.all())
        app, text = await asyncio.to_thread(self._largest, used, most, users, lives)
        if app:
            text = f"{text}, and were ended"
            for live in lives:
                if live.record.app == app:
                    live.beyond["files"] = text
            await asyncio.to_thread(self._end, app, users, lives)
            self._record(app, "exceeded", text, reason=Reason.LIMIT_EXCEEDED)
        return app

    def _largest(self, used: int, most: int, users: Mapping[int, str], lives: list[LiveInstance]) -> tuple[str, str]:
        found = Counter[str]()
        for app, opener in self._openers(users, lives):
            found[app] += opener.files
        return largest(used, most, found)

    def _end(self, app: str, users: Mapping[int, str], lives: list[LiveInstance]) -> None:
        for live in lives:
            if live.record.app == app:
                live.cell.kill()
        for _ in range(_ROUNDS):  # and what they start meanwhile
            found = [opener.pid for of, opener in self._openers(users, lives) if of == app]
            if not found:
                break
            self._files.end(found)

    def _openers(self, users: Mapping[int, str], lives: list[LiveInstance]) -> list[tuple[str, Opener]]:
        inside = {pid: live.record.app for live in lives for pid in _pids(live)}
        openers = [
            (users.get(each.user) or users.get(each.group) or inside.get(each.pid, ""), each)
            for each in self._files.openers()
        ]
        return [(app, opener) for app, opener in openers if app]


def _pids(live: LiveInstance) -> frozenset[int]:
    if live.process is None or live.end is not None:
        return frozenset()
    return live.cell.pids() | {pid for pid, _ in family(live.process.pid)}
