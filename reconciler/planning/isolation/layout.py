"""Choose where the control groups of apps are made: in which hierarchy all of an instance is ended, in which limited.

What may not be written to, or is the business of systemd, is left alone; what that means is said in words.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal

from reconciler.linux.dataclass import dataclass

# The controllers that hold limits, and what has to be mounted to end everything of an instance at once.
LIMITING = ("memory", "pids", "cpu")
NOT_MOUNTED = "no control groups are mounted"
READ_ONLY = "the control group of the daemon cannot be written to"
NOT_DELEGATED = "systemd has not delegated the control group of the daemon: its unit needs Delegate=yes"
NO_CONTROLLERS = "the kernel gives the control group of the daemon no controllers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The group that the daemon is in, in one hierarchy, and what it may do there.

    `controllers` are those that groups below it may have. `delegated` says that systemd leaves it to the daemon.
    """

    version: Literal[1, 2]
    path: str
    controllers: frozenset[str] = frozenset()
    writable: bool = False
    delegated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where groups are made: the place in which all of an instance is ended, None without one, and that of each limit.

    `lacks` says why a part of it is missing, "" if none is.
    """

    ending: Place | None = None
    limiting: Mapping[str, Place] = field(default_factory=dict)
    lacks: str = ""


def layout(places: Sequence[Place], *, systemd: bool) -> Layout:
    """Choose among the places of the daemon. `systemd` says that it manages the groups of this host."""
    usable = [place for place in places if place.writable and (place.delegated or not systemd)]
    if not usable:
        writable = any(place.writable for place in places)
        return Layout(lacks=NOT_DELEGATED if writable else READ_ONLY if places else NOT_MOUNTED)
    ending = next((place for place in usable if place.version == 2), None)
    ending = ending or next((place for place in usable if "freezer" in place.controllers), None)
    limiting = {
        controller: place
        for controller in LIMITING
        for place in sorted(usable, key=lambda place: place.version)
        if controller in place.controllers
    }
    missing = [controller for controller in LIMITING if controller not in limiting]
    lacks = f"{NO_CONTROLLERS} for {', '.join(missing)}" if missing else ""
    return Layout(ending=ending or next(iter(usable)), limiting=limiting, lacks=lacks)
