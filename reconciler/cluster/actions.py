"""The actions on what an app has in a cluster, each with its cause in an operator's words."""

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import Revision
from reconciler.planning.plan import PlannedAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Render(PlannedAction):
    """Have the image of a revision in the registry, and its objects and secrets at hand."""

    app: App = field(repr=False)
    revision: Revision = field(repr=False)

    def __str__(self) -> str:
        return f"push the image of revision {self.revision.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyObject(PlannedAction):
    """Make an object as it is wanted. `found` are its fields that differ, `force` takes them from who changed them."""

    kind: str
    name: str
    wanted: Mapping[str, Any] = field(repr=False)
    found: tuple[str, ...] = ()
    force: bool = False

    def __str__(self) -> str:
        return f"apply {self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteObject(PlannedAction):
    """Delete an object, if it is still the one that was seen; with `orphans`, what it has made stays."""

    kind: str
    name: str
    uid: str
    orphans: bool = False

    def __str__(self) -> str:
        return f"delete {self.kind} {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetPlace(PlannedAction):
    """Forget what was kept about an app of which the cluster has nothing any more."""

    def __str__(self) -> str:
        return "forget what it was there"


Action: TypeAlias = Render | ApplyObject | DeleteObject | ForgetPlace
