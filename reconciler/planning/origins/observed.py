"""Facts about an origin in git: its four commits, which are never mixed, and what was last heard and decided."""

from dataclasses import field, replace
from typing import Literal, TypeAlias

from reconciler.linux.dataclass import dataclass

Ruling: TypeAlias = Literal["accepted", "refused", "rewound", "missing", "held", "returned"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision about a commit. `trust` identifies what it was judged by, `why` is a sentence for people."""

    commit: str
    ruling: Ruling
    why: str = ""
    trust: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialBranch:
    """The branch that is tried on top of what is accepted: its newest commit, the verdict on that, and who signed it.

    There is no `commit` while there is no such branch.
    """

    commit: str | None = None
    verdict: Verdict | None = None
    signed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFailure:
    """Fetches that failed in a row: the code and the sentence of the last one, and how many there were."""

    code: str
    why: str
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An operator's request that nothing new takes effect; `until` is in wall-clock seconds, None for until resumed.

    While the machine has not started again since `boot`, it ends at `ends_s` of the clock that no program sets.
    """

    at: float
    because: str
    by: str
    until: float | None = None
    boot: str = ""
    ends_s: float | None = None

    def by_machine(self, boot: str, clock_s: float, now: float) -> "Pause":
        """Return the pause with its end by the clock of the machine as it is now, wherever that of the day was set."""
        if self.ends_s is None or self.boot != boot:
            return self
        return replace(self, until=now + self.ends_s - clock_s)

    def holds(self, now: float) -> bool:
        """Whether it is in effect at this time of day."""
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedOrigin:
    """What is true of one origin. Times are in wall-clock seconds, but for `due_at`, which is monotonic.

    `head` is the commit of the branch as it was last fetched, None while the branch does not exist. `accepted` passed
    every judge, `in_force` is what the manifests come from, and with `good` every app came up. `trees` are the commits
    whose files are on disk. `heard_at` is when the repository last answered. `failed` says which apps failed because of
    the commit in force, where it is to be left then. `behind` is how many commits of the head are not in force, and
    `store_bytes` the size of what was fetched. `rejected` says which apps of the commit in force were rejected, and
    `unbuilt` which failed otherwise, "" if none did. Each is None while that is not known. `trial` is the trial branch,
    and `is_trial_up_to_date` whether every app that its commit changed is, once that is in force. `base` is the commit
    that was accepted when the one in force was tried on top of it, None if that is no trial.
    In a fleet, `goal` is the commit that this host may go to now, "" for none, where it is not the head, and `waits`
    says why the head is not taken yet. `is_unfinished` is true after a look until everything that it led to is done,
    or something failed: no other look is made meanwhile.
    """

    head: str | None = None
    accepted: str | None = None
    in_force: str | None = None
    good: str | None = None
    trees: frozenset[str] = field(default_factory=frozenset)
    verdict: Verdict | None = None
    failure: FetchFailure | None = None
    pause: Pause | None = None
    trust: str = ""
    due_at: float = 0.0
    heard_at: float | None = None
    began_at: float = 0.0
    failed: str = ""
    is_untidy: bool = False
    behind: int | None = None
    store_bytes: int | None = None
    rejected: str | None = None
    unbuilt: str | None = None
    trial: TrialBranch = field(default_factory=TrialBranch)
    is_trial_up_to_date: bool = False
    base: str | None = None
    goal: str | None = None
    waits: str = ""
    is_report_due: bool = False
    is_unfinished: bool = False

    @property
    def trial_trust(self) -> str:
        """What identifies all that the commit of the trial branch is judged by: also what it has to be on top of."""
        return f"{self.trust} on {self.accepted}"

    @property
    def stands_at(self) -> str | None:
        """The commit in force, or the accepted one during a trial: what this host tells a fleet that it has."""
        is_trial = self.base is not None or self.in_force == self.trial.commit is not None
        return self.accepted if is_trial else self.in_force

    @property
    def has_trial(self) -> bool:
        """Whether there is a commit to try: one that is not accepted anyway."""
        return self.accepted is not None and self.trial.commit not in {None, self.accepted}

    @property
    def wanted(self) -> str | None:
        """The commit that is to be in force: that of the trial branch, if it passed, otherwise the accepted one."""
        verdict = self.trial.verdict
        if not self.has_trial or verdict is None or verdict.ruling != "accepted":
            return self.accepted
        is_it = (verdict.commit, verdict.trust) == (self.trial.commit, self.trial_trust)
        return self.trial.commit if is_it else self.accepted
