"""What the manifests ask for, as values: an App, the Build it needs and the Revision that should run.

Everything here is immutable and compares by content, so that "did anything change?" is `==`, and every
identifier is a fingerprint of exactly the fields that make a difference to what runs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal, TypeAlias

Json: TypeAlias = "None | bool | int | float | str | list[Json] | dict[str, Json]"
AskedState: TypeAlias = Literal["running", "stopped"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """Code and environment to stage: a recipe applied to the source as it was when `content` was taken."""

    source: Source
    recipe: Recipe
    content: str

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same code and recipe."""
        return fingerprint(asdict(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How gunicorn serves a build. `worker_class` None means: sync, or what an ASGI app needs."""

    workers: int = 1
    threads: int = 1
    worker_class: str | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 30.0


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
class App:
    """One app as asked for: everything in its manifest, with defaults, leases and paths resolved."""

    name: str
    manifest: str
    source: Source
    address: Address
    recipe: Recipe = Recipe()
    server: Server = Server()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    state: AskedState = "running"
    crash: CrashPolicy = CrashPolicy()

    def build(self, content: str) -> Build:
        """The build this app needs when its source's fingerprint is `content`."""
        return Build(source=self.source, recipe=self.recipe, content=content)

    def revision(self, content: str) -> "Revision":
        """What should run when the source's fingerprint is `content`."""
        return Revision(
            app=self.name, build=self.build(content), address=self.address, server=self.server, env=self.env
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A build plus its configuration: what an instance is an instance of."""

    app: str
    build: Build
    address: Address
    server: Server
    env: Mapping[str, str] = field(repr=False)

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for the same build and configuration."""
        return fingerprint(asdict(self))


def fingerprint(value: object) -> str:
    """Twelve hexadecimal digits that depend on the content of a JSON-like value, not on the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
