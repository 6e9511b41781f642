"""What apps need of services and secrets."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import ExternalInputs
from reconciler.planning.apps.revision import Revision
from reconciler.planning.processes.process import Process
from reconciler.planning.schedules.schedule import Schedule
from reconciler.serving.programs.gunicorn import InjectedEnv


class SecretSource(Protocol):
    """Supplies apps with the credentials of their services and the values of their secret variables."""

    def inputs(self, app: App | None, name: str) -> ExternalInputs:
        """Return what an app is supplied with right now; cheap."""
        ...

    def injected(self, revision: Revision, directory: Path) -> InjectedEnv:
        """Return what an instance of a revision gets, with its files written below `directory`.

        From here on the instance may use it. Raises CannotStart.
        """
        ...

    def of_part(self, app: str, part: Process | Schedule) -> tuple[Mapping[str, str], tuple[str, ...], tuple[str, ...]]:
        """Return the ids of what a process or a schedule takes from its own files, what is missing, and what is old."""
        ...

    def values_of(self, ids: Mapping[str, str]) -> dict[str, str]:
        """Return variables from the ids of their values. Raises CannotStart."""
        ...

    def doubt(self, app: str) -> None:
        """Find out now whether the services of an app are there, as its release command failed."""
        ...

    def rename_use(self, app: str, former: str, current: str) -> None:
        """Record what instances of a revision use under the revision's current id."""
        ...
