"""The difference between what is asked of one app and what is true, as actions in order.

`plan` is a function: the same three arguments give the same plan, and nothing outside them matters. Its laws: what
serves is never stopped before its successor is ready, no build is discarded under an instance, never more than two
generations are alive, and with nothing to change there is nothing to do.
"""

import zlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

from reconciler.actions import Action, Bury, Discard, Erase, Listen, ReadSource, Stage, Start, Stop, Unlisten
from reconciler.desired import App, Build, CrashPolicy, Revision
from reconciler.observed import Crashes, Instance, Observed, SourceLook

State: TypeAlias = Literal[
    "pending",
    "staging",
    "starting",
    "running",
    "degraded",
    "failing",
    "sleeping",
    "stopping",
    "stopped",
    "maintenance",
    "invalid",
]

_BUILDS_KEPT = 2
_READ_AGAIN_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do, in order; what to call the app meanwhile; and when time alone could change the answer.

    `wanted` is the id of the revision that should run, None while it cannot be known. `look_again_at` is monotonic
    seconds.
    """

    actions: tuple[Action, ...]
    state: State
    message: str = ""
    wanted: str | None = None
    look_again_at: float | None = None

    @property
    def first(self) -> Action | None:
        """The action to do now, None when nothing is left."""
        return self.actions[0] if self.actions else None


def plan(app: App | None, observed: Observed, now: float) -> Plan:
    """What to do for one app; `app` is None when no manifest asks for it, `now` is monotonic seconds."""
    if app is None:
        return _remove(observed)
    if app.state == "stopped":
        return _halt(observed)
    if _must_read(app, observed, now):
        return _read(app, observed)
    return _serve(app, observed, now)


def state_when_failing(observed: Observed) -> State:
    """What to call an app whose next action keeps failing: degraded while something of it serves."""
    return "degraded" if _serves(observed) else "failing"


def crash_delay_s(policy: CrashPolicy, crashes: Crashes, name: str) -> float:
    """Seconds between the last crash and the next start: none the first time, then doubling to a cap.

    The jitter, 25% either way, is drawn from the name and the count: apps that died together come back apart, and
    planning stays a function.
    """
    if crashes.count <= 1:
        return 0.0
    doubled = min(policy.cap_s, policy.first_s * 2.0 ** min(crashes.count - 2, 32))
    noise = zlib.crc32(f"{name}:{crashes.count}".encode()) / 0xFFFFFFFF
    return doubled * (0.75 + 0.5 * noise)


def _remove(observed: Observed) -> Plan:
    cause = "no manifest asks for it any more"
    actions: list[Action] = _close_down(observed, cause)
    actions += [Discard(build=b, cause=cause) for b in observed.builds]
    if observed.traces:
        actions.append(Erase(cause=cause))
    return Plan(actions=tuple(actions), state="stopping", message=cause)


def _halt(observed: Observed) -> Plan:
    cause = "its manifest says state: stopped"
    actions = _close_down(observed, cause)
    return Plan(actions=tuple(actions), state="stopping" if actions else "stopped", message=cause)


def _read(app: App, observed: Observed) -> Plan:
    cause = "it was not read yet" if observed.source is None else "it changed"
    read = ReadSource(source=app.source, changes=observed.changes, cause=cause)
    state: State = "running" if _serves(observed) else "staging"
    return Plan(actions=(*_bury(app.crash, observed), read), state=state, message="reading its source")


def _serve(app: App, observed: Observed, now: float) -> Plan:
    assert observed.source is not None
    revision = app.revision(observed.source.content)
    current = _current(revision, observed)
    others = tuple(i for i in _alive(observed) if i is not current)

    actions: list[Action] = [*_bury(app.crash, observed), *_stage(revision.build, observed), *_listen(app, observed)]
    start_at = _earliest_start(app, revision, observed)
    if current is None and start_at > now:
        return _wait_after_crash(tuple(actions), revision, observed, start_at)
    crowd = () if current is not None and current.ready else _crowd(others)
    actions += [Stop(instance=i.id, cause="it is neither wanted nor of use any more") for i in crowd]
    if current is None or not current.ready:
        actions.append(Start(revision=revision, cause=_why_start(revision, observed, others)))
    actions += [Stop(instance=i.id, cause="its successor serves") for i in others if i not in crowd]
    actions += _unlisten(app, observed)
    actions += _discard(revision.build, observed)
    state, message = _describe(actions[0] if actions else None, observed)
    again = None if observed.source.problem is None else _read_again_at(observed.source)
    return Plan(actions=tuple(actions), state=state, message=message, wanted=revision.id, look_again_at=again)


def _must_read(app: App, observed: Observed, now: float) -> bool:
    look = observed.source
    if look is None or look.source != app.source:
        return True
    return look.stale if look.problem is None else now >= _read_again_at(look)


def _read_again_at(look: SourceLook) -> float:
    return look.tried_at + _READ_AGAIN_S


def _alive(observed: Observed) -> tuple[Instance, ...]:
    return tuple(i for i in observed.instances if i.end is None)


def _serves(observed: Observed) -> bool:
    return any(i.serves for i in observed.instances)


def _current(revision: Revision, observed: Observed) -> Instance | None:
    """The one instance of the revision to keep, the readiest and then the oldest of them."""
    fitting = [
        i for i in _alive(observed) if i.revision == revision.id and i.stopping_since is None and not i.stranded
    ]
    return min(fitting, key=lambda i: (not i.ready, i.started_at), default=None)


def _close_down(observed: Observed, cause: str) -> list[Action]:
    return [
        *_bury(CrashPolicy(), observed),
        *(Stop(instance=i.id, cause=cause) for i in _alive(observed)),
        *(Unlisten(address=a, cause=cause) for a in sorted(observed.listeners, key=str)),
    ]


def _bury(policy: CrashPolicy, observed: Observed) -> tuple[Bury, ...]:
    return tuple(
        Bury(instance=i.id, good_run_s=policy.good_run_s, cause=f"gunicorn {i.pid} {i.end}")
        for i in observed.instances
        if i.end is not None
    )


def _stage(build: Build, observed: Observed) -> tuple[Stage, ...]:
    if build.id in observed.builds:
        return ()
    cause = "its source or the way it is built changed" if observed.builds else "it was never staged"
    return (Stage(build=build, cause=cause),)


def _listen(app: App, observed: Observed) -> tuple[Listen, ...]:
    if app.address in observed.listeners:
        return ()
    return (Listen(address=app.address, cause=f"{app.address} is not open"),)


def _unlisten(app: App, observed: Observed) -> tuple[Unlisten, ...]:
    extra = sorted(observed.listeners - {app.address}, key=str)
    return tuple(Unlisten(address=a, cause=f"it listens on {app.address} now") for a in extra)


def _crowd(others: tuple[Instance, ...]) -> tuple[Instance, ...]:
    """Of the generations before this one only the best may stay while the new one starts, and only if it is of use."""
    ranked = sorted(others, key=lambda i: (i.serves, i.ready, i.started_at))
    return tuple(ranked[:-1] if ranked and ranked[-1].ready else ranked)


def _discard(build: Build, observed: Observed) -> tuple[Discard, ...]:
    """Keep the wanted build, and enough of the newest others to go back to."""
    spare = [b for b in observed.builds if b != build.id]
    surplus = spare[: max(0, len(spare) - (_BUILDS_KEPT - 1))]
    return tuple(Discard(build=b, cause="newer builds took its place") for b in surplus)


def _earliest_start(app: App, revision: Revision, observed: Observed) -> float:
    crashes = observed.crashes
    if crashes is None or crashes.revision != revision.id:
        return float("-inf")
    return crashes.last_at + crash_delay_s(app.crash, crashes, app.name)


def _wait_after_crash(actions: tuple[Action, ...], revision: Revision, observed: Observed, until: float) -> Plan:
    assert observed.crashes is not None and observed.source is not None
    message = f"died {observed.crashes.count} times in a row, the last time it {observed.crashes.end}"
    state = state_when_failing(observed)
    again = until if observed.source.problem is None else min(until, _read_again_at(observed.source))
    return Plan(actions=actions, state=state, message=message, wanted=revision.id, look_again_at=again)


def _why_start(revision: Revision, observed: Observed, others: tuple[Instance, ...]) -> str:
    if observed.crashes is not None and observed.crashes.revision == revision.id:
        return f"its last instance {observed.crashes.end}"
    if not others:
        return "nothing of it runs"
    if any(i.stranded for i in others):
        return "the listener of the running instance could not be fetched back"
    return "its configuration changed" if any(i.build == revision.build.id for i in others) else "its code changed"


def _describe(first: Action | None, observed: Observed) -> tuple[State, str]:
    look = observed.source
    match first:
        case None if look is not None and look.problem is not None:
            return "degraded", f"its last build serves, but {look.problem}"
        case None:
            return "running", ""
        case Stage():
            return "staging", first.cause
        case Stop() | Unlisten() | Discard():
            return "starting", "the instance before it finishes its requests"
        case _:
            return "starting", first.cause
