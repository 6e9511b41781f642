"""Desired state as values: an App, the Build it needs and the Revision that should run.

Everything here is immutable and compares by content, so that "did anything change?" is `==`, and every identifier is
a fingerprint of exactly the fields that make a difference to what runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias

from reconciler.planning.fingerprint import Json, canonical, fingerprint

AskedState: TypeAlias = Literal["running", "stopped", "maintenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The path of an app's source, and when a change there produces a new build.

    `path` is absolute. `pinned` is empty when a change of the source is deployed (`watch: true`); otherwise it is a
    digest of the manifest's document, and the source is read again only when that changes.
    """

    path: str
    pinned: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The way from code to a build. None means: detected while staging."""

    runtime: str | None = None
    entrypoint: str | None = None
    dependencies: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Build:
    """Code and environment to stage: a recipe, applied to the source whose fingerprint is `content`."""

    source: Source
    recipe: Recipe
    content: str

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that depend on the code and the recipe."""
        return fingerprint(canonical(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The path that a worker must answer with 2xx before it accepts, and that is probed while an instance serves."""

    path: str
    host: str | None = None
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The configuration of gunicorn. `worker_class` None means: sync, or a class for ASGI where the app needs it.

    `workers` is the number that an app desires. It is no part of a revision, whose server holds the default: an
    instance is scaled, not replaced. `counts` makes workers record when they are busy, for an app that may sleep.
    """

    workers: int = 1
    threads: int = 1
    worker_class: str | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    health: Health | None = None
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0
    access_log: bool = True
    counts: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """The interval of health probes, and the number of failures in a row that makes an instance unhealthy."""

    interval_s: float = 10.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a listener. `str()` gives `host:port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One desired backing service. `asked` holds the fields that only its type has, with absolute paths.

    `server` is a server of the host's settings; `grace_s` is how long its data outlives the manifest when `retain` is
    False.
    """

    name: str
    manifest: str
    type: str
    plan: str = "free"
    label: str = ""
    tags: tuple[str, ...] = ()
    retain: bool = True
    server: str | None = None
    grace_s: float | None = None
    asked: Mapping[str, Json] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A binding that is ready. `credentials` is the id of the credentials, never itself a secret.

    `instance` and `grant` are ids of twelve hexadecimal digits: of the service, and of the app's grant to it.
    """

    service: str
    type: str
    label: str
    plan: str
    instance: str
    grant: str
    credentials: str
    tags: tuple[str, ...] = ()
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class App:
    """One desired app: everything in its manifest, with defaults, leases and paths resolved.

    `address` is None for a program without a listener. A `lazy` app is first started by a connection; `holding_page` is
    an absolute path. `env_files` are absolute paths of files that hold one variable each, `env_lists` of files of
    NAME=VALUE lines.
    """

    name: str
    manifest: str
    source: Source
    address: Address | None
    recipe: Recipe = Recipe()
    server: Server = Server()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    release: str | None = None
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

    @property
    def may_sleep(self) -> bool:
        """Whether it may be stopped until the next connection, which takes a listener."""
        return self.address is not None and (self.lazy or self.idle_after_s is not None)

    @property
    def workers(self) -> int:
        """The number of workers that each of its instances is to run."""
        return self.server.workers

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that depend on every field of the manifest."""
        return fingerprint(canonical(self))

    def build(self, content: str) -> Build:
        """Return the build this app needs when its source's fingerprint is `content`."""
        return Build(source=self.source, recipe=self.recipe, content=content)

    def revision(
        self, content: str, bindings: tuple[Bound, ...] = (), env_secrets: Mapping[str, str] | None = None
    ) -> "Revision":
        """Return the revision that should run when the source's fingerprint is `content`, with these credentials."""
        return Revision(
            app=self.name,
            build=self.build(content),
            address=self.address,
            server=_without_workers(self.server),
            env=self.env,
            release=self.release,
            bindings=bindings,
            env_secrets=env_secrets or {},
        )


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A build plus its configuration, of which any number of instances can be started.

    It is stored, so it holds no secret: `env_secrets` are the ids of the values of variables. The number of workers is
    no part of it: its server holds the default.
    """

    app: str
    build: Build
    address: Address | None
    server: Server
    env: Mapping[str, str] = field(repr=False)
    release: str | None = None
    bindings: tuple[Bound, ...] = ()
    env_secrets: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def release_id(self) -> str | None:
        """The mark of a release command that was run, None without one: another build, environment or service needs
        another run, other credentials to the same service do not.
        """
        if self.release is None:
            return None
        inputs: dict[str, object] = {"build": self.build.id, "command": self.release, "env": dict(self.env)}
        if self.bindings:
            inputs["services"] = [[b.service, b.instance, b.label, b.name] for b in self.bindings]
        if self.env_secrets:
            inputs["secrets"] = dict(self.env_secrets)
        return fingerprint(inputs)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that depend on the build and the configuration."""
        return fingerprint(canonical(self))

    def legacy_id(self, workers: int) -> str:
        """Return the id of this revision with a number of workers as commit 75b705b computed it."""
        return fingerprint(canonical(replace(self, server=replace(self.server, workers=workers))))


def revision_from(data: Mapping[str, Any]) -> Revision:
    """Return the revision that `asdict` made `data` of; raises KeyError or TypeError if another version wrote it.

    The number of workers, which commit 75b705b stored, is left out.
    """
    build, server, health = data["build"], data["server"], data["server"]["health"]
    return Revision(
        app=data["app"],
        build=Build(source=Source(**build["source"]), recipe=_recipe_from(build["recipe"]), content=build["content"]),
        address=data["address"] and Address(**data["address"]),
        server=_without_workers(Server(**{**server, "health": health and Health(**health)})),
        env=data["env"],
        release=data["release"],
        bindings=tuple(Bound(**{**b, "tags": tuple(b["tags"])}) for b in data.get("bindings", ())),
        env_secrets=data.get("env_secrets", {}),
    )


def _without_workers(server: Server) -> Server:
    return server if server.workers == 1 else replace(server, workers=1)


def _recipe_from(data: Mapping[str, Any]) -> Recipe:
    return Recipe(**{**data, "extras": tuple(data["extras"]), "groups": tuple(data["groups"])})


class DesiredState(Protocol):
    """All that is desired of this host at once: the apps and services of the manifests in force, by name."""

    @property
    def apps(self) -> Mapping[str, App]:
        """The apps."""
        ...

    @property
    def services(self) -> Mapping[str, Service]:
        """The services."""
        ...
