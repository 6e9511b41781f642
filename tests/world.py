"""What every action is supposed to do, once; and the values, texts and in-memory World that tests are written with.

The contract tests hold the real host to `after`.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from hypothesis import strategies as st

from reconciler.convergence.world import Report
from reconciler.planning.address import Address
from reconciler.planning.apps.actions import (
    Action,
    ArmActivation,
    ForgetApp,
    Listen,
    MarkGood,
    ReadSource,
    Reap,
    RecordFailure,
    Release,
    RemoveBuild,
    Scale,
    ServeHoldingPage,
    Sleep,
    Stage,
    Start,
    Stop,
    StopHoldingPage,
    Unlisten,
)
from reconciler.planning.apps.app import App, CrashPolicy
from reconciler.planning.apps.code_commands import NO_COMMANDS
from reconciler.planning.apps.observed import Failure, Instance, Observed, Override, SleepState, SourceState
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.plan_instances import state_when_failing
from reconciler.planning.apps.retry import Retry
from reconciler.planning.apps.revision import Build, Recipe, Revision, Server, Source
from reconciler.planning.cache import Planner
from reconciler.planning.canary.actions import BeginCanary, CanaryAction, EndCanary, WeighCanary
from reconciler.planning.canary.canary import Canary, Split
from reconciler.planning.canary.judgement import Trial
from reconciler.planning.isolation.actions import ApplyLimits
from reconciler.planning.plan import Plan
from reconciler.planning.states import AppState

NOW = 1000.0
_PROVEN_KEPT = 5


# What an action does


def after(  # noqa: C901  one case for each kind of action
    observed: Observed,
    action: Action,
    now: float,
    *,
    content: str = "c1",
    newborn: str = "new",
    pid: int = 4242,
    fetchable: bool = True,
) -> Observed:
    """What is true once `action` has worked.

    `content` is what a reader of the source finds; `newborn` and `pid` are what a new instance is called; `fetchable`
    says whether a listener can be had back from the instances that hold it.
    """
    match action:
        case ReadSource():
            look = SourceState(
                source=action.source, content=content, stale=action.source_generation != observed.source_generation
            )
            done = replace(observed, source=look, has_residue=True)
        case Listen():
            done = replace(observed, listeners=observed.listeners | {action.address})
            done = done if fetchable else stranding(done, action.address)
        case Start():
            coming = coming_up(observed, action.revision)
            up = coming or born(action.revision, now, newborn, pid, workers=action.workers)
            done = with_instance(observed, replace(up, ready_at=now) if up.ready_at is None else up)
        case Scale() | ApplyLimits():
            done = _in_place(observed, action)
        case Stop():
            done = without_instance(observed, action.instance)
        case Sleep():
            done = replace(
                without_instance(observed, action.instance), sleep_state=SleepState(gate_passed=action.revision)
            )
        case Reap():
            known = any(i.id == action.instance for i in observed.instances)
            learnt = remembering(observed, action.failure, now) if known and action.failure else observed
            done = without_instance(learnt, action.instance)
        case RecordFailure():
            done = remembering(observed, action.failure, now)
        case BeginCanary() | WeighCanary() | EndCanary():
            done = _divided(observed, action, now)
        case ForgetApp():
            done = Observed(stopping_dependents=observed.stopping_dependents)
        case _:
            done = _noted(observed, action)
    return waiting(done, now)


def _in_place(observed: Observed, action: Scale | ApplyLimits) -> Observed:
    """What is true once an instance was changed that keeps serving."""
    different = {"workers": action.workers} if isinstance(action, Scale) else {"limits": action.limits}
    changed = (replace(i, **different) for i in observed.instances if i.id == action.instance)
    return next((with_instance(observed, i) for i in changed), observed)


def _divided(observed: Observed, action: CanaryAction, now: float) -> Observed:
    """What is true once an address has two listeners, another division between them, or one again."""
    match action:
        case BeginCanary():
            return replace(observed, split=Split(address=action.address, revision=action.revision, since=now))
        case WeighCanary():
            known = observed.split
            weighed = known and replace(known, weight=action.weight, step=action.step, since=now, trial=Trial())
            return replace(observed, split=weighed)
        case EndCanary():
            return replace(observed, split=None)


def _noted(
    observed: Observed,
    action: Stage | Release | MarkGood | ServeHoldingPage | StopHoldingPage | ArmActivation | Unlisten | RemoveBuild,
) -> Observed:
    """What is true once something is done that concerns no process."""
    match action:
        case Stage():
            left = tuple(failure for failure in observed.failures if failure.phase != "staging")
            builds = (*_without(observed.builds, action.build.id), action.build.id)
            return replace(observed, builds=builds, failures=left)
        case Release():
            return replace(observed, released=observed.released | {action.release})
        case MarkGood():
            others = (p for p in observed.known_good if p.id != action.revision.id)
            forgiven = (t for t in observed.failures if t.revision != action.revision.id or t.kind == "crashed")
            known_good = (action.revision, *others)[:_PROVEN_KEPT]
            return replace(observed, known_good=known_good, failures=tuple(forgiven))
        case ServeHoldingPage():
            door = {action.address}
            return replace(observed, holding=observed.holding | door, armed=observed.armed - door)
        case StopHoldingPage():
            return replace(observed, holding=observed.holding - {action.address})
        case ArmActivation():
            return replace(observed, armed=observed.armed | {action.address})
        case Unlisten():
            gone = {action.address}
            return replace(
                observed,
                listeners=observed.listeners - gone,
                holding=observed.holding - gone,
                armed=observed.armed - gone,
            )
        case RemoveBuild():
            return replace(observed, builds=_without(observed.builds, action.build))


def failed(
    observed: Observed, action: Stage | Start | Release, now: float, reason: str, retry: Retry = "soon"
) -> Observed:
    """What is true once a revision has turned out not to get as far as serving."""
    left = observed
    if isinstance(action, Start):
        coming = coming_up(observed, action.revision)
        left = observed if coming is None or coming.ready else without_instance(observed, coming.id)
    return waiting(remembering(left, replace(action.failing, reason=reason, retry=retry), now), now)


def remembering(observed: Observed, trouble: Failure, now: float) -> Observed:
    """The latest trouble of a revision takes the place of the one before."""
    others = (t for t in observed.failures if t.revision != trouble.revision)
    return replace(observed, failures=(replace(trouble, last_at=now), *others))


def waiting(observed: Observed, now: float) -> Observed:
    """With clients that wait at an open door since nothing serves, and with none as soon as something does."""
    if all(observed.serves_at(address) for address in observed.listeners):
        return replace(observed, unserved_since=None)
    return observed if observed.unserved_since is not None else replace(observed, unserved_since=now)


def coming_up(observed: Observed, revision: Revision) -> Instance | None:
    """The instance of the revision that Start waits for instead of bringing up another one."""
    return next(
        (
            i
            for i in observed.alive
            if i.revision == revision.id
            and i.stopping_since is None
            and not i.detached
            and not i.outgrown
            and i.unhealthy is None
            and not i.workers_died
            and i.started_at >= observed.restart_before
        ),
        None,
    )


def born(
    revision: Revision, now: float, name: str, pid: int, *, workers: int = 1, ready_at: float | None = None
) -> Instance:
    return Instance(
        id=name,
        revision=revision.id,
        build=revision.build.id,
        address=revision.address,
        beside=revision.beside,
        pid=pid,
        started_at=now,
        workers=workers,
        ready_at=ready_at,
        stop_timeout_s=revision.server.stop_timeout_s,
    )


def release_id(revision: Revision) -> str | None:
    """The mark of the manifest's release command, None without one."""
    return revision.release_mark(NO_COMMANDS)


