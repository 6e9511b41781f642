"""Tell what becomes of an origin in git: events when something changes, and facts for `status` and the page."""

from collections.abc import Callable
from typing import Any, Protocol

from reconciler.manifests.git.record import Record
from reconciler.planning.origins.actions import Action
from reconciler.planning.origins.commit_status import CommitStatus, status_of
from reconciler.planning.origins.observed import ObservedOrigin, Verdict
from reconciler.planning.origins.plan import OriginPlan, short
from reconciler.planning.origins.webhook import Webhook
from reconciler.planning.reason import Reason
from reconciler.planning.subject import Subject
from reconciler.settings.git import GitOrigin
from reconciler.state.journal import Journal

_OF_FLEET = {
    "count": Reason.ACTION_FAILED,
    "member": Reason.REPORT_FAILED,
    "report": Reason.REPORT_FAILED,
    "reports": Reason.REPORT_FAILED,
    "forged": Reason.REPORT_REFUSED,
    "history": Reason.HISTORY_DIFFERS,
    "silence": Reason.FLEET_SILENT,
    "shared": Reason.HOST_NAME_SHARED,
}
_OF_STATE = {
    "refused": Reason.COMMIT_REFUSED,
    "rewound": Reason.COMMIT_REWOUND,
    "missing": Reason.COMMIT_MISSING,
    "held": Reason.COMMIT_HELD,
    "returned": Reason.COMMIT_RETURNED,
    "unreachable": Reason.ORIGIN_UNREACHABLE,
    "stale": Reason.ORIGIN_STALE,
    "paused": Reason.ORIGIN_PAUSED,
    "waiting": Reason.COMMIT_WAITING,
}


class Figures(Protocol):
    """What counts how an origin fares."""

    def fetched(self, seconds: float, failure: str) -> None:
        """Count a fetch that ended, by the code of why it failed, "" if it did not."""
        ...

    def refused(self, ruling: str) -> None:
        """Count a commit that was judged and not accepted."""
        ...


