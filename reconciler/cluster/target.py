"""Where an app is to run: what a cluster has to be told that no manifest says."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Spread: TypeAlias = Literal["none", "host", "zone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    """How many pods of the web server run: `least`, or up to `most`, so that each uses `cpu` percent of its request."""

    least: int = 1
    most: int | None = None
    cpu: int = 70

    @property
    def are_several(self) -> bool:
        """Whether there may be more than one."""
        return self.least > 1 or self.most is not None


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
    cluster needs to send it no more requests. `release_timeout_s` is how long a release command may take.
    """

    image: str
    namespace: str = ""
    instances: Instances = Instances()
    route: Gateway | IngressClass | None = None
    drain_s: int = 5
    spread: Spread = "host"
    pull_secret: str = ""
    release_timeout_s: float = 1800.0


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
