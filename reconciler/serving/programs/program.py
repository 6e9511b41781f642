"""Describe what an instance executes, and how it shows that it is ready, whatever kind of program it is."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address
from reconciler.planning.isolation.confinement import Isolated
from reconciler.serving.marks import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReady:
    """Ready once so many workers have passed their gate, each with a file in the readiness directory."""

    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StaysAlive:
    """Ready once it has lived for so long."""

    seconds: float


Readiness: TypeAlias = WorkersReady | StaysAlive


@dataclass(frozen=True, slots=True, kw_only=True)
class Forkable:
    """What decides whether a fork server can stand in for executing the program, and which."""

    runtime: str
    worker_class: str
    preloads_app: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """Which of an app's programs it is: the web server, or a process with its number, what it runs, how it is stopped.

    `stop` is the text of its stop sequence.
    """

    process: str = ""
    slot: int = 0
    version: str = ""
    stop: str = ""

    def as_recorded(self) -> dict[str, Any]:
        """Return the fields of an instance's record that say so."""
        return {"process": self.process, "slot": self.slot, "version": self.version, "stop": self.stop}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What an isolated program needs to see: what it only reads, and its services, each by type, name and id.

    `opens` says whether it opens a port of its own.
    """

    isolation: Isolated
    build: str
    readable: tuple[str, ...]
    services: tuple[tuple[str, str, str], ...] = ()
    opens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of a revision. `name` is what messages call it, `address` where it listens, if it does; also `beside`.

    `environment` returns its variables, which may name the instance. `directory` is the name of its directory below
    the app's `revisions`. `forkable` is None for one that is always executed. `counts_requests` says whether its
    workers write down when they are busy. `sight` is None for one that is not isolated; `logs_access` says whether it
    writes an access log. Without `argv` nothing is executed: the revision is in force all the same.
    """

    name: str
    app: str
    revision: str
    build: str
    argv: tuple[str, ...]
    environment: Callable[[Identity], Mapping[str, str]]
    readiness: Readiness
    directory: str
    start_timeout_s: float
    stop_timeout_s: float
    address: Address | None = None
    beside: Address | None = None
    forkable: Forkable | None = None
    counts_requests: bool = False
    role: Role = Role()
    sight: Sight | None = None
    logs_access: bool = False
