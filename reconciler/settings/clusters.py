"""The clusters in which apps of this host may run, as its settings name them."""

from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Spread: TypeAlias = Literal["none", "host", "zone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """One cluster: how its API server is reached, and the namespace there; images go to `registry`/APP.

    `bases` are the layouts of base images by the Python they have, such as 3.12; each may end in `@` and a digest.
    `gateway` and `ingress_class` are what routes of domains are for, "" for none. `drain_s` is how long a pod that is
    to end serves on, `overlap_s` how long an app that moves serves both there and here. `force` changes back what
    others have changed. `entry` is where the proxy of this host reaches the domains of its apps: an address such as
    https://10.0.0.5, `ingress` or `service` for the one that the app has there, "" if the proxy is not to; `entry_ca`
    is what its certificates are trusted by.
    """

    name: str
    kubeconfig: Path
    namespace: str
    registry: str
    context: str = ""
    registry_auth: Path | None = None
    registry_ca: Path | None = None
    plain_http: bool = False
    bases: Mapping[str, str] = field(default_factory=dict)
    pull_secret: str = ""
    gateway: str = ""
    ingress_class: str = ""
    drain_s: int = 5
    overlap_s: float = 0.0
    spread: Spread = "host"
    force: bool = True
    entry: str = ""
    entry_ca: Path | None = None
