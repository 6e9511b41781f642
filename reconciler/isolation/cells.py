"""The cells of a state directory: for each instance and task, the control groups that hold all of its processes.

A cell is made before its first process, which enters it by itself before any code of the app runs. Where there are no
control groups, a cell holds nothing, and everything works as without one.
"""

import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import field
from pathlib import Path
from threading import Lock

from reconciler.linux.control_groups import PROCS, TASKS, Group, Hierarchy, Version, hierarchies
from reconciler.linux.dataclass import dataclass
from reconciler.linux.process_identity import parent_of, start_ticks
from reconciler.linux.process_table import family
from reconciler.linux.processes import Process
from reconciler.planning.apps.app import App
from reconciler.planning.isolation.layout import LIMITING, Layout, Place, layout
from reconciler.planning.isolation.limits import NO_LIMITS, Limits

CELL_VARIABLE = "RECONCILER_CELL"  # read, and taken out of the environment, by launcher.py
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_DELEGATED = ("trusted.delegate", "user.delegate")
_DAEMON = "daemon"  # DelegateSubgroup= of the unit
_APPS = "apps"
ENDING = "ending"
_ENABLED = "cgroup.subtree_control"
_WEIGHTS: Mapping[Version, tuple[str, int]] = {1: ("cpu.shares", 1024), 2: ("cpu.weight", 100)}  # of one process
_CPU = "cpu"
_ROUNDS = 5
_LEVELS = 3  # TREE/apps/APP above the group of an instance


@dataclass(slots=True, kw_only=True)
class Cell:
    """The control groups of one instance or task, by what they are for: `ending`, `memory`, `pids`, `cpu`.

    One group may be for all of them.
    """

    groups: dict[str, Group] = field(default_factory=dict)
    _changing: Lock = field(default_factory=Lock, init=False, repr=False, compare=False)

    def __bool__(self) -> bool:
        return bool(self.groups)

    @property
    def entrances(self) -> tuple[str, ...]:
        """The files to which a process writes 0 to enter."""
        return tuple(str(group.entrance) for group in self._distinct())

    @property
    def birthplace(self) -> Path | None:
        """The group of version 2, in which the kernel can make a process; None without one."""
        return next((group.path for group in self._distinct() if group.version == 2), None)

    def admit(self, process: Process, ticks: int | None) -> None:
        """Put a process that was just started into the groups of version 2, for which the kernel takes some time.

        `ticks` is when it started: another one that has its pid by then is left where it was, and nothing is killed
        before that is sure. It makes sure of being inside by itself before any code of its app runs. Blocks.
        """
        with self._changing:
            if process.end is not None or ticks is None or start_ticks(process.pid) != ticks:
                return
            for group in self._distinct():
                if group.version == 2:
                    group.add(process.pid)
            if start_ticks(process.pid) not in {ticks, None}:
                _return_to_parent(process.pid)

    def pids(self) -> frozenset[int]:
        """Return every process in it."""
        return frozenset(pid for group in self._distinct() for pid in group.pids())

    def kill(self) -> None:
        """Send SIGKILL to everything in it, in whatever session or group of processes; without waiting."""
        with self._changing:
            for group in (self.groups[ENDING],) if ENDING in self.groups else self._distinct():
                group.kill()

    def end(self) -> bool:
        """Kill what is left in it until nothing is, and remove it; return whether it is gone. Blocks."""
        gone = [group.end() for group in self._distinct()]
        for group in self._distinct():
            with suppress(OSError):
                for above in list(group.path.parents)[
                    :_LEVELS
                ]:  # of the app, if this was its last; the tree, if of all
                    above.rmdir()
        return all(gone)

    def _distinct(self) -> tuple[Group, ...]:
        return tuple(dict.fromkeys(self.groups.values()))


