"""The actions on the proxy, each with its cause in an operator's words."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.plan import PlannedAction
from reconciler.planning.routing.linked_names import Link
from reconciler.planning.wording import listed


@dataclass(frozen=True, slots=True, kw_only=True)
class StartProxy(PlannedAction):
    """Start the proxy that the daemon keeps, with this configuration."""

    config: Any = field(repr=False)

    def __str__(self) -> str:
        return "start the proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtProxy(PlannedAction):
    """Ask the proxy for its configuration, and read the files that routings name."""

    since: float

    def __str__(self) -> str:
        return "look at the proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigureProxy(PlannedAction):
    """Give the proxy this configuration in place of the one that it has."""

    config: Any = field(repr=False)

    def __str__(self) -> str:
        return "configure the proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkNames(PlannedAction):
    """Have just these names served by links on the disk."""

    names: Mapping[str, Link] = field(repr=False)

    def __str__(self) -> str:
        return "link the names"


@dataclass(frozen=True, slots=True, kw_only=True)
class TryDomains(PlannedAction):
    """Connect to the proxy as clients of these names do, and read their certificates."""

    names: tuple[str, ...]
    since: float

    def __str__(self) -> str:
        return "try the domains"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayFiles(PlannedAction):
    """Lay out the static files of apps for the proxy: these trees of each, the newest first, and no other."""

    apps: tuple[tuple[str, tuple[str, ...]], ...]

    def __str__(self) -> str:
        laid, gone = ([app for app, trees in self.apps if bool(trees) is has] for has in (True, False))
        told = [f"{how} the static files of {listed(apps)}"
                for how, apps in (("lay out", laid), ("take away", gone)) if apps]  # fmt: skip
        return ", ".join(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndProxy(PlannedAction):
    """End the proxy that the daemon keeps: no app has a domain any more."""

    def __str__(self) -> str:
        return "end the proxy"


Action: TypeAlias = StartProxy | LookAtProxy | ConfigureProxy | LinkNames | TryDomains | LayFiles | EndProxy