def with_instance(observed: Observed, instance: Instance) -> Observed:
    """The same with this instance, new or changed; the others stay in their order."""
    if any(i.id == instance.id for i in observed.instances):
        changed = tuple(instance if i.id == instance.id else i for i in observed.instances)
        return replace(observed, instances=changed)
    return replace(observed, instances=(*observed.instances, instance))


def without_instance(observed: Observed, name: str) -> Observed:
    return replace(observed, instances=tuple(i for i in observed.instances if i.id != name))


def stranding(observed: Observed, address: Address) -> Observed:
    """Every instance alive at the address keeps a socket that nobody else can have."""
    return replace(
        observed,
        instances=tuple(
            replace(i, detached=True) if address in i.addresses and i.end is None else i for i in observed.instances
        ),
    )


def _without(builds: tuple[str, ...], build: str) -> tuple[str, ...]:
    return tuple(b for b in builds if b != build)


# Values, with everything in them that a test does not care about

SOURCE = Source(path="/apps/blog")
ADDRESS = Address(host="127.0.0.1", port=8001)


def an_app(**different: Any) -> App:
    return replace(App(name="blog", manifest="blog.yaml", source=SOURCE, address=ADDRESS), **different)


def address_of(one: App | Revision) -> Address:
    """Return the address of what has one."""
    assert one.address is not None
    return one.address


