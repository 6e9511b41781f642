"""A desired process: a long-running program of an app that is not web, as its manifest asks for it."""

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import CrashPolicy
from reconciler.planning.command_line import Command
from reconciler.planning.fingerprint import canonical, fingerprint
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.processes.kinds import Kind, kind_of
from reconciler.planning.processes.stop import StopSequence
from reconciler.planning.scaling.backlog import ByBacklog


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Ready once it has lived for so long."""

    seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifies:
    """Ready once it says READY=1 at its NOTIFY_SOCKET."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Ready once this command, run in its place, exits with 0."""

    command: Command


Ready: TypeAlias = After | Notifies | Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Alive:
    """A command that exits with 0 as long as the process is of use; `failures` in a row replace it."""

    command: Command
    interval_s: float = 60.0
    timeout_s: float = 10.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process of an app's manifest.

    `command` None means: the line of this name in the Procfile of the build. `single` and `stop` None mean: by the kind
    of its command. `watchdog_s` is how often it must say WATCHDOG=1. `env_files` are absolute paths of files that hold
    one variable each. One that is not `required` never rolls a revision back. `start_timeout_s` is how long it may take
    to be ready where it says so itself. `limits` are of each instance. With `scale`, how many run is chosen by what
    waits for it, and `count` is the least.
    """

    name: str
    command: Command | None = None
    count: int = 1
    single: bool | None = None
    stop_timeout_s: float = 30.0
    stop: StopSequence | None = None
    ready: Ready = After()
    watchdog_s: float | None = None
    alive: Alive | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_files: Mapping[str, str] = field(default_factory=dict)
    required: bool = True
    start_timeout_s: float = 60.0
    limits: Limits = NO_LIMITS
    scale: ByBacklog | None = None

    def kind(self, command: Command) -> Kind:
        """Return the kind of program that this is."""
        return kind_of(command.words, {**self.env, **command.env})

    def is_single(self, command: Command) -> bool:
        """Whether there must never be two of it at a time, when this is what it runs."""
        return self.kind(command).single if self.single is None else self.single

    def stop_of(self, command: Command) -> StopSequence:
        """Return how it is stopped, when this is what it runs."""
        return self.stop or self.kind(command).stop(self.stop_timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppProcess:
    """One process of one app, with what the app says of all it runs. `stops`: its manifest has the app stopped."""

    app: str
    process: Process
    crash: CrashPolicy = CrashPolicy()
    probation_s: float = 10.0
    stops: bool = False
    app_fingerprint: str = ""

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that depend on every field of the process."""
        return fingerprint(canonical(self.process))

    @property
    def name(self) -> str:
        """Return `APP/PROCESS`."""
        return key_of(self.app, self.process.name)


def key_of(app: str, process: str) -> str:
    """Return the name under which a process converges: `APP/PROCESS`."""
    return f"{app}/{process}"


def parts_of(key: str) -> tuple[str, str]:
    """Return the app and the process of a name as `key_of` makes it."""
    app, _, process = key.partition("/")
    return app, process


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a process is to run now: a command in the build and the environment of a revision.

    `inputs` is a fingerprint of all of the revision that makes a difference to what is not web. `secrets` are the ids
    of the values of the variables that the process takes from files of its own.
    """

    revision: str
    build: str
    inputs: str
    command: Command
    secrets: Mapping[str, str] = field(default_factory=dict)

    def version(self, process: Process) -> str:
        """Return twelve hexadecimal digits that say what an instance of the process runs.

        How many there are, how they are stopped, and how they are judged makes no difference to one that runs.
        """
        told = isinstance(process.ready, Notifies), process.watchdog_s, process.is_single(self.command)
        secrets = [canonical(self.secrets)] if self.secrets else []
        return fingerprint([self.inputs, canonical(self.command), canonical(process.env), canonical(told), *secrets])