class Cells:
    """The cells of the apps of one state directory, by app and by the id of an instance or a task."""

    def __init__(self, state_id: str, layout: Layout | None = None) -> None:
        self._tree = f"reconciler-{state_id}"
        self._limits: dict[str, Limits] = {}
        self._isolated: frozenset[str] = frozenset()
        self._layout = layout

    def follow(self, apps: Mapping[str, App]) -> None:
        """Learn the limits of every app and of its processes, and which apps are isolated."""
        self._isolated = frozenset(name for name, app in apps.items() if app.isolation)
        self._limits = {name: app.limits for name, app in apps.items() if app.limits}
        for app in apps.values():
            self._limits |= {f"{app.name}/{each.name}": each.limits for each in app.processes if each.limits}

    def limits_of(self, key: str) -> Limits:
        """Return the limits of an app, or of `APP/PROCESS`."""
        return self._limits.get(key, NO_LIMITS)

    @property
    def layout(self) -> Layout:
        """Where the groups are made; looked for when first needed."""
        if self._layout is None:
            self._layout = layout_of()
        return self._layout

    def make(self, app: str, name: str, controllers: Collection[str] = ()) -> Cell:
        """Make the cell of an instance or a task that is about to start; it lacks what the kernel refuses.

        That of an isolated app always has a group for the processor: however many processes it starts, they get what
        one gets, together, and neither the daemon nor another app waits for each of them.
        """
        cell = Cell()
        if self.layout.ending is not None:
            self._add(cell, ENDING, self._group(self.layout.ending, app, name))
        self.extend(cell, app, name, controllers)
        return cell

    def extend(self, cell: Cell, app: str, name: str, controllers: Collection[str], master: int | None = None) -> None:
        """Give a cell the groups of these controllers, with the processes that it has; lacking what is refused.

        Those of `master` and its descendants are put in as well: one that an earlier version started is in no cell. A
        group that does not take the master is none of the cell.
        """
        for controller in dict.fromkeys((*controllers, *((_CPU,) if app in self._isolated else ()))):
            place = self.layout.limiting.get(controller)
            if controller in cell.groups or place is None:
                continue
            if place.version == 2 and not self._is_enabled(place, app, controller):
                continue
            self._add(cell, controller, self._group(place, app, name), master)
            if controller == _CPU:
                self._weigh(place)

    def _weigh(self, place: Place) -> None:
        """Give all apps together the weight of a process on each core, as a group has that of one on all of them.

        Written only if it is another one: a group that was removed with its last app has the kernel's when made again.
        """
        file, one = _WEIGHTS[place.version]
        weight, tree = one * (os.cpu_count() or 1), Group(Path(place.path) / self._tree, place.version)
        if tree.number(file) != weight:
            with suppress(OSError):
                tree.write(file, str(weight))

    def of(self, app: str, name: str, pid: int, mounts: str = "") -> Cell:
        """Return the cell that a process which an earlier daemon started is in; `mounts` is the table of mounts."""
        return _cell_of(f"/{self._tree}", app, name, pid, mounts)

    def made(self, app: str, name: str) -> Cell:
        """Return the cell that an earlier daemon made for something of which no process is known."""
        cell = Cell()
        for use, place in self._by_use():
            group = self._group(place, app, name)
            if group.exists():
                cell.groups[use] = group
        return cell

    def trees_of(self, pids: Iterable[int]) -> list[Place]:
        """Return the places in which a daemon has made the cells that processes are in, wherever it ran."""
        found = dict[str, Place]()
        for pid in pids:
            for each in hierarchies(pid):
                above, inside, _ = each.own.partition(f"/{self._tree}/{_APPS}/")
                if inside:
                    path = str(each.mount / above.lstrip("/"))
                    found[path] = Place(version=each.version, path=path)
        return list(found.values())

    def left_over(self, known: Collection[str], besides: Iterable[Place] = ()) -> list[Cell]:
        """Return the cells of all but these instances and tasks, for `end`; `besides` are places of other daemons."""
        found = dict[tuple[str, str], Cell]()
        for place in {place.path: place for place in (*besides, *(own for _, own in self._by_use()))}.values():
            for app, name, path in self._groups_in(place):
                if name not in known:
                    found.setdefault((app, name), Cell()).groups[place.path] = Group(Path(path), place.version)
        return list(found.values())

    def end_all(self, besides: Iterable[Place], within_s: float) -> bool:
        """End every cell, and remove what there is for them; return whether all is gone. Blocks."""
        places, until = list(besides), time.monotonic() + within_s
        while True:
            for cell in (left := self.left_over((), places)):
                cell.kill()  # all of them, before the first is waited for
            if all(cell.end() for cell in left) or time.monotonic() > until:
                break
        trees = [
            Group(Path(place.path) / self._tree, place.version) for place in (*places, *dict(self._by_use()).values())
        ]
        gone = [tree.remove() for tree in trees if tree.exists()]
        return all(gone)

    def _by_use(self) -> Iterator[tuple[str, Place]]:
        if self.layout.ending is not None:
            yield ENDING, self.layout.ending
        yield from self.layout.limiting.items()

    def _apps(self, place: Place) -> Path:
        return Path(place.path) / self._tree / _APPS

    def _group(self, place: Place, app: str, name: str) -> Group:
        return Group(self._apps(place) / _directory(app, place.version) / name, place.version)

    def _groups_in(self, place: Place) -> Iterator[tuple[str, str, str]]:
        """Return the directory of the app, the name and the path of each group that is there."""
        with suppress(OSError):
            for app in os.scandir(self._apps(place)):
                with suppress(OSError):
                    yield from ((app.name, each.name, each.path) for each in os.scandir(app.path) if each.is_dir())

    def _add(self, cell: Cell, use: str, group: Group, master: int | None = None) -> None:
        with suppress(OSError):
            group.make()
            for _ in range(_ROUNDS):  # what they start meanwhile is where they were
                if not (outside := _outside(group, cell, master)):
                    break
                for pid, ticks in outside.items():
                    if start_ticks(pid) == ticks:
                        group.add(pid)
            if master is None or master in group.pids():
                cell.groups[use] = group
            else:
                group.remove()

    def _is_enabled(self, place: Place, app: str, controller: str) -> bool:
        """Enable a controller for the instances of an app; return whether it is."""
        top = Path(place.path)
        try:
            _move_out_of_the_way(Group(top, 2))
            for path in (top, top / self._tree, self._apps(place), self._apps(place) / _directory(app, 2)):
                group = Group(path, 2)
                group.make()
                if controller not in (group.read(_ENABLED) or "").split():
                    group.write(_ENABLED, f"+{controller}")
        except OSError:
            return False
        return True


