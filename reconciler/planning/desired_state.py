"""What every World is told: all that is asked of this host at once."""

from collections.abc import Mapping
from typing import Protocol

from reconciler.planning.desired import App, Service


class DesiredState(Protocol):
    """The apps and services that the manifests in force ask for, by name."""

    @property
    def apps(self) -> Mapping[str, App]:
        """The apps."""
        ...

    @property
    def services(self) -> Mapping[str, Service]:
        """The services."""
        ...
