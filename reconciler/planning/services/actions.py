"""The actions that bring one service from what is observed to what is desired.

Each carries the smallest value it needs and compares by it. Doing an action twice, or again after it was interrupted
anywhere, comes to the same as doing it once.
"""

from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.plan import PlannedAction


@dataclass(frozen=True, slots=True, kw_only=True)
class Register(PlannedAction):
    """Choose the id of a service and record it, before anything of it exists."""

    type: str
    server: str | None

    def __str__(self) -> str:
        return "register the service"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetention(PlannedAction):
    """Record what its manifest says about keeping its data, or that its manifest was removed."""

    service: str
    retain: bool
    grace_s: float
    left: bool

    def __str__(self) -> str:
        return "record that it is no longer desired" if self.left else "record what its manifest says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision(PlannedAction):
    """Make sure that the service exists as its manifest says; `made` is the fingerprint of that."""

    service: str
    made: str

    def __str__(self) -> str:
        return "provision the service"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrant(PlannedAction):
    """Create and record a user and a password for an app, before a server hears of them."""

    service: str
    app: str
    parameters: str

    def __str__(self) -> str:
        return f"create credentials for {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind(PlannedAction):
    """Make sure that a grant works at the server, and store the credentials."""

    service: str
    grant: str
    app: str

    def __str__(self) -> str:
        return f"bind {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(PlannedAction):
    """Verify that the credentials of a grant still work."""

    service: str
    grant: str
    app: str

    def __str__(self) -> str:
        return f"verify the credentials of {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbind(PlannedAction):
    """Revoke a grant, and forget it."""

    service: str
    grant: str
    app: str

    def __str__(self) -> str:
        return f"revoke credentials of {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackUp(PlannedAction):
    """Back up the data of a service before it is removed."""

    service: str

    def __str__(self) -> str:
        return "back up its data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprovision(PlannedAction):
    """Remove a service and its data, and forget it."""

    service: str

    def __str__(self) -> str:
        return "remove the service and its data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(PlannedAction):
    """Forget the status of a service of which nothing is left."""

    def __str__(self) -> str:
        return "forget the service"


Action: TypeAlias = (
    Register | RecordRetention | Provision | CreateGrant | Bind | Verify | Unbind | BackUp | Deprovision | Forget
)  # fmt: skip
