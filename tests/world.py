"""What every action is supposed to do, once; and the values, texts and in-memory World that tests are written with.

The contract tests hold the real host to `after`.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from reconciler.actions import Action, Bury, Discard, Erase, Listen, ReadSource, Stage, Start, Stop, Unlisten
from reconciler.converge import Report
from reconciler.desired import Address, App, Build, CrashPolicy, Recipe, Revision, Server, Source
from reconciler.observed import Crashes, Instance, Observed, SourceLook
from reconciler.plan import Plan, plan

NOW = 1000.0


# What an action does


def after(  # noqa: C901, PLR0912  one case for each action
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
            look = SourceLook(source=action.source, content=content, stale=action.changes != observed.changes)
            return replace(observed, source=look, traces=True)
        case Stage():
            return replace(observed, builds=(*_without(observed.builds, action.build.id), action.build.id))
        case Listen():
            listening = replace(observed, listeners=observed.listeners | {action.address})
            return listening if fetchable else stranding(listening, action.address)
        case Start():
            coming = coming_up(observed, action.revision)
            if coming is not None:
                return with_instance(observed, replace(coming, ready=True))
            return with_instance(observed, born(action.revision, now, newborn, pid, ready=True))
        case Stop():
            return without_instance(observed, action.instance)
        case Bury():
            return replace(
                without_instance(observed, action.instance),
                crashes=_counted(observed, action.instance, now, action.good_run_s),
            )
        case Unlisten():
            return replace(observed, listeners=observed.listeners - {action.address})
        case Discard():
            return replace(observed, builds=_without(observed.builds, action.build))
        case Erase():
            return Observed()


def coming_up(observed: Observed, revision: Revision) -> Instance | None:
    """The instance of the revision that Start waits for instead of bringing up another one."""
    return next(
        (
            i
            for i in observed.instances
            if i.revision == revision.id and i.end is None and i.stopping_since is None and not i.stranded
        ),
        None,
    )


def born(revision: Revision, now: float, name: str, pid: int, *, ready: bool = False) -> Instance:
    return Instance(
        id=name,
        revision=revision.id,
        build=revision.build.id,
        address=revision.address,
        pid=pid,
        started_at=now,
        ready=ready,
    )


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
            replace(i, stranded=True) if i.address == address and i.end is None else i for i in observed.instances
        ),
    )


def _without(builds: tuple[str, ...], build: str) -> tuple[str, ...]:
    return tuple(b for b in builds if b != build)


def _counted(observed: Observed, name: str, now: float, good_run_s: float) -> Crashes | None:
    gone = next((i for i in observed.instances if i.id == name), None)
    if gone is None or gone.end is None or gone.stopping_since is not None:
        return observed.crashes
    good = gone.ready and now - gone.started_at >= good_run_s
    before = observed.crashes
    count = before.count if before is not None and before.revision == gone.revision and not good else 0
    return Crashes(revision=gone.revision, count=count + 1, last_at=now, end=gone.end)


# Values, with everything in them that a test does not care about

SOURCE = Source(path="/apps/blog")
ADDRESS = Address(host="127.0.0.1", port=8001)


def an_app(**different: Any) -> App:
    return replace(App(name="blog", manifest="blog.yaml", source=SOURCE, address=ADDRESS), **different)


def an_instance(revision: Revision, name: str = "i1", **different: Any) -> Instance:
    """One that has served for a minute and a half."""
    return replace(born(revision, NOW - 90, name, 4242, ready=True), **different)


def a_look(app: App, content: str = "c1", **different: Any) -> SourceLook:
    return replace(SourceLook(source=app.source, content=content), **different)


def serving(app: App, content: str = "c1", **different: Any) -> Observed:
    """What is true of an app that has all it asks for."""
    revision = app.revision(content)
    asked_for = Observed(
        source=a_look(app, content),
        builds=(revision.build.id,),
        listeners=frozenset({app.address}),
        instances=(an_instance(revision),),
        traces=True,
    )
    return replace(asked_for, **different)


# Plans as text


def as_text(planned: Plan, **words: Revision | Build) -> str:
    """One line for each action with its cause; identifiers are replaced by the given words."""
    text = "\n".join(f"{action}: {action.cause}" for action in planned.actions)
    for word, named in words.items():
        text = text.replace(named.id, word)
    return text


# Anything that could be the case, likely or not

CONTENTS = ("c1", "c2", "c3")
ADDRESSES = (ADDRESS, Address(host="127.0.0.1", port=8002))

apps = st.builds(
    App,
    name=st.just("blog"),
    manifest=st.just("blog.yaml"),
    source=st.sampled_from((SOURCE, Source(path="/apps/blog", pinned="d1"), Source(path="/apps/other"))),
    address=st.sampled_from(ADDRESSES),
    recipe=st.sampled_from((Recipe(), Recipe(runtime="3.12"))),
    server=st.sampled_from((Server(), Server(workers=2))),
    env=st.sampled_from(({}, {"LOG_LEVEL": "info"})),
    state=st.sampled_from(("running", "running", "running", "stopped")),
    crash=st.sampled_from((CrashPolicy(), CrashPolicy(first_s=2.0, cap_s=5.0, good_run_s=10.0))),
)
_pasts = st.sampled_from((NOW - 500, NOW - 70, NOW - 20, NOW - 0.5, NOW))


@st.composite
def anything_observed(draw: st.DrawFn, app: App) -> Observed:
    """Any state an app could be found in: several generations, dead, stranded, stopping and half-started ones."""
    variants = [app, draw(apps)]
    revisions = [v.revision(c) for v in variants for c in CONTENTS]
    instances = draw(st.lists(_instances(revisions), max_size=4))
    looks = st.builds(
        SourceLook,
        source=st.sampled_from([v.source for v in variants]),
        content=st.sampled_from(CONTENTS),
        stale=st.booleans(),
        problem=st.none() | st.just("/apps/blog cannot be read"),
        tried_at=_pasts,
    )
    crashes = st.builds(
        Crashes,
        revision=st.sampled_from([r.id for r in revisions]),
        count=st.integers(1, 40),
        last_at=_pasts,
        end=st.just("exited with 3"),
    )
    return Observed(
        source=draw(st.none() | looks),
        changes=draw(st.integers(0, 2)),
        builds=tuple(draw(st.lists(st.sampled_from([r.build.id for r in revisions]), unique=True, max_size=5))),
        listeners=draw(st.frozensets(st.sampled_from(ADDRESSES))),
        instances=tuple(replace(i, id=f"i{n}") for n, i in enumerate(instances)),
        crashes=draw(st.none() | crashes),
        traces=draw(st.booleans()),
    )


def _instances(revisions: list[Revision]) -> st.SearchStrategy[Instance]:
    return st.builds(
        _odd_instance,
        revision=st.sampled_from(revisions),
        started_at=_pasts,
        ready=st.booleans(),
        stopping_since=st.none() | st.none() | _pasts,
        stranded=st.sampled_from((False, False, True)),
        end=st.none() | st.none() | st.just("was killed by SIGKILL"),
    )


def _odd_instance(revision: Revision, **different: Any) -> Instance:
    return replace(born(revision, NOW, "i", 4242), **different)


# A World in memory


@dataclass(slots=True, kw_only=True)
class FakeWorld:
    """Does what `after` says, on the running loop's clock; fails and dawdles as it is told.

    `takes` gives the seconds an action of a class needs. `refuses` says why an action fails, None when it works.
    """

    seen: dict[str, Observed] = field(default_factory=dict)
    content: str = "c1"
    takes: Mapping[type, float] = field(default_factory=dict)
    refuses: Callable[[str, Action], str | None] = lambda _name, _action: None
    rings: Callable[[str], None] = lambda _name: None
    begun: list[tuple[float, str, Action]] = field(default_factory=list)
    done: list[Action] = field(default_factory=list)
    looks: int = 0
    reports: dict[str, list[Report]] = field(default_factory=dict)
    _names: "itertools.count[int]" = field(default_factory=itertools.count)

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def observe(self, name: str) -> Observed:
        self.looks += 1
        return self.seen.get(name, Observed())

    async def do(self, name: str, action: Action) -> None:
        self.begun.append((self.now(), name, action))
        await asyncio.sleep(self.takes.get(type(action), 0.0))
        problem = self.refuses(name, action)
        if problem is not None:
            self.rings(name)
            raise OSError(problem)
        self.put(
            name, after(self.observe(name), action, self.now(), content=self.content, newborn=f"i{next(self._names)}")
        )
        self.done.append(action)
        self.rings(name)

    def report(self, name: str, report: Report) -> None:
        self.reports.setdefault(name, []).append(report)
        self.put(name, replace(self.observe(name), traces=True))

    def put(self, name: str, observed: Observed) -> None:
        self.seen[name] = observed

    def touch(self, name: str, content: str) -> None:
        """The source changes and is seen to."""
        self.content = content
        before = self.observe(name)
        look = before.source and replace(before.source, stale=True, problem=None)
        self.put(name, replace(before, source=look, changes=before.changes + 1))

    def crash(self, name: str, end: str = "was killed by SIGKILL") -> None:
        """Everything of the app that is alive dies."""
        before = self.observe(name)
        self.put(name, replace(before, instances=tuple(replace(i, end=end) for i in before.instances)))

    def told(self, name: str) -> Report:
        """The last report about the app."""
        return self.reports[name][-1]

    def state(self, app: App | None, name: str = "blog") -> Plan:
        """The plan as things stand."""
        return plan(app, self.observe(name), self.now())


def is_served(app: App, content: str, observed: Observed) -> bool:
    """True when exactly what the app asks for serves, and nothing else of it is there."""
    return (
        [(i.revision, i.serves, i.address, i.stranded) for i in observed.instances]
        == [(app.revision(content).id, True, app.address, False)]
        and observed.listeners == {app.address}
        and app.build(content).id in observed.builds
    )
