"""What the processes of each app say of the revision they run; their World says it, and the World of apps asks."""

from dataclasses import field

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.observed import ProcessFailure, ProcessStandings

_NEVER = float("-inf")
_NONE = ProcessStandings()


@dataclass(slots=True)
class _Said:
    failures: dict[str, ProcessFailure] = field(default_factory=dict)
    ailing: dict[str, str] = field(default_factory=dict)
    proven_at: dict[str, float] = field(default_factory=dict)
    underway: dict[str, str] = field(default_factory=dict)
    made: ProcessStandings | None = None


class ProcessVerdicts:
    """The last word of each process of each app."""

    def __init__(self) -> None:
        self._apps: dict[str, _Said] = {}

    def of(self, app: str) -> ProcessStandings:
        """Return what the processes of an app say; the same object until one says something else."""
        said = self._apps.get(app)
        if said is None:
            return _NONE
        if said.made is None:
            said.made = ProcessStandings(
                failures=tuple(said.failures.values()),
                ailing=tuple(f"{process}: {text}" for process, text in sorted(said.ailing.items()) if text),
                proven_at=max(said.proven_at.values(), default=_NEVER),
                underway="; ".join(f"{place}: {text}" for place, text in sorted(said.underway.items()) if text),
            )
        return said.made

    def blame(self, app: str, failure: ProcessFailure) -> None:
        """Note that a process of a revision ended before its probation was over."""
        said = self._apps.setdefault(app, _Said())
        said.failures[failure.revision], said.made = failure, None

    def has(self, app: str, process: str) -> bool:
        """Return whether a process, or a place elsewhere, has said anything."""
        said = self._apps.get(app)
        return said is not None and process in said.proven_at

    def note(self, app: str, process: str, *, ailing: str, proven_at: float, underway: str = "") -> bool:
        """Note what is wrong with a process, "" for nothing, and when its probation ends; return whether it is new.

        `process` may be a place elsewhere, which says what is still `underway`.
        """
        said = self._apps.setdefault(app, _Said())
        before = said.ailing.get(process, ""), said.proven_at.get(process), said.underway.get(process, "")
        if before == (ailing, proven_at, underway):
            return False
        said.ailing[process], said.proven_at[process] = ailing, proven_at
        said.underway[process], said.made = underway, None
        return True

    def forget(self, app: str, process: str) -> None:
        """Forget a process."""
        said = self._apps.get(app)
        if said is not None:
            said.ailing.pop(process, None)
            said.proven_at.pop(process, None)
            said.underway.pop(process, None)
            said.made = None
            if not said.ailing:
                del self._apps[app]