def listeners_of(app: App) -> frozenset[Address]:
    """Return the listeners an app is to have: none without an address, two with a port beside a socket."""
    return frozenset(app.addresses)


def an_instance(revision: Revision, name: str = "i1", **different: Any) -> Instance:
    """One that has served for a minute and a half."""
    return replace(born(revision, NOW - 90, name, 4242, ready_at=NOW - 89), **different)


def a_trouble(revision: Revision, **different: Any) -> Failure:
    """A revision that failed its gate once, half a second ago."""
    usual = Failure(revision=revision.id, kind="rejected", count=1, last_at=NOW - 0.5, reason="exited with 3")
    return replace(usual, **different)


def stage_of(build: Build, cause: str = "the test says so") -> Stage:
    """To make a build that never failed yet."""
    failing = Failure(revision="r", kind="rejected", count=1, last_at=0.0, reason="", phase="staging")
    return Stage(build=build, failing=failing, cause=cause)


def a_look(app: App, content: str = "c1", **different: Any) -> SourceState:
    return replace(SourceState(source=app.source, content=content), **different)


def serving(app: App, content: str = "c1", **different: Any) -> Observed:
    """What is true of an app that has all it asks for, and had it for a while."""
    revision = app.revision(content)
    asked_for = Observed(
        source=a_look(app, content),
        builds=(revision.build.id,),
        released=frozenset(filter(None, (release_id(revision),))),
        listeners=listeners_of(app),
        instances=(an_instance(revision, workers=app.workers),),
        known_good=(revision,),
        has_residue=True,
    )
    return waiting(replace(asked_for, **different), NOW)


def sleeping(app: App, content: str = "c1", **different: Any) -> Observed:
    """What is true of an app that was gated, has slept since, and waits for somebody to knock."""
    rest, armed = SleepState(gate_passed=app.revision(content).id), listeners_of(app)
    asleep = serving(app, content, instances=(), sleep_state=rest, armed=armed)
    return replace(asleep, unserved_since=NOW - 50, **different)


# Plans as text


def as_text(planned: Plan[Action], **words: Revision | Build) -> str:
    """One line for each action with its cause; identifiers are replaced by the given words."""
    text = "\n".join(f"{action}: {action.cause}" for action in planned.actions)
    for word, named in words.items():
        text = text.replace(named.id, word)
    return text


# Anything that could be the case, likely or not

CONTENTS = ("c1", "c2", "c3")
BESIDE = Address(host="127.0.0.1", port=8002)
ADDRESSES = (ADDRESS, Address(host="/s/listeners/blog.sock"), BESIDE)


def _with_port(app: App, beside: Address | None) -> App:
    return replace(app, beside=beside) if app.address is not None and app.address.path else app


