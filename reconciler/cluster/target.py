"""Where an app is to run: what a cluster has to be told that no manifest says."""

from collections.abc import Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.scaling.instance_range import InstanceRange

Spread: TypeAlias = Literal["none", "host", "zone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A Gateway that routes are for; `namespace` is "" for that of the app."""

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngressClass:
    """A class of Ingress."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A namespace of a cluster, "" for whichever the objects are applied in, and what runs there of one app.

    `image` is a reference by digest, `drain_s` how long a pod goes on serving after it is told to end: as long as the
    cluster needs to send it no more requests. `release_timeout_s` is how long a release command may take. `instances`
    are as many as are asked for beside the manifest, None for those of the manifest. `cluster` is its name in
    the host's settings, "" for an export.
    """

    image: str
    namespace: str = ""
    instances: InstanceRange | None = None
    route: Gateway | IngressClass | None = None
    drain_s: int = 5
    spread: Spread = "host"
    pull_secret: str = ""
    release_timeout_s: float = 1800.0
    cluster: str = ""

    def option(self, name: str) -> str:
        """Return where the route is said: an option of export, or a field of the host's settings."""
        return f"'clusters.{self.cluster}.route.{name}'" if self.cluster else f"--{name.replace('_', '-')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The secrets of an app. `env` are the variables that come from a file each, `env_lists` those of its lists.

    `views` are its bindings: `vcap` is VCAP_SERVICES, `files` the files of each by its directory. `parts` are
    variables of processes and schedules, by `processes.NAME` or `schedules.NAME`. `tls` are certificate and key.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    env_lists: Mapping[str, str] = field(default_factory=dict, repr=False)
    vcap: str = field(default="", repr=False)
    database_url: str | None = field(default=None, repr=False)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    tls: tuple[str, str] = field(default=("", ""), repr=False)


def instances_of(app: App, target: Target) -> InstanceRange:
    """Return how many instances of an app are to run: those of its manifest, unless the target says otherwise."""
    return app.instances if target.instances is None else target.instances
