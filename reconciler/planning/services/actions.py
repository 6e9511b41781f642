"""What is known of one service on this host, and what can be done about it; all of it values.

Each step carries the smallest value it needs and compares by it, never by its cause. Doing a step twice, or after it
was interrupted anywhere, must come to the same as doing it once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

from reconciler.planning.fingerprint import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantState:
    """One grant on record: an app's access to a service. `parameters` is the fingerprint of what it was asked with.

    `bound` says that it is known to have worked; `due` that it has to be bound again, and why; `retiring` that another
    is to take its place, and why. `used` is True while an instance may work with it, `spare` while a revision that may
    be gone back to names it. `examined_at` is monotonic seconds, `repaired` whether binding it again was tried since
    it was last found to work.
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
    """One service on record, asked for or not. `made` is the fingerprint it was provisioned with, empty before that.

    `left_at` is since when nobody asks for it, monotonic seconds; `dumped` whether all it holds is in a backup since.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedService:
    """Everything known of the service of one name.

    `kept` are those on record, of which more than one is there after its type or server changed. `server` is the
    server that it is to be on, `problem` why that cannot be told. `wanted_by` are the apps that ask for it, with the
    fingerprints of their parameters. `examine_s` is how often its grants are tried, `traces` says that anything else is
    kept of it.
    """

    kept: tuple[ServiceState, ...] = ()
    server: str | None = None
    problem: str | None = None
    wanted_by: Mapping[str, str] = field(default_factory=dict)
    verify_every_s: float = 60.0
    grace_s: float = 3600.0
    has_residue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Draw the id of a service and put it on record, before anything of it exists."""

    type: str
    server: str | None
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "draw its id"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRetention:
    """Write down what its manifest says of what becomes of it, or that nobody asks for it, or does again."""

    service: str
    retain: bool
    grace_s: float
    left: bool
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "note that nobody asks for it" if self.left else "note what its manifest says"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """Make sure that the service is there as asked; `made` is the fingerprint of that."""

    service: str
    made: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "provision it"


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateGrant:
    """Draw a user and a password for an app and put them on record, before a server hears of them."""

    service: str
    app: str
    parameters: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"draw credentials for {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bind:
    """Make sure that a grant opens the service, and keep the credentials that come of it."""

    service: str
    grant: str
    app: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"bind {self.app} to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify:
    """Find out whether a grant still opens the service."""

    service: str
    grant: str
    app: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"try the credentials of {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unbind:
    """Take a grant back: it opens nothing any more, and is forgotten."""

    service: str
    grant: str
    app: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return f"take back credentials of {self.app}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackUp:
    """Write all it holds into the backups, before it is removed."""

    service: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "back up all it holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deprovision:
    """Remove the service with all it holds, and forget it."""

    service: str
    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "remove it with all it holds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    """Nothing is asked and nothing is there: how it stood is forgotten."""

    cause: str = field(compare=False)
    attempt: ClassVar[int] = 0

    def __str__(self) -> str:
        return "forget the service"


Action: TypeAlias = (
    Register | RecordRetention | Provision | CreateGrant | Bind | Verify | Unbind | BackUp | Deprovision | Forget
)  # fmt: skip

Parameters: TypeAlias = Mapping[str, Json]
