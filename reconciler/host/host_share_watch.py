"""Watch what all programs of a host share, and end the app that takes it before there is none left.

Of open files they have so many together (fs.file-max), and of ephemeral ports (net.ipv4.ip_local_port_range). Where
there are none left, a program without CAP_SYS_ADMIN opens no file, and none connects or asks for a name. The kernel
holds no user to a share of them.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from reconciler.convergence.ticks import next_tick
from reconciler.host.stores import Stores
from reconciler.linux.dataclass import dataclass
from reconciler.linux.host_files import HostFiles, Opener
from reconciler.linux.host_ports import HostPorts
from reconciler.linux.process_table import family
from reconciler.planning.isolation.host_shares import is_full, largest, look_again_s
from reconciler.planning.reason import Reason
from reconciler.serving.live_instance import LiveInstance
from reconciler.serving.supervised import SupervisedInstances

_ROUNDS = 10
_FREED_IN_S = 5.0  # the kernel gives back what was taken after an end: until then the next app would seem the largest


@dataclass(frozen=True, slots=True, kw_only=True)
class Owners:
    """Which app a process is of: by its user, by its group, as what builds has it, or as part of an instance.

    The `users` are those of apps and of what builds each; `common` are those that build several.
    """

    files: HostFiles
    users: Mapping[int, str]
    lives: Sequence[LiveInstance]
    common: frozenset[int] = frozenset()

    def openers(self) -> Iterator[tuple[str, Opener]]:
        """Yield each process of an app."""
        inside = {pid: live.record.app for live in self.lives for pid in _pids(live)}
        for each in self.files.openers():
            app = self.users.get(each.user) or self.users.get(each.group) or inside.get(each.pid)
            if app:
                yield app, each

    def app_of(self, user: int) -> str:
        """Return the app of a user, "" if it has none; of one who builds several, that which has the most open."""
        if user not in self.common:
            return self.users.get(user, "")
        built = Counter[str]()
        for each in self.files.openers():
            if each.user == user and each.group in self.users:
                built[self.users[each.group]] += each.files
        return max(built, key=lambda app: (built[app], app), default="")


class Shared(Protocol):
    """What is shared, by its `name`; of some, an app is only found `by_user`, if it has one of its own."""

    name: str
    by_user: bool

    def figures(self) -> tuple[int, int]:
        """Return how much of it is taken at most, and how much there is. Raises OSError."""

    def of_apps(self, owners: Owners) -> tuple[int, Mapping[str, int]]:
        """Return how much of it is taken, and what each app has. Blocks."""


class OpenFiles:
    """The open files of the host."""

    name, by_user = "open files", False

    def __init__(self, files: HostFiles) -> None:
        self.figures = files.figures

    def of_apps(self, owners: Owners) -> tuple[int, Mapping[str, int]]:
        found = Counter[str]()
        for app, opener in owners.openers():
            found[app] += opener.files
        return self.figures()[0], found


class EphemeralPorts:
    """The ephemeral ports of a protocol; those of an app without a user of its own are not told apart."""

    by_user = True

    def __init__(self, ports: HostPorts) -> None:
        self.name = f"ephemeral {ports.protocol} ports"
        self.figures, self._held = ports.figures, ports.held

    def of_apps(self, owners: Owners) -> tuple[int, Mapping[str, int]]:
        held, found = self._held(), Counter[str]()
        for user, ports in held.items():
            if app := owners.app_of(user):
                found[app] += len(ports)
        return len(set[int]().union(*held.values())), found


class HostShareWatch:
    """Ends all of the app that has the most of what is `shared` before the host has none left.

    That of an app with a user of its own is whatever runs as that, as instances and tasks do, or with that as its group
    (builds). That of another one is what runs in its instances.
    """

    def __init__(self, stores: Stores, instances: SupervisedInstances, files: HostFiles, shared: Shared) -> None:
        self._record = stores.record_event
        self._instances = instances
        self._files = files
        self._shared = shared

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            again_s = look_again_s(0, 0)
            if not self._shared.by_user or self._owners().users:  # else nothing could be ended
                if await self.look():
                    await asyncio.sleep(_FREED_IN_S)
                again_s = look_again_s(*self._shared.figures())
            await next_tick(again_s)

    async def look(self) -> str:
        """Look once, and return which app was ended, "" for none."""
        if not is_full(*self._shared.figures()):
            return ""
        owners = self._owners()
        app, text = await asyncio.to_thread(self._largest, owners)
        if app:
            text = f"{text}, and were ended"
            for live in owners.lives:
                if live.record.app == app:
                    live.beyond["host"] = text
            await asyncio.to_thread(self._end, app, owners)
            self._record(app, "exceeded", text, reason=Reason.LIMIT_EXCEEDED)
        return app

    def _owners(self) -> Owners:
        confinements = self._instances.confinements
        builders = {} if confinements is None else confinements.builds.users()
        users = {**self._instances.app_users(), **{user: app for user, app in builders.items() if app}}
        common = frozenset(user for user, app in builders.items() if not app)
        return Owners(files=self._files, users=users, lives=list(self._instances.all()), common=common)

    def _largest(self, owners: Owners) -> tuple[str, str]:
        _, most = self._shared.figures()
        used, found = self._shared.of_apps(owners)
        # Of all sockets, most may only connect.
        return largest(self._shared.name, used, most, found) if is_full(used, most) else ("", "")

    def _end(self, app: str, owners: Owners) -> None:
        for live in owners.lives:
            if live.record.app == app:
                live.cell.kill()
        for _ in range(_ROUNDS):  # and what they start meanwhile
            found = [opener.pid for of, opener in owners.openers() if of == app]
            if not found:
                break
            self._files.end(found)


def _pids(live: LiveInstance) -> frozenset[int]:
    if live.process is None or live.end is not None:
        return frozenset()
    return live.cell.pids() | {pid for pid, _ in family(live.process.pid)}
