"""Hold what the live screen shows at one moment: every app with its load, and the details of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

from reconciler.linux.dataclass import dataclass

if TYPE_CHECKING:
    from reconciler.inspection.status import HostStatus
    from reconciler.metrics.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """The details of one app: its `events`, oldest first, the end of a log, and its `plan`, None until it is known."""

    name: str
    log: str
    events: Sequence[str] = ()
    lines: Sequence[str] = ()
    plan: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The host's status at wall-clock second `at`; `failure` says why it could not be read again since."""

    status: "HostStatus"
    at: float
    rates: "Mapping[str, Rate]" = field(default_factory=dict)
    failure: str = ""