_apps = st.builds(
    App,
    name=st.just("blog"),
    manifest=st.just("blog.yaml"),
    source=st.sampled_from((SOURCE, Source(path="/apps/blog", pinned="d1"), Source(path="/apps/other"))),
    address=st.sampled_from((*ADDRESSES[:2], *ADDRESSES[:2], None)),
    recipe=st.sampled_from((Recipe(), Recipe(runtime="3.12"))),
    server=st.sampled_from((Server(), Server(workers=2))),
    env=st.sampled_from(({}, {"LOG_LEVEL": "info"})),
    release=st.sampled_from((None, None, "migrate")),
    state=st.sampled_from(("running",) * 6 + ("stopped", "maintenance")),
    crash=st.sampled_from((CrashPolicy(), CrashPolicy(first_s=2.0, cap_s=5.0, good_run_s=10.0))),
    probation_s=st.sampled_from((0.0, 10.0)),
    idle_after_s=st.sampled_from((None, None, 60.0)),
    lazy=st.sampled_from((False, False, False, True)),
    holding_page=st.sampled_from((None, "/apps/503.html")),
    canary=st.sampled_from((None, None, None, Canary(share=(50,), requests=0), Canary(share=(50, 250), for_s=0.0))),
)
# One that changes its port in place has had the other one, or the one alone.
apps = st.builds(_with_port, _apps, st.sampled_from((None, ADDRESS, BESIDE)))
_pasts = st.sampled_from((NOW - 500, NOW - 70, NOW - 20, NOW - 0.5, NOW))


@st.composite
def anything_observed(draw: st.DrawFn, app: App) -> Observed:
    """Any state an app could be found in: several generations, dead, stranded, unwell, stopping and half-started."""
    variants = [app, draw(apps)]
    revisions = [v.revision(c) for v in variants for c in CONTENTS]
    some = st.sampled_from(revisions)
    instances = draw(st.lists(_instances(some), max_size=3))
    listeners = draw(st.frozensets(st.sampled_from(ADDRESSES)))
    doors = st.frozensets(st.sampled_from(sorted(listeners, key=str))) if listeners else st.just(frozenset[Address]())
    others = draw(st.sampled_from((((), ()), ((), ()), ((), ()), (("api",), ()), ((), ("shop",)))))
    observed = Observed(
        source=draw(st.none() | _tracker(variants)),
        source_generation=draw(st.integers(0, 2)),
        builds=tuple(draw(st.lists(some.map(lambda r: r.build.id), unique=True, max_size=5))),
        released=draw(st.frozensets(st.sampled_from([release_id(r) or "r0" for r in revisions]), max_size=3)),
        listeners=listeners,
        holding=draw(st.just(frozenset[Address]()) | doors),
        armed=draw(st.just(frozenset[Address]()) | doors),
        instances=tuple(replace(i, id=f"i{n}") for n, i in enumerate(instances)),
        failures=tuple(draw(st.lists(_troubles(some), max_size=3, unique_by=lambda t: t.revision))),
        known_good=tuple(draw(st.lists(some, max_size=_PROVEN_KEPT, unique_by=lambda r: r.id))),
        override=draw(st.none() | st.none() | st.none() | _pins(variants, some)),
        sleep_state=draw(
            st.just(SleepState())
            | st.builds(SleepState, gate_passed=some.map(lambda r: r.id), activated_at=st.none() | _pasts)
        ),
        restart_before=draw(st.sampled_from((float("-inf"), float("-inf"), NOW - 60, NOW))),
        unmet_dependencies=others[0],
        stopping_dependents=others[1],
        split=draw(st.none() | st.none() | st.none() | _splits(some, listeners)),
    )
    learnt = observed.source or observed.failures or observed.released or observed.known_good or observed.override
    kept = bool(learnt or listeners or instances or observed.builds) or observed.sleep_state != SleepState()
    return waiting(replace(observed, has_residue=kept or draw(st.booleans())), draw(_pasts))


def _tracker(variants: list[App]) -> st.SearchStrategy[SourceState]:
    """Return any state of a source; one that could not be read is stale, so that it is read again."""
    look = partial(st.builds, SourceState, source=st.sampled_from([v.source for v in variants]), tried_at=_pasts)
    contents = st.sampled_from(CONTENTS)
    unreadable = look(content=contents, stale=st.just(True), problem=st.just("/apps/blog cannot be read"))
    return look(content=contents, stale=st.booleans()) | unreadable


