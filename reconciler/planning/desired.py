"""What the manifests ask for, as values: an App, the Build it needs and the Revision that should run.

Everything here is immutable and compares by content, so that "did anything change?" is `==`, and every
identifier is a fingerprint of exactly the fields that make a difference to what runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeAlias

from reconciler.planning.fingerprint import Json, canonical, fingerprint

AskedState: TypeAlias = Literal["running", "stopped", "maintenance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an app's code is, and when a new look at it makes a new build.

    `path` is absolute. `pinned` is empty when the app is redeployed as its source changes (`watch: true`);
    otherwise it is a digest of the manifest's document, and the source is read again only when that changes.
    """

    path: str
    pinned: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the code becomes a build. None means: find out while staging."""

    runtime: str | None = None
    entrypoint: str | None = None
    dependencies: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Build:
    """Code and environment to stage: a recipe applied to the source as it was when `content` was taken."""

    source: Source
    recipe: Recipe
    content: str

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same code and recipe."""
        return fingerprint(canonical(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What a worker must answer with 2xx before it accepts, and an instance again and again while it serves."""

    path: str
    host: str | None = None
    timeout_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How gunicorn serves a build. `worker_class` None means: sync, or what an ASGI app needs.

    `counts` makes the workers say when they are busy, which only an app that may sleep needs.
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
    """How often the health path is asked for while an instance serves, and how many failures in a row are believed."""

    interval_s: float = 10.0
    failures: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an app listens. `str()` gives `host:port`."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPolicy:
    """How soon an instance that died is started again: at once, then `first_s` doubling up to `cap_s`.

    An instance that served for `good_run_s` before it died starts the count anew.
    """

    first_s: float = 1.0
    cap_s: float = 60.0
    good_run_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """That an app wants to reach a service, by the service's name; `name` is what the app calls it, when it says so."""

    service: str
    name: str | None = None
    parameters: Mapping[str, Json] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One backing service as asked for. `asked` are the fields only its type has, with absolute paths.

    `server` is the one of the host's settings that it names, `grace_s` how long what it holds outlives the manifest
    when `retain` is False.
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
    """A binding that is ready. `credentials` is the id of what opens the service, never itself a secret.

    `instance` and `grant` are ids of twelve hexadecimal digits: of the service, and of the app's access to it.
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
    """One app as asked for: everything in its manifest, with defaults, leases and paths resolved.

    `lazy` means that nothing is started before somebody asks for it; `holding_page` is an absolute path. `env_files`
    are absolute paths of files that hold one variable each, `env_lists` of files of NAME=VALUE lines.
    """

    name: str
    manifest: str
    source: Source
    address: Address
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
        """True when it need not run while nobody asks for it."""
        return self.lazy or self.idle_after_s is not None

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits, the same as long as the manifest asks for the same."""
        return fingerprint(canonical(self))

    def build(self, content: str) -> Build:
        """The build this app needs when its source's fingerprint is `content`."""
        return Build(source=self.source, recipe=self.recipe, content=content)

    def revision(
        self, content: str, bindings: tuple[Bound, ...] = (), env_secrets: Mapping[str, str] | None = None
    ) -> "Revision":
        """What should run when the source's fingerprint is `content` and these are its credentials and secrets.

        The last one is kept beside the app, so that its id is not worked out again at each look.
        """
        given = (content, bindings, env_secrets or {})
        last: tuple[object, Revision] | None = self.__dict__.get("_last_revision")
        if last is not None and last[0] == given:
            return last[1]
        revision = Revision(
            app=self.name,
            build=self.build(content),
            address=self.address,
            server=self.server,
            env=self.env,
            release=self.release,
            bindings=bindings,
            env_secrets=given[2],
        )
        self.__dict__["_last_revision"] = (given, revision)
        return revision


@dataclass(frozen=True, kw_only=True)
class Revision:
    """A build plus its configuration: what an instance is an instance of.

    It is written down, so it holds no secret: `env_secrets` are the ids of the values of variables.
    """

    app: str
    build: Build
    address: Address
    server: Server
    env: Mapping[str, str] = field(repr=False)
    release: str | None = None
    bindings: tuple[Bound, ...] = ()
    env_secrets: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def release_id(self) -> str | None:
        """What marks the release command as done: it is run again for another build, environment or services.

        New credentials for the same services are no reason. None when there is no such command.
        """
        if self.release is None:
            return None
        told_of: dict[str, object] = {"build": self.build.id, "command": self.release, "env": dict(self.env)}
        if self.bindings:
            told_of["services"] = [[b.service, b.instance, b.label, b.name] for b in self.bindings]
        if self.env_secrets:
            told_of["secrets"] = dict(self.env_secrets)
        return fingerprint(told_of)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same build and configuration."""
        return fingerprint(canonical(self))


def revision_from(data: Mapping[str, Any]) -> Revision:
    """The revision that `asdict` made `data` of; raises KeyError or TypeError when it was another version's."""
    build, server, health = data["build"], dict(data["server"]), data["server"]["health"]
    return Revision(
        app=data["app"],
        build=Build(source=Source(**build["source"]), recipe=_recipe_from(build["recipe"]), content=build["content"]),
        address=Address(**data["address"]),
        server=Server(**{**server, "health": None if health is None else Health(**health)}),
        env=data["env"],
        release=data["release"],
        bindings=tuple(Bound(**{**b, "tags": tuple(b["tags"])}) for b in data.get("bindings", ())),
        env_secrets=data.get("env_secrets", {}),
    )


def _recipe_from(data: Mapping[str, Any]) -> Recipe:
    return Recipe(**{**data, "extras": tuple(data["extras"]), "groups": tuple(data["groups"])})
