"""The limits of an app or a process, as its manifest and the settings of the host say, and how each of them is held.

A limit is held by the kernel for all processes together (a control group), by the kernel for each process by itself (a
resource limit), or it is watched by the daemon, which then says so. One that the kernel does not let be raised for what
runs holds from the next start.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Limit: TypeAlias = Literal["memory", "cpu", "processes", "files", "disk"]
# How the kernel holds a limit: for all processes together, for each by itself, or for those that start later.
Held: TypeAlias = Literal["together", "each", "later"]

_SOFT_SHARE = 0.9
CONTROLLERS: Mapping[Limit, str] = {"memory": "memory", "cpu": "cpu", "processes": "pids"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What all processes of one instance may use; None is no limit.

    `memory` and `disk` are bytes, `cpu` cores, `processes` counts threads as well, `files` is of each process. At
    `soft` bytes of memory a new instance takes over.
    """

    memory: int | None = None
    soft: int | None = None
    cpu: float | None = None
    processes: int | None = None
    files: int | None = None
    disk: int | None = None

    def __bool__(self) -> bool:
        return self != NO_LIMITS

    @property
    def soft_memory(self) -> int | None:
        """The bytes at which a new instance takes over."""
        if self.soft is not None or self.memory is None:
            return self.soft
        return int(self.memory * _SOFT_SHARE)

    @property
    def controllers(self) -> tuple[str, ...]:
        """The controllers that can hold what is limited."""
        return tuple(name for limit, name in CONTROLLERS.items() if getattr(self, limit) is not None)

    def within(self, most: "Limits") -> "Limits":
        """Return these limits with those of the host where a manifest says none."""
        if not most:
            return self
        given = {each.name: getattr(most, each.name) for each in fields(self) if getattr(self, each.name) is None}
        return replace(self, **given)

    def beyond(self, most: "Limits") -> Iterator[tuple[Limit, str]]:
        """Yield each limit that is larger than the host allows, with what it allows."""
        for limit in ("memory", "cpu", "processes", "files", "disk"):
            asked, allowed = getattr(self, limit), getattr(most, limit)
            if asked is not None and allowed is not None and asked > allowed:
                yield limit, shown(limit, allowed)

    def told(self) -> str:
        """Say all of them, such as `memory 512M, cpu 1.5`."""
        names = ("memory", "soft", "cpu", "processes", "files", "disk")
        return ", ".join(f"{n} {shown(n, value)}" for n in names if (value := getattr(self, n)) is not None)


NO_LIMITS = Limits()


def shown(limit: str, value: float) -> str:
    """Return a limit as it is written."""
    return size(int(value)) if limit in {"memory", "soft", "disk"} else f"{value:g}"


def size(of: int) -> str:
    """Return bytes as a manifest has them: `512M`, `1.5G`."""
    for unit, letter in ((1 << 40, "T"), (1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")):
        if of >= unit:
            return f"{of / unit:.4g}{letter}"
    return str(of)


def missing(limits: Limits, held: Mapping[Limit, Held], why: str) -> str:
    """Say which limits the kernel does not hold as they are meant, "" if it holds all; `why` says what is missing.

    Disk is always the daemon's to watch.
    """
    watched = [limit for limit in CONTROLLERS if getattr(limits, limit) is not None and limit not in held]
    told = [f"{' and '.join(watched)} {'is' if len(watched) == 1 else 'are'} watched, not enforced"] if watched else []
    if limits.memory is not None and held.get("memory") == "each":
        told.append("memory is enforced for each process by itself, and watched for all together")
    if told and why:
        told[-1] += f": {why}"
    if held.get("files") == "later":
        told.append("the limit of files holds from its next start")
    return "; ".join(told)
