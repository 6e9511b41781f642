"""Do the actions on one origin in git, and remember each after it happened.

Each of the four commits is written down after its fact: head once it is fetched, accepted once it is judged, in force
once `current` leads to it, good once its apps are up to date. What goes wrong changes nothing that is in force.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

from reconciler.manifests import last_answer
from reconciler.manifests.git import record as records
from reconciler.manifests.git.candidate import Candidate, InForce, NotAccepted, Signatures
from reconciler.manifests.git.fleet_member import FleetMember
from reconciler.manifests.git.judge import Judge
from reconciler.manifests.git.materialise import KEPT, materialise
from reconciler.manifests.git.objects import BranchMissing, CannotFetch, DamagedStore, Head, TooLarge
from reconciler.manifests.git.origin_apps import OriginApps
from reconciler.manifests.git.origin_trees import OriginTrees
from reconciler.manifests.git.program import GitProgram
from reconciler.manifests.git.source_judge import SourceJudge, TakenSources
from reconciler.manifests.git.store import Store
from reconciler.manifests.git.telling import Telling
from reconciler.manifests.git.tree_index import Index
from reconciler.planning.origins import actions
from reconciler.planning.origins.fetch_times import deviation_of, renewal_wait_s, wait_s
from reconciler.planning.origins.observed import FetchFailure, ObservedOrigin, TrialBranch, Verdict
from reconciler.planning.origins.plan import short
from reconciler.planning.origins.webhook import LEAST_APART_S
from reconciler.settings.git import GitOrigin
from reconciler.state.paths import StatePaths

# An app that is not up to date soon after a commit took effect may not be for long.
FIRST_PROOF_S = 1.0
AGAIN_S = 5.0


class Effects:
    """Acts on one origin. `changed` is called when another commit is in force.

    `apps` are those of the origin, by which a commit in force is good or left again. What apps take their sources from
    has no manifests: `in_force` says so.
    """

    def __init__(  # noqa: PLR0913  collaborators, each named
        self,
        origin: GitOrigin,
        paths: StatePaths,
        git: GitProgram,
        *,
        signatures: Signatures,
        in_force: InForce,
        telling: Telling,
        changed: Callable[[], None],
        apps: OriginApps,
    ) -> None:
        sources = in_force.trees if isinstance(in_force, TakenSources) else None
        self.origin = origin
        self._directory = paths.origin(origin.name) if sources is None else sources.directory
        self._git = git
        self._store = Store(git, paths.git, origin)
        self._trees = OriginTrees(self._directory) if sources is None else sources
        self._signatures = signatures
        self._judge = Judge(origin, self._store, signatures, in_force, self._directory)
        if sources is not None:
            self._judge = SourceJudge(origin, self._store, signatures, sources)
        self._in_force = in_force
        self._telling = telling
        self._changed = changed
        self._apps = apps
        self.fleet = FleetMember(
            origin, git, self._store, self._judge.fleets, self._directory,
            apps=apps, tell=lambda what, text: telling.of_fleet(origin, what, text),
        )  # fmt: skip
        self._wake = asyncio.Event()
        self.record = records.Record()
        self._observed = ObservedOrigin()
        self._candidate: Candidate | None = None
        self._looks_due: list[float] = []
        self._requests: list[Callable[[records.Record], records.Record]] = []
        self._is_wanted = self._is_fetching = self._is_expected = False
        self._fetched_at = -LEAST_APART_S
        self._proof_s = FIRST_PROOF_S
        self._renewals, self._renewal_at = 0, 0.0
        self.looks = 0
        self.is_at_rest = False

    def index(self, commit: str) -> Index:
        """Return the index of the tree of a commit. Raises DamagedTree; blocks."""
        return self._trees.index(commit)

    async def _do(self, action: actions.Action) -> None:
        match action:
            case actions.Fetch():
                await self._fetch()
            case actions.Judge(commit=commit):
                await self._judge_commit(commit)
            case actions.JudgeTrial(commit=commit):
                await self._judge_trial(commit)
            case actions.LeaveTrial(commit=commit, cause=cause):
                await self._leave_trial(commit, cause)
            case actions.Materialise(commit=commit):
                await self._materialise(commit)
            case actions.TakeEffect(commit=commit):
                await self._take_effect(commit)
            case actions.Leave(commit=commit, cause=cause):
                await self._leave(commit, cause)
            case actions.Report():
                await self.fleet.report()
            case actions.Tidy():
                await self._tidy()

    async def _fetch(self) -> None:
        before = self.record
        looks_due = self._looks_due
        is_expected = self._is_wanted or self._is_expected or bool(looks_due) or not self.looks
        # An unexpected error is no reason to fetch in a loop.
        self._observed = replace(self._observed, due_at=time.monotonic() + self.origin.repository.every_s)
        self._is_wanted, self._is_fetching = False, True
        began, failure = time.monotonic(), ""
        try:
            head = await self._store.fetch(
                self.origin,
                before.accepted,
                since=self.origin.repository.first,
                beside=self.fleet.refspecs_beside(before.head, self._observed.stands_at),
            )
            subjects = {head.commit: head.subject}
            trial = await self._store.trial(self.origin)
            if trial is not None:
                subjects[trial] = (await self._store.commit(trial)).subject
        except BranchMissing as error:
            self._schedule(None)
            missing = Verdict(commit="", ruling="missing", why=str(error), trust=self._observed.trust)
            await self._remember(replace(self.record, head=None, verdict=missing, heard_at=now_s()))
        except (CannotFetch, DamagedStore) as error:
            count = 1 + (self._observed.failure.count if self._observed.failure is not None else 0)
            failure = error.code if isinstance(error, CannotFetch) else "damaged"
            self._schedule(FetchFailure(code=failure, why=str(error), count=count))
        else:
            if head.commit != before.head:
                self._settle()
                if self._looks_due is looks_due:  # another call asks for another look
                    self._looks_due.clear()
            self._schedule(None)
            subjects = self._named(subjects)
            verdict = None if before.verdict is not None and not before.verdict.commit else self.record.verdict
            heard_at = now_s() if head.was_asked else before.heard_at
            tried = replace(self.record.trial, commit=trial)
            heard = replace(self.record, heard_at=heard_at, subjects=subjects, verdict=verdict, trial=tried)
            if head.commit != before.head and not is_expected and self.origin.repository.webhook is not None:
                heard = replace(heard, webhook=heard.webhook.with_missed())
            await self._remember(heard.leading_to(head))
            await self.fleet.look(head.commit, self._observed.stands_at, has_reports=head.has_beside)
        finally:
            self._fetched_at = time.monotonic()
            self._telling.figures.fetched(self._fetched_at - began, failure)
            self.looks += 1
            self._is_fetching = False

    def _named(self, subject_of: dict[str, str]) -> dict[str, str]:
        """Return the subjects of the commits that the record names, and of these."""
        record = self.record
        named = {record.head, record.accepted, record.good, record.taken, record.trial.commit, self._observed.in_force}
        return {c: subject for c, subject in record.subjects.items() if c in named} | subject_of

    def _schedule(self, failure: FetchFailure | None) -> None:
        """Note when to fetch next: with a deviation that is this host's own, and later after every failure in a row."""
        deviation = deviation_of(self.origin.host, self.origin.name)
        delay_s = wait_s(failure, self.origin.repository.every_s, deviation)
        self._is_expected = failure is None and bool(self._looks_due)
        if self._is_expected:
            delay_s = min(delay_s, self._looks_due.pop(0))
        due_at = 0.0 if self._is_wanted else time.monotonic() + delay_s
        self._observed = replace(self._observed, failure=failure, due_at=due_at)

    async def _judge_commit(self, commit: str) -> None:
        trust, record = self._observed.trust, self.record
        signer, accepted = record.signed_by, record.accepted
        head = Head(commit=commit)
        if commit == record.head:
            head = Head(commit=commit, tag=record.tag, tag_id=record.tag_id)
        elif record.accepted_head is not None and commit == record.accepted:
            head = record.accepted_head  # with the tag that led to it then
        try:
            record.refuse_returned(commit)
            candidate, signer = await self._judge.judged(
                head, record.accepted_head, taken=record.taken == commit, refused=commit in record.refusals
            )
            verdict, accepted, self._candidate = (
                Verdict(commit=commit, ruling="accepted", trust=trust),
                commit,
                candidate,
            )
        except NotAccepted as error:
            verdict = Verdict(commit=commit, ruling=error.ruling, why=str(error), trust=trust)
            if record.verdict is None or replace(record.verdict, trust=trust) != verdict:
                self._telling.figures.refused(error.ruling)
        except DamagedStore as error:
            await self._renew(str(error))
            return
        if self.record.head != record.head:
            return  # it was replaced meanwhile
        if verdict.ruling == "accepted" and commit == self._observed.in_force:
            await asyncio.to_thread(self._trees.end_trial)
        if verdict.ruling != "accepted" or record.accepted == commit:
            signer = record.signed_by
        known = replace(self.record, verdict=verdict, accepted=accepted, signed_by=signer)
        if verdict.ruling == "accepted":
            assert self._candidate is not None
            subjects = self._named(subject_of={commit: self._candidate.unjudged.commit.subject})
            known = replace(known, accepted_tag=head.tag, accepted_tag_id=head.tag_id, subjects=subjects)
        await self._remember(known)

    async def _judge_trial(self, commit: str) -> None:
        trust, record, signer = self._observed.trial_trust, self.record, ""
        try:
            record.refuse_returned(commit)
            is_refused = commit in record.refusals
            candidate, signer = await self._judge.judged(
                Head(commit=commit), record.accepted_head, taken=False, refused=is_refused
            )
            self._candidate = candidate
            verdict = Verdict(commit=commit, ruling="accepted", trust=trust)
        except NotAccepted as error:
            why = str(error).partition(", or confirm it with")[0]  # which only the newest commit of the origin can be
            if error.ruling == "rewound":
                why = f"commit {commit[:7]} is not on top of {short(record.accepted)}: rebase {self.origin.trial}"
            verdict = Verdict(commit=commit, ruling=error.ruling, why=why, trust=trust)
        except DamagedStore as error:
            await self._renew(str(error))
            return
        if self.record.trial.commit == commit:
            await self._remember(
                replace(self.record, trial=TrialBranch(commit=commit, verdict=verdict, signed_by=signer))
            )

    async def _leave_trial(self, commit: str, cause: str) -> None:
        """Write down that a commit on trial was left, so that the accepted one takes effect again."""
        remedy = f"push another commit to {self.origin.trial}"
        why = f"commit {commit[:7]} was left again, as its apps failed ({cause}): {remedy}"
        verdict = Verdict(commit=commit, ruling="returned", why=why, trust=self._observed.trial_trust)
        await self._remember(self.record.without_trial(verdict))

    async def _materialise(self, commit: str) -> None:
        if self._candidate is None or self._candidate.unjudged.commit.id != commit:
            # Its files were lost, or an earlier daemon accepted it: what is written is what is judged.
            record = self.record
            is_trial = commit != record.accepted
            head = Head(commit=commit) if is_trial else record.accepted_head or Head(commit=commit)
            try:
                self._candidate, _ = await self._judge.judged(head, head, taken=True, refused=False)
            except NotAccepted as error:
                await self._withdraw(commit if is_trial else record.head or "", error)
                return
            except DamagedStore as error:
                await self._renew(str(error))
                return
        index, before = self._candidate.index, self._observed.in_force
        self._candidate = None
        try:
            kept = (self.record.good, self.record.accepted)
            await materialise(index, self._store, self._trees, before, kept)
            if commit == before:
                self._changed()
        except TooLarge as error:
            await self._withdraw(commit, NotAccepted("refused", f"commit {commit[:7]} is too large: {error}"))
        except DamagedStore as error:
            await self._renew(str(error))

    async def _withdraw(self, commit: str, error: NotAccepted) -> None:
        """Take a commit for not accepted whose files cannot be written."""
        verdict = Verdict(commit=commit, ruling=error.ruling, why=str(error), trust=self._observed.trust)
        if self._observed.has_trial and commit == self.record.trial.commit:
            tried = replace(self.record.trial, verdict=replace(verdict, trust=self._observed.trial_trust))
            await self._remember(replace(self.record, trial=tried))
            return
        before = await asyncio.to_thread(self._trees.base_of_trial)
        await self._remember(replace(self.record, verdict=verdict, accepted=before or self._observed.in_force))

    async def _renew(self, why: str) -> None:
        """Fetch into a new store, as what was fetched is damaged; or wait, where that was done already."""
        if not await self._renewed(why):
            self._telling.cannot(self.origin, "read what was fetched", DamagedStore(why))
            await self._pause(min(self._renewal_at, self._observed.due_at) - time.monotonic())

    async def _renewed(self, why: str) -> bool:
        """Fetch into a new store, but later and later while what is fetched stays damaged; return whether it was tried.

        It begins again with another head, and with a commit that takes effect.
        """
        if time.monotonic() < self._renewal_at:
            return False
        self._renewals += 1
        try:
            head = await self._store.renew(self.origin, self.record.accepted or self.origin.repository.first)
            tried = replace(self.record.trial, commit=await self._store.trial(self.origin))
        except (CannotFetch, BranchMissing, DamagedStore) as error:
            count = 1 + (self._observed.failure.count if self._observed.failure is not None else 0)
            self._schedule(FetchFailure(code="damaged", why=f"{why}; {error}", count=count))
            return True
        finally:
            self._renewal_at = time.monotonic() + renewal_wait_s(self._renewals)
        self._schedule(None)
        if head.commit != self.record.head:
            self._settle()
        await self._remember(replace(self.record, heard_at=now_s(), verdict=None, trial=tried).leading_to(head))
        return True

    def _settle(self) -> None:
        """Have what was fetched replaced at once, if it should be damaged."""
        self._renewals, self._renewal_at = 0, 0.0

    async def _pause(self, seconds: float) -> None:
        """Do nothing for some seconds, or until something is requested."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._wake.wait()

    async def _take_effect(self, commit: str) -> None:
        before = self._observed.in_force
        if before is not None and before == self.record.good:
            # First, as a daemon that is killed in between could not tell any more what a commit has changed.
            wanted = self._apps.wanted_with(self.origin.name, before)
            await self._remember(replace(self.record, wanted_with_good=wanted))
        accepted = self.record.accepted
        await asyncio.to_thread(self._trees.take_effect, commit, accepted if commit != accepted else None)
        self._candidate, self._proof_s = None, FIRST_PROOF_S
        self._settle()
        await self._remember(replace(self.record, in_force_since=now_s()))
        self._telling.applied(self.origin, self.record, commit, before)
        self._observed = replace(self._observed, in_force=commit, is_untidy=True)
        self._changed()

    async def _leave(self, commit: str, cause: str) -> None:
        """Write down that a commit was left, and the last good one accepted again, which then takes effect."""
        why = (
            f"commit {commit[:7]} was left again, as its apps failed ({cause}): push a descendant, or confirm it with"
            " 'reconciler git take'"
        )
        left = self.record.without(commit, why)
        if left.head == commit:
            verdict = Verdict(commit=commit, ruling="returned", why=why, trust=self._observed.trust)
            left = replace(left, verdict=verdict)
        await self._remember(left)

    async def _tidy(self) -> None:
        self._observed = replace(self._observed, is_untidy=False)
        await asyncio.to_thread(self._trees.tidy, KEPT, (self.record.good, self.record.accepted))
        is_known = self.record.head is not None and self.record.head == self.record.accepted
        if is_known and await asyncio.to_thread(self._store.is_too_large):
            with contextlib.suppress(CannotFetch, BranchMissing):
                await self._store.renew(self.origin, None)

    async def _remember(self, record: records.Record) -> None:
        if record.heard_at is not None and record.heard_at != self.record.heard_at:
            await asyncio.to_thread(last_answer.note, self._directory, record.heard_at)
        if record != self.record:
            await asyncio.to_thread(records.write, self._directory / "record.json", record)
        self.record = record


def now_s() -> float:
    """Return the time of day in seconds since 1970, which is written down and shown to people."""
    return time.time()  # noqa: TID251  compared with what an earlier daemon wrote down, and shown to people
