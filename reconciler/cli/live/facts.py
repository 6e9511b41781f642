"""What is known of a host at one moment, for a screen: every app with what it takes, and more of one of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reconciler.metrics.rates import Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """One app's `events`, oldest first, its log's last lines and what is pending: `plan`, None until it is known."""

    name: str
    log: str
    events: Sequence[str] = ()
    lines: Sequence[str] = ()
    plan: Sequence[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """`status` is what `status --json` prints, `at` wall-clock seconds, `trouble` why it could not be read anew."""

    status: Mapping[str, Any]
    at: float
    rates: "Mapping[str, Rate]" = field(default_factory=dict)
    trouble: str = ""