class Telling:
    """Writes events of one origin to the journal, each once, and passes on its facts when they differ.

    `tell_status` gets the status of the newest commit, None while it is not known.
    """

    def __init__(
        self,
        journal: Journal,
        publish: Callable[[str, dict[str, Any]], None],
        figures: Figures,
        tell_status: Callable[[CommitStatus | None], None],
    ) -> None:
        self._journal = journal
        self.figures = figures
        self._tell_status = tell_status
        self._publish = publish
        self._head: str | None = None
        self._accepted: str | None = None
        self._trial: str | None = None
        self._trial_verdict: Verdict | None = None
        self._told: tuple[str, str] = ("pending", "")
        self._facts: dict[str, Any] = {}
        self._failed = ""
        self._began = False
        self._waiting: str | None = None
        self._of_fleet: dict[str, str] = {}

    def tell(self, origin: GitOrigin, record: Record, observed: ObservedOrigin, planned: OriginPlan) -> None:
        """Tell what is new."""
        subject = Subject("origin", origin.name)
        if self._began and record.head is not None and record.head != self._head:
            text = f"{record.tag or origin.branch or origin.name} is at commit {_named(record, record.head)}"
            self._journal.write(subject, "fetched", text, reason=Reason.COMMIT_FETCHED)
        if self._began and record.accepted is not None and record.accepted != self._accepted:
            by = f", signed by {record.signed_by}" if record.signed_by else ""
            text = f"commit {_named(record, record.accepted)} is accepted{by}"
            self._journal.write(subject, "accepted", text, reason=Reason.COMMIT_ACCEPTED)
        if self._began:
            self._tell_trial(subject, origin, record)
        self._trial, self._trial_verdict = record.trial.commit, record.trial.verdict
        self._head, self._accepted, self._began = record.head, record.accepted, True
        self._tell_waiting(subject, record, planned)
        self._tell_state(subject, planned)
        self._publish_facts(origin, record, observed, planned)
        self._tell_status(status_of(observed, self._failed))

    def _tell_trial(self, subject: Subject, origin: GitOrigin, record: Record) -> None:
        trial = record.trial
        if trial.commit != self._trial:
            is_at = "is gone" if trial.commit is None else f"is at commit {_named(record, trial.commit)}"
            self._journal.write(subject, "fetched", f"{origin.trial} {is_at}", reason=Reason.COMMIT_FETCHED)
        verdict = trial.verdict
        if verdict is None or verdict == self._trial_verdict or verdict.commit != trial.commit:
            return
        if verdict.ruling != "accepted":
            reason = _OF_STATE[verdict.ruling]
            self._journal.write(subject, "refused", f"the trial is not in force: {verdict.why}", reason=reason)

    def _tell_waiting(self, subject: Subject, record: Record, planned: OriginPlan) -> None:
        """Tell once of each head that it waits; how long the hosts before need yet is in the facts alone."""
        if planned.state == "waiting" and record.head != self._waiting and record.head is not None:
            self._waiting = record.head
            text = f"commit {_named(record, record.head)} waits: {planned.message}"
            self._journal.write(subject, "waiting", text, reason=Reason.COMMIT_WAITING)

    def of_fleet(self, origin: GitOrigin, what: str, text: str) -> None:
        """Tell of a trouble with the fleet once, and of its end, where `text` is empty."""
        before = self._of_fleet.get(what, "")
        if text == before:
            return
        self._of_fleet[what] = text
        subject, reason = Subject("origin", origin.name), _OF_FLEET[what]
        if text:
            self._journal.write(subject, "failed", text, "tried again" if what.startswith("report") else "", reason)
        else:
            self._journal.write(subject, "recovered", f"over: {before}", reason=reason)

    def _tell_state(self, subject: Subject, planned: OriginPlan) -> None:
        if planned.state == "waiting":
            self._told = (planned.state, "")
            return
        before, now = self._told, (planned.state, planned.message)
        reason = _OF_STATE.get(planned.state)
        if now == before or (reason is None and planned.state == "pending"):
            return
        self._told = now
        if planned.state in {"unreachable", "stale"} and before[0] == planned.state:
            return  # the same trouble, in other words
        if planned.state in {"refused", "rewound", "missing", "held"}:
            self._journal.write(subject, "refused", planned.message, reason=reason or "")
        elif reason is not None:
            kind = "request" if planned.state == "paused" else "failed"
            self._journal.write(subject, kind, f"{planned.state}: {planned.message}", reason=reason)  # type: ignore[arg-type]
        elif before[0] in {"unreachable", "stale"}:
            self._journal.write(subject, "recovered", "the repository answers again", reason=Reason.COMMIT_FETCHED)

    def applied(self, origin: GitOrigin, record: Record, commit: str, before: str | None) -> None:
        """Tell that another commit is in force."""
        cause = f"before: {short(before)}" if before is not None else "it is the first"
        on_trial = f" on trial, on top of {short(record.accepted)}" if commit != record.accepted else ""
        text = f"commit {_named(record, commit)} is in force{on_trial}"
        self._journal.write(Subject("origin", origin.name), "applied", text, cause, Reason.COMMIT_APPLIED)
        self._failed = ""

    def cannot(self, origin: GitOrigin, what: str, error: BaseException) -> None:
        """Tell once that this host cannot do something; it is tried again."""
        text = f"cannot {what}: {getattr(error, 'strerror', None) or str(error) or 'it took too long'}"
        if text != self._failed:
            self._failed = text
            self._journal.write(Subject("origin", origin.name), "failed", text, "tried again", Reason.ACTION_FAILED)

    def _publish_facts(self, origin: GitOrigin, record: Record, observed: ObservedOrigin, planned: OriginPlan) -> None:
        facts = {
            "name": origin.name,
            "kind": "source" if origin.is_source else "origin",
            "repository": origin.repository.name,
            "branch": origin.branch,
            "tags": origin.tags,
            "commit": origin.commit,
            "tag": record.tag,
            "paths": [*origin.paths],
            "state": planned.state,
            "message": planned.message,
            "failure": "" if observed.failure is None else observed.failure.why,
            "head": record.head,
            "accepted": record.accepted,
            "in_force": observed.in_force,
            "good": observed.good,
            "since": record.in_force_since if observed.in_force is not None else None,
            "heard_at": record.heard_at,
            "signed": origin.repository.signed,
            "signed_by": record.trial.signed_by if planned.state == "trial" else record.signed_by,
            "fleet": [text for text in self._of_fleet.values() if text],
            "subjects": dict(record.subjects),
            "behind": observed.behind,
            "store_bytes": observed.store_bytes,
            "trial": _trial(origin, record, observed),
            "webhook": None if origin.repository.webhook is None else _facts_of(record.webhook),
        }
        if {**facts, **_UNTOLD} != {**self._facts, **_UNTOLD}:
            self._publish(origin.name, facts)
        self._facts = facts


# What each look changes is read from where it is noted.
_UNTOLD = {"heard_at": None}

_VERBS = {
    "materialise": "write its files",
    "takeeffect": "put a commit in force",
    "judge": "judge a commit",
    "judgetrial": "judge a commit on trial",
    "leave": "leave a commit",
    "leavetrial": "leave a commit on trial",
    "tidy": "tidy up",
}


def verb_of(action: Action) -> str:
    """Return what an action does, in words after `cannot`."""
    name = type(action).__name__.lower()
    return _VERBS.get(name, name)


def _trial(origin: GitOrigin, record: Record, observed: ObservedOrigin) -> dict[str, Any] | None:
    """Return facts about the trial branch, None while there is none."""
    trial = record.trial
    if trial.commit is None:
        return None
    judged = trial.verdict if trial.verdict is not None and trial.verdict.commit == trial.commit else None
    return {
        "branch": origin.trial,
        "commit": trial.commit,
        "ruling": None if judged is None else judged.ruling,
        "message": "" if judged is None else judged.why,
        "signed_by": trial.signed_by,
        "up_to_date": observed.is_trial_up_to_date,
    }


def _facts_of(webhook: Webhook) -> dict[str, Any]:
    return {"called_at": webhook.called_at, "missed": webhook.missed, "doubt": webhook.doubt}


def _named(record: Record, commit: str) -> str:
    subject = record.subjects.get(commit, "")
    return f"{short(commit)} “{subject}”" if subject else short(commit)
