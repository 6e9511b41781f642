"""Remember an origin in git between two daemons: what was heard, decided and requested, each after it happened.

Which commit is in force is not among it: that is where the link `current` leads.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.linux.dataclass import dataclass
from reconciler.linux.files import replace_file
from reconciler.linux.regular_files import read_record
from reconciler.manifests.git.candidate import NotAccepted
from reconciler.manifests.git.objects import Head
from reconciler.planning.origins.observed import Pause, TrialBranch, Verdict
from reconciler.planning.origins.proof import Wanted
from reconciler.planning.origins.webhook import Webhook

_MOST = 1024 * 1024
_MOST_RETURNED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Facts about one origin. `taken` is a commit that an operator confirmed, `refusals` those that one refused.

    `tag`, `accepted_tag` and `good_tag` are the names of the tags that led to `head`, `accepted` and `good`, the ids
    those of the tags. `wanted_with_good` is what the apps wanted when another commit took effect in place of `good`,
    None if that is not known. `returned` are the commits that were left again, each with why. `trial` is the branch
    that is tried on top of what is accepted.

    `heard_at` is when the repository last answered; what differs in that alone is written down with the next change.
    `subjects` are the first lines of the messages of the commits that are named here.
    """

    head: str | None = None
    accepted: str | None = None
    good: str | None = None
    good_tag: str = ""
    good_tag_id: str = ""
    good_signed_by: str = ""
    wanted_with_good: Wanted | None = None
    verdict: Verdict | None = None
    pause: Pause | None = None
    taken: str | None = None
    refusals: tuple[str, ...] = ()
    heard_at: float | None = field(default=None, compare=False)
    in_force_since: float | None = None
    signed_by: str = ""
    tag: str = ""
    tag_id: str = ""
    accepted_tag: str = ""
    accepted_tag_id: str = ""
    returned: Mapping[str, str] = field(default_factory=dict)
    subjects: Mapping[str, str] = field(default_factory=dict)
    webhook: Webhook = field(default_factory=Webhook)
    trial: TrialBranch = field(default_factory=TrialBranch)

    @property
    def accepted_head(self) -> Head | None:
        """The commit that was accepted, with the tag that led to it."""
        if self.accepted is None:
            return None
        return Head(commit=self.accepted, tag=self.accepted_tag, tag_id=self.accepted_tag_id)

    def leading_to(self, head: Head) -> "Record":
        """Return the record once the origin leads to another commit."""
        return replace(self, head=head.commit, tag=head.tag, tag_id=head.tag_id)

    @property
    def is_accepted_good(self) -> bool:
        """Whether the commit that was accepted is known as good, with the tag that led to it."""
        good = (self.good, self.good_tag, self.good_tag_id)
        return good == (self.accepted, self.accepted_tag, self.accepted_tag_id)

    def with_accepted_good(self) -> "Record":
        """Return the record once the commit that was accepted is good."""
        good = replace(self, good=self.accepted, good_tag=self.accepted_tag, good_tag_id=self.accepted_tag_id)
        return replace(good, good_signed_by=self.signed_by, wanted_with_good=None)

    def without(self, commit: str, why: str) -> "Record":
        """Return the record once a commit was left again, and the last good one is accepted in its place."""
        returned = dict([*self.returned.items(), (commit, why)][-_MOST_RETURNED:])
        left = replace(self, accepted=self.good, accepted_tag=self.good_tag, accepted_tag_id=self.good_tag_id)
        return replace(left, signed_by=self.good_signed_by, returned=returned)

    def without_trial(self, verdict: Verdict) -> "Record":
        """Return the record once the commit of the trial branch was left again, as its verdict says."""
        returned = dict([*self.returned.items(), (verdict.commit, verdict.why)][-_MOST_RETURNED:])
        return replace(self, returned=returned, trial=replace(self.trial, verdict=verdict))

    def refuse_returned(self, commit: str) -> None:
        """Raise NotAccepted for a commit that was left again, unless an operator confirmed it."""
        if commit in self.returned and commit != self.taken:
            raise NotAccepted("returned", self.returned[commit])


def read(path: Path) -> Record:
    """Return what is remembered; nothing if it cannot be read, as what is in force says what was accepted."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        found: dict[str, Any] = read_record(path, _MOST)
        known = {each.name for each in fields(Record)}
        given = {name: value for name, value in found.items() if name in known}
        if given.get("verdict") is not None:
            given["verdict"] = Verdict(**given["verdict"])
        if given.get("pause") is not None:
            given["pause"] = Pause(**given["pause"])
        if given.get("webhook") is not None:
            given["webhook"] = Webhook(**given["webhook"])
        if given.get("trial") is not None:
            verdict = given["trial"].get("verdict")
            judged = None if verdict is None else Verdict(**verdict)
            given["trial"] = TrialBranch(**{**given["trial"], "verdict": judged})
        given["refusals"] = tuple(given.get("refusals", ()))
        return Record(**given)
    return Record()


def write(path: Path, record: Record) -> None:
    """Write down what is to be remembered, so that it survives a power cut. Raises OSError; blocks."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    known = {each.name: getattr(record, each.name) for each in fields(record)}
    replace_file(path, json.dumps({name: _plain(value) for name, value in known.items()}))


def _plain(value: Any) -> Any:
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