def _return_to_parent(pid: int) -> None:
    """Put a process into the group of version 2 that its parent is in, where each begins."""
    for each in hierarchies(parent_of(pid) or "self"):
        if each.version == 2:
            each.group.add(pid)


def _outside(group: Group, cell: Cell, master: int | None) -> dict[int, int]:
    """Return what runs of a cell, and below its master, but is not in a group: each pid with its start time."""

    def members() -> set[int]:
        return {*cell.pids(), *(pid for pid, _ in family(master or 0))} if master else set(cell.pids())

    found = {pid: ticks for pid in members() - group.pids() if (ticks := start_ticks(pid)) is not None}
    still = members()  # so the start times are those of members
    return {pid: ticks for pid, ticks in found.items() if pid in still}


def _cell_of(tree: str, app: str, name: str, pid: int, mounts: str = "") -> Cell:
    """Return the cell that a process is in, by the end of its path."""
    cell = Cell()
    for each in hierarchies(pid, mounts, name):
        if each.own.endswith(f"{tree}/{_APPS}/{_directory(app, each.version)}/{name}"):
            for use in _uses(each):
                cell.groups[use] = each.group
    return cell


def _directory(app: str, version: Version) -> str:
    """Return the name of the groups of an app; every group of version 1 has a file `tasks`."""
    return f"_{app}" if version == 1 and app == TASKS else app


def cell_seen(app: str, name: str, pid: int) -> Cell:
    """Return the cell of an instance by its process, whatever state directory it is of."""
    return _cell_of("", app, name, pid)


def layout_of(pid: int | str = "self") -> Layout:
    """Return where a process, this one unless given, can make groups."""
    places, systemd = places_of(pid)
    return layout(places, systemd=systemd)


def places_of(pid: int | str = "self") -> tuple[list[Place], bool]:
    """Return the places of a process, this one unless given, and whether systemd manages the groups of this host."""
    known = hierarchies(pid)
    delegated = any(_is_delegated(each.group.path) for each in known)
    return [_place(each, delegated=delegated) for each in known], _SYSTEMD.exists()


def _place(hierarchy: Hierarchy, *, delegated: bool) -> Place:
    """Return the place where groups are made: beside the daemon's own where that is a subgroup which systemd made."""
    group = hierarchy.group
    beside = hierarchy.version == 2 and group.path.name == _DAEMON and _is_delegated(group.path.parent)
    path = group.path.parent if beside else group.path
    controllers = hierarchy.controllers
    if hierarchy.version == 2:
        # A group with processes in it cannot give controllers to those below it, but for the root; and one that does
        # would keep systemd from starting the daemon again.
        free = beside or hierarchy.own == "/"
        controllers = frozenset((Group(path, 2).read("cgroup.controllers") or "").split() if free else ())
    return Place(
        version=hierarchy.version,
        path=str(path),
        controllers=controllers,
        writable=os.access(path, os.W_OK) and os.access(path / PROCS, os.W_OK),
        delegated=delegated or beside,
    )


def _move_out_of_the_way(top: Group) -> None:
    """Put the processes of a delegated group, which are of apps that an earlier version started, into one below it.

    At the root, which may be that of a container with other programs, only if all of them are this process's own.
    """
    pids = {int(pid) for pid in (top.read(PROCS) or "").split()}
    if not pids or not _is_delegated(top.path):
        return
    is_root = any(each.version == 2 and each.mount == top.path for each in hierarchies())
    if is_root and not pids <= {pid for pid, _ in family(os.getpid())}:
        return
    earlier = Group(top.path / "earlier", 2)
    earlier.make()
    for pid in pids:
        earlier.add(pid)


def _is_delegated(path: Path) -> bool:
    """Whether systemd has left a group to this process: by its mark, or to its user, who is not root."""
    for name in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(path, name) == b"1":
                return True
    with suppress(OSError):
        return os.geteuid() != 0 and path.stat().st_uid == os.geteuid()
    return False


def _uses(hierarchy: Hierarchy) -> Iterator[str]:
    """Return what a group of a hierarchy is for."""
    if hierarchy.version == 2 or "freezer" in hierarchy.controllers:
        yield ENDING
    controllers: Mapping[str, object] | frozenset[str] = hierarchy.controllers
    if hierarchy.version == 2:
        controllers = frozenset((hierarchy.group.read("cgroup.controllers") or "").split())
    yield from (name for name in LIMITING if name in controllers)
