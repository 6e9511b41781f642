"""A desired app: everything in its manifest, as one value that compares by content."""

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address, both
from reconciler.planning.apps.revision import Bound, Build, Recipe, Revision, Server, Source, without_workers
from reconciler.planning.fingerprint import Json, canonical, fingerprint
from reconciler.planning.isolation.confinement import NOT_ISOLATED, Isolated
from reconciler.planning.isolation.limits import NO_LIMITS, Limits
from reconciler.planning.scaling.instance_range import ONE, InstanceRange

if TYPE_CHECKING:  # most hosts have no repository, and most apps no process but their web server
    from reconciler.planning.apps.git_source import GitSource
    from reconciler.planning.canary.canary import Canary
    from reconciler.planning.processes.process import Process
    from reconciler.planning.routing.routing import Routing
    from reconciler.planning.scaling.worker_range import WorkerRange
    from reconciler.planning.schedules.schedule import Schedule

# In place of the source of an app whose source is in a repository.
_IN_GIT = Source(path="")

# The place of an app that runs on this host.
HERE = "here"

AskedState: TypeAlias = Literal["running", "stopped", "maintenance"]

# Each is looked for in whatever is written about the app; an environment of more would not fit an exec either.
MOST_VARIABLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """The interval of health probes, and the number of failures in a row that makes an instance unhealthy."""

    interval_s: float = 10.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPolicy:
    """The delay before an instance that exited is started again: none, then `first_s`, doubling up to `cap_s`.

    An instance that served for `good_run_s` before it exited resets the count.
    """

    first_s: float = 1.0
    cap_s: float = 60.0
    good_run_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The use of a service by an app; `name` is the name that the app gives it, if any."""

    service: str
    name: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict, repr=False)


class _Remembering:
    """Has room for what is computed once, beside fields in slots: those of an app are too many to share their names."""

    __slots__ = ("__dict__",)


@dataclass(frozen=True, slots=True, kw_only=True)
class App(_Remembering):
    """One desired app: everything in its manifest, with defaults, leases and paths resolved.

    `address` is None for a program without a listener; `beside` is the port at which one with a socket listens as well,
    `leased` the one at which it may have served before it had the socket. A `lazy` app is first started by a
    connection; `holding_page` is an absolute path. `env_files` are absolute paths of files that hold one variable each,
    `env_lists` of files of NAME=VALUE lines. `retries_release` says that a release command which failed is run again by
    itself. `in_git` is where the manifest takes the source from if that is a repository; `source` is then the directory
    of a commit on this host. `processes` are its programs that are not
    web. `limits` are of each instance, `isolation` is what keeps them apart from others. `worker_range` is that of the
    number of workers, None where the manifest says a number. `canary` is how a new revision is tried beside the one
    before, None if it takes over at once. `routing` is what the proxy does for it, None without a domain. `commit` is
    the commit that brought the source, "" if it is in none. `manifest_workers` is the number of the manifest where an
    operator, or the load, asks for another. `place` is where it runs: here, or in a cluster of the host's settings;
    `instances` is how many of it run there.
    """

    name: str
    manifest: str
    source: Source
    address: Address | None
    recipe: Recipe = Recipe()
    server: Server = Server()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    release: str | None = None
    retries_release: bool = False
    state: AskedState = "running"
    crash: CrashPolicy = CrashPolicy()
    liveness: Liveness = Liveness()
    probation_s: float = 10.0
    idle_after_s: float | None = None
    lazy: bool = False
    depends_on: tuple[str, ...] = ()
    patience_s: float = 5.0
    holding_page: str | None = None
    bindings: tuple[Binding, ...] = ()
    env_files: Mapping[str, str] = field(default_factory=dict)
    env_lists: tuple[str, ...] = ()
    in_git: "GitSource | None" = None
    processes: "tuple[Process, ...]" = ()
    schedules: "tuple[Schedule, ...]" = ()
    routing: "Routing | None" = None
    leased: Address | None = None
    beside: Address | None = None
    limits: Limits = NO_LIMITS
    worker_range: "WorkerRange | None" = None
    canary: "Canary | None" = None
    isolation: Isolated = NOT_ISOLATED
    place: str = HERE
    instances: InstanceRange = ONE
    commit: str = field(default="", compare=False)
    manifest_workers: int | None = field(default=None, compare=False)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it listens: nowhere, at one address, or at a socket and a port beside it."""
        return both(self.address, self.beside)

    @property
    def port(self) -> int | None:
        """The port at which it listens, beside its socket or alone; None without one."""
        return next((address.port for address in self.addresses if address.port), None)

    @property
    def url(self) -> str | None:
        """Where it serves, by gunicorn's own TLS if it was given a certificate; None without an address."""
        if self.address is not None and self.address.path:
            return str(self.address)
        return None if self.address is None else self._url_of(self.address)

    @property
    def port_url(self) -> str | None:
        """Where it serves beside its socket, None if it does not."""
        return None if self.beside is None else self._url_of(self.beside)

    @property
    def may_sleep(self) -> bool:
        """Whether it may be stopped until the next connection, which takes a listener."""
        return self.address is not None and (self.lazy or self.idle_after_s is not None)

    @property
    def workers(self) -> int:
        """The number of workers that each of its instances is to run."""
        return self.server.workers

    @property
    def workers_of_failures(self) -> int:
        """The number of workers that failures are recorded with: 0, for any, where it is chosen by need.

        It is the manifest's, whatever an operator asks for: another number is no reason to try again what failed.
        """
        return 0 if self.worker_range is not None else self.manifest_workers or self.server.workers

    def _url_of(self, address: Address) -> str:
        return f"{'https' if 'certfile' in self.server.settings else 'http'}://{address}/"

    def with_workers(self, workers: int) -> "App":
        """Return the app with another number of workers; the same object as long as that is the same."""
        if workers == self.server.workers:
            return self
        last: App | None = self.__dict__.get("_last_with_workers")
        if last is None or last.server.workers != workers:
            asked = self.manifest_workers or self.server.workers
            scaled = replace(self, server=replace(self.server, workers=workers), manifest_workers=asked)
            last = self.__dict__["_last_with_workers"] = scaled
        return last

    @cached_property
    def at_its_lease(self) -> "App":
        """The same app at the port that it had before it got a socket."""
        return replace(self, address=self.leased, leased=None, beside=None)

    @property
    def parts(self) -> "Sequence[Process | Schedule]":
        """What has variables of its own: its processes and its schedules."""
        return (*self.processes, *self.schedules)

    @cached_property
    def of_host(self) -> "App":
        """What this host does of the app: everything, or its build alone for one that runs in a cluster."""
        if self.place == HERE:
            return self
        return replace(
            self, release=None, processes=(), schedules=(), routing=None, depends_on=(), lazy=False, idle_after_s=None,
            canary=None, state="running",
        )  # fmt: skip

    @cached_property
    def stopped(self) -> "App":
        """The same app as one that its manifest stops."""
        return self if self.state == "stopped" else replace(self, state="stopped")

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that depend on every field of the manifest, and on no commit of its source."""
        # A request of an operator holds on when an app with a leased port gets a socket: its manifest says the same.
        asked = self if self.leased is None else self.at_its_lease
        asked = asked if self.in_git is None else replace(asked, source=_IN_GIT)
        return fingerprint(canonical(asked))

    def listening_at(self, address: Address, *, leased: Address | None = None, beside: Address | None = None) -> "App":
        """Return the app with its addresses and a lease; the same object as long as these are the same."""
        last: App | None = self.__dict__.get("_last_listening")
        if last is None or (last.address, last.leased, last.beside) != (address, leased, beside):
            last = replace(self, address=address, leased=leased, beside=beside)
            self.__dict__["_last_listening"] = last
        return last

    def with_source(self, source: Source, commit: str) -> "App":
        """Return the app with the source that a commit brought; the same object until another source is brought."""
        last: App | None = self.__dict__.get("_last_with_source")
        if last is None or last.source != source:
            last = self.__dict__["_last_with_source"] = replace(self, source=source, commit=commit)
        return last

    def build(self, content: str) -> Build:
        """Return the build this app needs when its source's fingerprint is `content`."""
        return Build(source=self.source, recipe=self.recipe, content=content, commit=self.commit)

    def revision(
        self, content: str, bindings: tuple[Bound, ...] = (), env_secrets: Mapping[str, str] | None = None
    ) -> Revision:
        """Return the revision that should run when the source's fingerprint is `content`, with these credentials.

        The same object as long as nothing changes, so that its ids are computed once and not with each plan.
        """
        asked = (content, bindings, tuple((env_secrets or {}).items()))
        last: tuple[object, Revision] | None = self.__dict__.get("_last_revision")
        if last is None or last[0] != asked:
            last = asked, self._revision(content, bindings, dict(env_secrets or {}))
            self.__dict__["_last_revision"] = last  # as `cached_property` does: no field, and gone with the app
        return last[1]

    def _revision(self, content: str, bindings: tuple[Bound, ...], env_secrets: Mapping[str, str]) -> Revision:
        return Revision(
            app=self.name,
            build=self.build(content),
            address=self.address,
            server=without_workers(self.server),
            env=self.env,
            release=self.release,
            bindings=bindings,
            env_secrets=env_secrets,
            isolation=self.isolation.of_revision,
            beside=self.beside,
        )