def _troubles(some: st.SearchStrategy[Revision]) -> st.SearchStrategy[Failure]:
    return st.builds(
        Failure,
        revision=some.map(lambda r: r.id),
        kind=st.sampled_from(("crashed", "rejected")),
        count=st.sampled_from((1, 1, 2, 3, 7, 40)),
        last_at=_pasts,
        reason=st.just("exited with 3"),
        workers=st.sampled_from((0, 0, 1, 2)),
        phase=st.sampled_from(("starting", "starting", "staging")),
        retry=st.sampled_from(("soon", "soon", "later")),
    )


def _splits(some: st.SearchStrategy[Revision], listeners: frozenset[Address]) -> st.SearchStrategy[Split | None]:
    ports = sorted((address for address in listeners if not address.path), key=str)
    weights = st.sampled_from(((0, -1, ""), (50, 0, ""), (250, 1, ""), (50, 0, "it fails more often"), (1000, 0, "")))
    return st.builds(_split, st.sampled_from(ports), some, weights, _pasts) if ports else st.none()


def _split(address: Address, revision: Revision, weighed: tuple[int, int, str], since: float) -> Split:
    weight, step, harm = weighed
    return Split(address=address, revision=revision.id, weight=weight, step=step, harm=harm, since=since)


def _pins(variants: list[App], some: st.SearchStrategy[Revision]) -> st.SearchStrategy[Override]:
    stopped = st.sampled_from(variants).map(lambda v: Override(kind="stopped", holds_for=v.fingerprint))
    back = st.builds(Override, kind=st.just("rolled back"), holds_for=some.map(lambda r: r.id), revision=some)
    maintained = stopped.map(lambda override: replace(override, kind="maintenance"))
    return stopped | maintained | back | back


def _instances(some: st.SearchStrategy[Revision]) -> st.SearchStrategy[Instance]:
    return st.builds(_odd_instance, some, _pasts, st.sampled_from(_ODDITIES))


# What an instance may be besides ready: a few draws of many things at once are quicker than many draws.
_ODDITIES: tuple[dict[str, Any], ...] = (
    {},
    {"busy_at": NOW - 0.5},
    {"busy_at": NOW - 70, "note": "1 worker waiting"},
    {"ready_at": None},
    {"ready_at": None, "detached": True},
    {"ready_at": None, "stopping_since": NOW - 20},
    {"ready_at": None, "end": "exited with 3"},
    {"detached": True},
    {"detached": True, "end": "exited with 3"},
    {"unhealthy": "GET /healthz answered 500"},
    {"unhealthy": "GET /healthz answered 500", "detached": True},
    {"workers_died": 2},
    {"workers": 2},
    {"workers": 2, "unhealthy": "GET /healthz answered 500"},
    {"stopping_since": NOW - 0.5},
    {"stopping_since": NOW - 20, "end": "exited with 0"},
    {"end": "was killed by SIGKILL"},
    {"unhealthy": "GET /healthz answered 500", "end": "was killed by SIGKILL"},
)


def _odd_instance(revision: Revision, started_at: float, odd: dict[str, Any]) -> Instance:
    return replace(born(revision, started_at, "i", 4242, ready_at=started_at), **odd)


# A World in memory


