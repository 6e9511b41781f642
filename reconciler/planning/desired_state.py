"""All that is desired of this host at once."""

from collections.abc import Mapping
from typing import Protocol

from reconciler.planning.apps.app import App
from reconciler.planning.services.service import Service


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
