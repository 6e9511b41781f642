"""The observed state of one service on this host, as far as planning needs it.

Times are seconds of the system's monotonic clock, which all processes of one boot share.
"""

from collections.abc import Mapping
from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.planning.reason import Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantState:
    """One grant on record: the credentials of an app to a service. `parameters` is the fingerprint of its parameters.

    `bound` says that the credentials have worked; `due` that it has to be bound again, and why; `retiring` that another
    grant is to replace it, and why. `used` is True while an instance may use it, `kept_for_rollback` while a revision
    that can be rolled back to names it. `verified_at` is monotonic seconds; `repaired` says that it was bound again
    since it last worked.
    """

    id: str
    app: str
    parameters: str
    bound: bool = False
    due: str | None = None
    retiring: str | None = None
    used: bool = False
    kept_for_rollback: bool = False
    verified_at: float | None = None
    repaired: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceState:
    """One service on record. `made` is the fingerprint it was provisioned with, empty before that.

    `left_at` is when its manifest was removed, monotonic seconds; `dumped` says that a backup was made since.
    """

    id: str
    type: str
    server: str | None
    retain: bool
    grace_s: float
    made: str = ""
    left_at: float | None = None
    dumped: bool = False
    grants: tuple[GrantState, ...] = ()

    @property
    def was_made(self) -> bool:
        """Whether there may be data: it was provisioned, or an app has had credentials of it."""
        return bool(self.made) or any(grant.bound for grant in self.grants)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedService:
    """The observed state of the service of one name.

    `kept` are the services on record, of which there is more than one after the type or the server changed. `server` is
    the server that it is to be on; `problem` says why there is none. `wanted_by` are the apps that use it, with the
    fingerprints of their parameters. `verify_every_s` is the interval at which its grants are verified.
    `backup_trouble` says why its scheduled backups fail or are late; `has_residue`
    says that records of the service are left.
    """

    kept: tuple[ServiceState, ...] = ()
    server: str | None = None
    problem: str | None = None
    wanted_by: Mapping[str, str] = field(default_factory=dict)
    verify_every_s: float = 60.0
    grace_s: float = 3600.0
    backup_trouble: Cause | None = None
    has_residue: bool = False
