"""What is true right now about one app on this host, as far as deciding needs to know it.

Times are seconds of the system's monotonic clock, which every process of one boot shares.
"""

from dataclasses import dataclass

from reconciler.desired import Address, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One gunicorn master: alive, or gone and not yet buried (`end` then says how it ended).

    `ready` means that every worker has once passed its gate, so that it serves. A `stranded` one listens on a socket
    of its own, which the daemon could not fetch back, and has to be replaced.
    """

    id: str
    revision: str
    build: str
    address: Address
    pid: int
    started_at: float
    ready: bool = False
    stopping_since: float | None = None
    stranded: bool = False
    end: str | None = None

    @property
    def serves(self) -> bool:
        """True while it accepts requests: ready, alive and not told to stop."""
        return self.ready and self.end is None and self.stopping_since is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashes:
    """Instances of one revision that died one after the other without a good run between them."""

    revision: str
    count: int
    last_at: float
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceLook:
    """The last successful look at an app's source, which source that was, and whether it may have changed since.

    A look that failed leaves the last content in force; `problem` says why, `tried_at` when.
    """

    source: Source
    content: str
    stale: bool = False
    problem: str | None = None
    tried_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """Everything known of one app.

    `changes` counts how often its source was seen to change, so that two wishes to read it can be told apart.
    `builds` are the finished ones, oldest first. `traces` is True when anything else is kept for the app that
    removing it would have to clean up.
    """

    source: SourceLook | None = None
    changes: int = 0
    builds: tuple[str, ...] = ()
    listeners: frozenset[Address] = frozenset()
    instances: tuple[Instance, ...] = ()
    crashes: Crashes | None = None
    traces: bool = False
