"""Stories of a branch and a trial on top of it: each comes to rest, and ends with what its events ask for."""

from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from reconciler.planning.origins import actions
from reconciler.planning.origins.observed import ObservedOrigin, Ruling, TrialBranch, Verdict
from reconciler.planning.origins.plan import OriginPlan, plan

MONOTONIC = 500.0
Event: TypeAlias = tuple[Literal["push", "rewind", "merge", "try", "rebase", "delete", "forget"], bool, int]
EVENTS = st.tuples(
    st.sampled_from(("push", "rewind", "merge", "try", "rebase", "delete", "forget")),
    st.booleans(),
    st.integers(0, 50),
)


@dataclass(slots=True)
class World:
    """A repository whose commits are numbers, each with one parent, and a host; the apps of some commits fail."""

    parents: list[int | None] = field(default_factory=lambda: [None])
    failing: set[int] = field(default_factory=set)
    main: int = 0
    tried: int | None = None
    returned: set[str] = field(default_factory=set)
    seen: ObservedOrigin = field(default_factory=lambda: ObservedOrigin(began_at=1.0))

    def commit(self, parent: int, *, fails: bool) -> int:
        self.parents.append(parent)
        if fails:
            self.failing.add(len(self.parents) - 1)
        return len(self.parents) - 1

    def descends(self, commit: str | None, other: str | None) -> bool:
        at = None if commit is None else int(commit)
        while at is not None:
            if str(at) == other:
                return True
            at = self.parents[at]
        return False

    def happen(self, event: Event) -> None:
        what, fails, number = event
        if what == "push":
            self.main = self.commit(self.main, fails=fails)
        elif what == "rewind":
            self.main = number % len(self.parents)
        elif what == "merge" and self.tried is not None:
            self.main = self.tried
        elif what == "try":
            self.tried = self.commit(number % len(self.parents), fails=fails)
        elif what == "rebase":
            self.tried = self.commit(self.main, fails=fails)
        elif what == "delete":
            self.tried = None
        elif what == "forget":  # files on the disk, as after a restore
            self.seen = replace(self.seen, trees=frozenset())
        self.seen = replace(self.seen, due_at=0.0)

    def rest(self) -> OriginPlan:
        """Do what is planned until nothing is; the last plan."""
        for _ in range(40):
            self.seen = replace(self.seen, failed=self.failed())
            planned = plan(self.seen, now=1.0, monotonic=MONOTONIC, stale_after_s=60.0)
            if planned.action is None:
                return planned
            self.do(planned.action)
        raise AssertionError("it never comes to rest")

    def failed(self) -> str:
        seen = self.seen
        in_force = seen.in_force
        if in_force is None or in_force == seen.good or int(in_force) not in self.failing:
            if in_force is not None and in_force == seen.accepted:
                self.seen = replace(seen, good=in_force)
            return ""
        return "shop: it exited"

    def do(self, action: actions.Action) -> None:
        seen = self.seen
        match action:
            case actions.Fetch():
                trial = replace(seen.trial, commit=None if self.tried is None else str(self.tried))
                self.seen = replace(seen, head=str(self.main), trial=trial, due_at=MONOTONIC + 60, heard_at=1.0)
            case actions.Judge(commit=commit):
                ruling = self.ruling(commit)
                accepted = commit if ruling == "accepted" else seen.accepted
                verdict = Verdict(commit=commit, ruling=ruling, why=ruling, trust=seen.trust)
                self.seen = replace(seen, verdict=verdict, accepted=accepted)
            case actions.JudgeTrial(commit=commit):
                verdict = Verdict(commit=commit, ruling=self.ruling(commit), trust=seen.trial_trust)
                self.seen = replace(seen, trial=TrialBranch(commit=commit, verdict=verdict))
            case actions.Materialise(commit=commit):
                self.seen = replace(seen, trees=seen.trees | {commit})
            case actions.TakeEffect(commit=commit):
                assert commit in seen.trees
                on_top = commit == seen.trial.commit and self.descends(commit, seen.accepted)
                assert commit == seen.accepted or on_top, "what is neither accepted nor on top of that"
                self.seen = replace(seen, in_force=commit)
            case actions.LeaveTrial(commit=commit):
                self.returned.add(commit)
                verdict = Verdict(commit=commit, ruling="returned", why="failed", trust=seen.trial_trust)
                self.seen = replace(seen, trial=replace(seen.trial, verdict=verdict))
            case actions.Leave(commit=commit, good=good):
                self.returned.add(commit)
                verdict = Verdict(commit=commit, ruling="returned", why="failed", trust=seen.trust)
                self.seen = replace(seen, accepted=good, verdict=verdict if seen.head == commit else seen.verdict)
            case actions.Tidy():
                raise AssertionError("nothing is untidy")

    def ruling(self, commit: str) -> Ruling:
        if commit in self.returned:
            return "returned"
        return "accepted" if self.seen.accepted is None or self.descends(commit, self.seen.accepted) else "rewound"


@given(events=st.lists(st.lists(EVENTS, min_size=1, max_size=3), max_size=12))
def test_every_story_of_a_branch_and_its_trial_ends_with_what_was_asked_for(events: list[list[Event]]) -> None:
    world = World()
    world.rest()
    for together in events:
        accepted, good = world.seen.accepted, world.seen.good
        for event in together:
            world.happen(event)
        planned = world.rest()
        seen = world.seen
        assert world.descends(seen.accepted, accepted) or seen.accepted == good, "it moves on, or back to the good one"
        tried = None if world.tried is None else str(world.tried)
        is_on_top = tried not in {None, seen.accepted} and world.descends(tried, seen.accepted)
        is_tried = is_on_top and world.tried not in world.failing and tried not in world.returned
        assert seen.in_force == (tried if is_tried else seen.accepted)
        if is_tried and seen.head == seen.accepted:
            assert planned.state == "trial"
        assert planned.state != "pending"
