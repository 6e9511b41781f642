"""A desired schedule: a command of an app, when it runs, and what happens when it cannot run then.

Instants are whole seconds since 1970 in UTC; an occurrence is named by the instant at which it is planned.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import field
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.fingerprint import Json, canonical, fingerprint

Overlap: TypeAlias = Literal["skip", "queue", "replace", "allow"]
Missed: TypeAlias = Literal["once", "skip", "all"]

NO_VARIABLES: Mapping[str, str] = MappingProxyType({})  # one for all: there are thousands of schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a failed occurrence is tried again, and the delay before: `first_s`, doubling up to `cap_s`."""

    count: int = 0
    first_s: float = 60.0
    cap_s: float = 1800.0

    def delay_s(self, attempt: int) -> float:
        """Return the delay in seconds after the failure of an attempt; the first attempt is 1."""
        return min(self.first_s * 2.0 ** min(attempt - 1, 30), self.cap_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The files that hold the URLs to call when a task of the schedule starts, succeeds or fails."""

    start: str | None = None
    ok: str | None = None
    failed: str | None = None

    def read_from(self, place: Callable[[str], str]) -> "Ping":
        """Return the same with each path as `place` makes it of what the manifest names."""
        start, ok, failed = (path and place(path) for path in (self.start, self.ok, self.failed))
        return Ping(start=start, ok=ok, failed=failed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One desired schedule of an app. Either `at`, five fields or a name such as `@daily`, or `every_s` is given.

    In a `command` that `expands`, variables are replaced when it is started. `within_s` is how old a missed occurrence
    may be and still be made up for; `spread_s` bounds an offset that is the same each time; `keep` is how many of its
    tasks stay in the history. `env_files` are absolute paths of files that hold one variable each, besides those of the
    app and of `env`.
    """

    app: str
    name: str
    command: tuple[str, ...]
    at: str | None = None
    every_s: float | None = None
    zone: str = "UTC"
    timeout_s: float = 3600.0
    overlap: Overlap = "skip"
    missed: Missed = "once"
    within_s: float = 86400.0
    retries: Retries = Retries()
    spread_s: float = 0.0
    ping: Ping = Ping()
    paused: bool = False
    keep: int = 20
    expands: bool = False
    env: Mapping[str, str] = field(default_factory=lambda: NO_VARIABLES, repr=False)
    env_files: Mapping[str, str] = field(default_factory=lambda: NO_VARIABLES)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits for its app, its name and its times: with other times, a history begins."""
        return _id(self.app, self.name, self.at, self.every_s, self.zone)

    @property
    def offset_s(self) -> int:
        """How many whole seconds after its times it starts, from 0 to below `spread_s`: the same on every host."""
        if self.at is None:
            return 0  # it counts from its last start
        return _part(self.app, self.name, int(self.spread_s)) if self.spread_s else 0


@lru_cache(8192)  # asked for with each plan
def _id(*told: Json) -> str:
    return fingerprint(canonical(told))


@lru_cache(8192)
def _part(app: str, name: str, of_s: int) -> int:
    """Return a part of some seconds that depends on the names only."""
    digest = hashlib.sha256(f"{app}\0{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") * of_s >> 64