@dataclass(slots=True, kw_only=True)
class FakeWorld:
    """Does what `after` says, on the running loop's clock; fails and dawdles as it is told.

    `takes` gives the seconds an action of a class needs. `refuses` says why an action cannot be done, `breaks` why a
    revision does not get as far as serving, `unstageable` why its build cannot be made and when it is tried again; None
    when it works.
    """

    seen: dict[str, Observed] = field(default_factory=dict)
    content: str = "c1"
    takes: Mapping[type, float] = field(default_factory=dict)
    refuses: Callable[[str, Action], str | None] = lambda _name, _action: None
    breaks: Callable[[str, Start | Release], str | None] = lambda _name, _action: None
    unstageable: Callable[[str, Stage], tuple[str, Retry] | None] = lambda _name, _action: None
    rings: Callable[[str], None] = lambda _name: None
    begun: list[tuple[float, str, Action]] = field(default_factory=list)
    done: list[Action] = field(default_factory=list)
    tracker: int = 0
    reports: dict[str, list[Report]] = field(default_factory=dict)
    _names: "itertools.count[int]" = field(default_factory=itertools.count)
    _planner: Planner[App, Observed, Plan[Action]] = field(default_factory=lambda: Planner(plan))

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def plan(self, name: str, asked: App | None) -> Plan[Action]:
        return self._planner.plan(name, asked, self.observe(name), self.now())

    def when_failing(self, name: str) -> AppState:
        return state_when_failing(self.observe(name))

    def observe(self, name: str) -> Observed:
        self.tracker += 1
        return self.seen.get(name, Observed())

    async def do(self, name: str, action: Action) -> None:
        self.begun.append((self.now(), name, action))
        if not isinstance(action, ServeHoldingPage | StopHoldingPage | ArmActivation):
            await asyncio.sleep(self.takes.get(type(action), 0.0))
        problem = self.refuses(name, action)
        if problem is not None:
            self.rings(name)
            raise OSError(problem)
        before, newborn = self.observe(name), f"i{next(self._names)}"
        broken = self.breaks(name, action) if isinstance(action, Start | Release) else None
        unmade = self.unstageable(name, action) if isinstance(action, Stage) else None
        if broken is not None and isinstance(action, Start | Release):
            self.put(name, failed(before, action, self.now(), broken))
        elif unmade is not None and isinstance(action, Stage):
            self.put(name, failed(before, action, self.now(), *unmade))
        else:
            self.put(name, after(before, action, self.now(), content=self.content, newborn=newborn))
        self.done.append(action)
        self.rings(name)

    def report(self, name: str, report: Report) -> None:
        self.reports.setdefault(name, []).append(report)
        self.put(name, replace(self.seen.get(name, Observed()), has_residue=True))

    def put(self, name: str, observed: Observed) -> None:
        self.seen[name] = observed

    def touch(self, name: str, content: str) -> None:
        """The source changes and is seen to."""
        self.content = content
        before = self.observe(name)
        look = before.source and replace(before.source, stale=True, problem=None)
        self.put(name, replace(before, source=look, source_generation=before.source_generation + 1))

    def crash(self, name: str, end: str = "was killed by SIGKILL") -> None:
        """Everything of the app that is alive dies."""
        before = self.observe(name)
        dead = replace(before, instances=tuple(replace(i, end=end) for i in before.instances))
        self.put(name, waiting(dead, self.now()))

    def knock(self, name: str) -> None:
        """Somebody connects to the app while it sleeps."""
        before = self.observe(name)
        rest = replace(before.sleep_state, activated_at=self.now())
        self.put(name, replace(before, sleep_state=rest, armed=frozenset()))

    def told(self, name: str) -> Report:
        """The last report about the app."""
        return self.reports[name][-1]

    def state(self, app: App | None, name: str = "blog") -> Plan[Action]:
        """The plan as things stand."""
        return plan(app, self.observe(name), self.now())


def wanted_of(app: App, observed: Observed) -> Revision | None:
    """What should serve: the revision an operator went back to as long as that holds, else what the manifest asks."""
    if observed.source is None:
        return None
    asked, override = app.revision(observed.source.content), observed.override
    if override is not None and override.revision is not None and override.holds_for == asked.id:
        back = replace(override.revision, address=app.address, beside=app.beside)
        return back if back.build.id in observed.builds else asked
    return asked


def is_served(app: App, content: str, observed: Observed, revision: Revision | None = None) -> bool:
    """True when exactly what the app asks for serves, or this revision, and nothing else of it is there."""
    wanted = revision or app.revision(content)
    return (
        [(i.revision, i.serves, i.addresses, i.workers, i.detached, i.unhealthy) for i in observed.instances]
        == [(wanted.id, True, app.addresses, app.workers, False, None)]
        and observed.listeners == listeners_of(app)
        and observed.holding == frozenset()
        and wanted.build.id in observed.builds
    )


def is_asleep(app: App, revision: Revision, observed: Observed) -> bool:
    """True when nothing of a staged app runs, and somebody waits for a knock at its door and nowhere else."""
    return (
        observed.instances == ()
        and observed.listeners == observed.armed == listeners_of(app)
        and observed.holding == frozenset()
        and revision.build.id in observed.builds
    )
