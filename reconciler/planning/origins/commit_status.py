"""Say how a commit fares on this host, as its git server is told. Pure."""

from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.origins.observed import ObservedOrigin

CommitState: TypeAlias = Literal["pending", "success", "failure", "error"]

# Whatever happens to a commit, a server hears of it no more often than that.
_MOST_TOLD = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitStatus:
    """The state of a commit, and a sentence for people. With `error`, it is this host that fails, not the commit."""

    commit: str
    state: CommitState
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The status that a git server was told last, None if none was, and how often it heard of that commit."""

    status: CommitStatus | None = None
    count: int = 0

    def next(self, wanted: CommitStatus | None) -> CommitStatus | None:
        """Return the next status to tell, None if there is none.

        A commit that was left while its apps came up is not left pending. One that failed, and is tried again, stays
        failed until it succeeds.
        """
        last = self.status
        if wanted is None:
            return None
        if last is None or last.commit != wanted.commit:
            if last is not None and last.state == "pending":
                text = f"commit {wanted.commit[:7]} came before its apps were up to date"
                return CommitStatus(commit=last.commit, state="error", text=text)
            return wanted
        is_news = wanted.state not in {last.state, "pending"}
        return wanted if is_news and self.count < _MOST_TOLD else None

    def with_told(self, status: CommitStatus) -> "Told":
        """Return the facts once a server was told."""
        is_same = self.status is not None and self.status.commit == status.commit
        return Told(status=status, count=self.count + 1 if is_same else 1)


def status_of(observed: ObservedOrigin, cannot: str) -> CommitStatus | None:
    """Return the status of the newest commit, None while it is not known; `cannot` is what this host cannot do.

    In a fleet it is that of the newest commit whose turn it is on this host. One that waits for its turn may never have
    it, and takes nothing away from what is in force.
    """
    verdict, head = observed.verdict, observed.head if observed.goal is None else observed.goal
    if not head:
        return None
    if verdict is not None and verdict.commit == head and verdict.ruling != "accepted":
        return CommitStatus(commit=head, state="failure", text=verdict.why)
    if head == observed.in_force:
        return _of_apps(head, observed)
    if observed.in_force is not None and observed.in_force == observed.trial.commit:
        return CommitStatus(commit=head, state="pending", text="a trial on top of it is in force")
    if cannot:
        return CommitStatus(commit=head, state="error", text=cannot)
    if observed.pause is not None:
        text = f"paused by {observed.pause.by}: {observed.pause.because}"
        return CommitStatus(commit=head, state="pending", text=text)
    return CommitStatus(commit=head, state="pending", text="it is about to take effect")


def _of_apps(head: str, observed: ObservedOrigin) -> CommitStatus | None:
    if observed.good == head:
        return CommitStatus(commit=head, state="success", text="in force, and its apps are up to date")
    if observed.rejected is None or observed.unbuilt is None:
        return None
    if observed.rejected:
        return CommitStatus(commit=head, state="failure", text=observed.rejected)
    if observed.unbuilt:
        return CommitStatus(commit=head, state="error", text=observed.unbuilt)
    return CommitStatus(commit=head, state="pending", text="in force; its apps are not up to date yet")
