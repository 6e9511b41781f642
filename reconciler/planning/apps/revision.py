"""A build, and the revision that should run, as values.

Everything here is immutable and compares by content, so that "did anything change?" is `==`, and every identifier is
a fingerprint of exactly the fields that make a difference to what runs.
"""

from collections.abc import Mapping
from dataclasses import field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.address import Address, both
from reconciler.planning.apps.code_commands import CodeCommands, Listen
from reconciler.planning.fingerprint import Json, canonical, fingerprint
from reconciler.planning.isolation.confinement import NOT_ISOLATED, Isolated, Mount

# What begins the version of a source in a commit.
TREE_MARK = "tree:"
# What begins that of a source in a commit that is not on this host: not yet, or not as things are. A sentence follows.
AWAITED_MARK, ABSENT_MARK = "awaited:", "absent:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The path of an app's source, and when a change there produces a new build.

    `path` is absolute. `pinned` is empty when the source is watched for changes; otherwise the source is read again
    only when that changes: a digest of the manifest's document (`watch: false`), or `tree:` and the id of what is at
    the path in the commit that is in force. A source in a repository has no path before it is on this host.
    """

    path: str
    pinned: str = ""

    @property
    def missing(self) -> str:
        """Why the source is not on this host, "" if it is as far as is known."""
        mark = next((mark for mark in (AWAITED_MARK, ABSENT_MARK) if self.pinned.startswith(mark)), None)
        return "" if mark is None else self.pinned.removeprefix(mark)

    @property
    def is_awaited(self) -> bool:
        """Whether the source is not on this host yet, and is being fetched."""
        return self.pinned.startswith(AWAITED_MARK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The way from code to a build. None means: detected while staging.

    `persist` are paths of the source that every build of the app shares, kept outside of all of them. `command` is the
    program that serves in place of gunicorn, `listen` how it is reached, `build` a command that runs once in the code.
    An app without `web` has no program that serves.
    """

    runtime: str | None = None
    entrypoint: str | None = None
    dependencies: str | None = None
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    persist: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    listen: Listen | None = None
    build: tuple[str, ...] = ()
    web: bool = True

    def persists(self, path: str) -> bool:
        """Whether a path of the source is one of those, or lies in one."""
        return any(f"{path.rstrip('/')}/".startswith(f"{kept.rstrip('/')}/") for kept in self.persist)


@dataclass(frozen=True, kw_only=True)
class Build:
    """Code and environment to stage: a recipe, applied to the source whose fingerprint is `content`.

    `commit` is the commit that brought the source, "" if it is in none; the same source of another commit is the same.
    """

    source: Source
    recipe: Recipe
    content: str
    commit: str = field(default="", compare=False)

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that depend on the code and the recipe."""
        return fingerprint(canonical(self))


ReleaseOrigin: TypeAlias = Literal["manifest", "Procfile", "static files"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseStep:
    """A command that runs in a new build before the build serves, and what asks for it."""

    command: str
    origin: ReleaseOrigin


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
    access_log: bool | Literal["all"] = True  # the daemon's probes are in it only with "all"
    counts: bool = False


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
class Revision:
    """A build plus its configuration, of which any number of instances can be started.

    It is stored, so it holds no secret: `env_secrets` are the ids of the values of variables. The number of workers is
    no part of it: its server holds the default. `beside` is the port at which it listens as well as at a socket.
    """

    app: str
    build: Build
    address: Address | None
    server: Server
    env: Mapping[str, str] = field(repr=False)
    release: str | None = None
    bindings: tuple[Bound, ...] = ()
    env_secrets: Mapping[str, str] = field(default_factory=dict)
    isolation: Isolated = NOT_ISOLATED
    beside: Address | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where its instances listen: nowhere, at one address, or at a socket and a port beside it."""
        return both(self.address, self.beside)

    @property
    def port(self) -> Address | None:
        """The address with a port at which its instances listen, None without one."""
        return next((address for address in self.addresses if address.port), None)

    def release_steps(self, code: CodeCommands) -> tuple[ReleaseStep, ...]:
        """Return what runs in the build before it serves, in order, given the commands that its code asks for.

        The manifest's command takes the place of the Procfile's; static files are collected unless it does that.
        """
        own = ReleaseStep(command=code.release, origin="Procfile")
        if self.release is not None:
            own = ReleaseStep(command=self.release, origin="manifest")
        collect = ReleaseStep(command="" if "collectstatic" in own.command else code.collect, origin="static files")
        return tuple(step for step in (collect, own) if step.command or step.origin == "manifest")

    def release_mark(self, code: CodeCommands) -> str | None:
        """Return the mark of release steps that were run, None without any: another build, environment or service needs
        another run, other credentials to the same service do not.
        """
        commands = [step.command for step in self.release_steps(code)]
        if not commands:
            return None
        inputs: dict[str, object] = {"build": self.build.id, "env": dict(self.env)}
        inputs["command"] = commands[0] if commands == [self.release] else commands
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
        build=Build(
            source=Source(**build["source"]),
            recipe=_recipe_from(build["recipe"]),
            content=build["content"],
            commit=build.get("commit", ""),
        ),
        address=data["address"] and Address(**data["address"]),
        server=without_workers(Server(**{**server, "health": health and Health(**health)})),
        env=data["env"],
        release=data["release"],
        bindings=tuple(Bound(**{**b, "tags": tuple(b["tags"])}) for b in data.get("bindings", ())),
        env_secrets=data.get("env_secrets", {}),
        isolation=_isolation_from(data.get("isolation", {})),
        beside=Address(**data["beside"]) if data.get("beside") else None,
    )


def without_workers(server: Server) -> Server:
    return server if server.workers == 1 else replace(server, workers=1)


def _isolation_from(data: Mapping[str, Any]) -> Isolated:
    mounts = tuple(Mount(**each) for each in data.get("mounts", ()))
    return Isolated(**{**data, "mounts": mounts, "places": tuple(data.get("places", ()))})


def _recipe_from(data: Mapping[str, Any]) -> Recipe:
    lists = {name: tuple(data.get(name, ())) for name in ("extras", "groups", "persist", "command", "build")}
    return Recipe(**{**data, **lists})
