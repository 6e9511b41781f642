"""Any situation, and the story that follows from it when plan after plan is carried out."""

from dataclasses import replace

from hypothesis import strategies as st

from reconciler.planning.apps.actions import (
    Action,
    ArmActivation,
    ServeHoldingPage,
    Start,
    StopHoldingPage,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.plan import Plan
from tests.world import (
    ADDRESS,
    NOW,
    after,
    anything_observed,
    apps,
    failed,
)


@st.composite
def situations(draw: st.DrawFn) -> tuple[App | None, Observed]:
    app = draw(apps)
    return draw(st.sampled_from((app, app, app, app, app, None))), draw(anything_observed(app))


@st.composite
def running_apps(draw: st.DrawFn, *, may_sleep: bool | None = None) -> tuple[App, Observed]:
    """Of an app that is asked to run, and that may sleep, or may not, or either."""
    app = replace(draw(apps), state="running")
    if may_sleep is False:
        app = replace(app, lazy=False, idle_after_s=None)
    elif may_sleep:
        idle_after_s = app.idle_after_s if app.lazy else 60.0
        app = replace(app, address=app.address or ADDRESS, idle_after_s=idle_after_s)
    observed = draw(anything_observed(app))
    return app, observed if _held_as(app, observed) == "running" else replace(observed, override=None)


MANY = 60


Situation = tuple[App | None, Observed]


Running = tuple[App, Observed]


Chapter = tuple[Plan[Action], Observed, float]


def story_of(app: App | None, observed: Observed, content: str, broken: frozenset[str] = frozenset()) -> list[Chapter]:
    """Doing what is first again and again, and waiting where there is something to wait for.

    Everything works, except that a `broken` revision never gets as far as serving; with one the story may go on for
    ever, and is left when it has become long.
    """
    now: float = NOW
    story: list[Chapter] = []
    for step in range(MANY):
        observed = attended_to(app, observed, now)
        decided = plan(app, observed, now)
        story.append((decided, observed, now))
        match decided.first:
            case None:
                if decided.recheck_at is None:
                    return story
                assert decided.recheck_at > now, "it would look again and again at the same instant"
                now = decided.recheck_at
            case Start() as first if first.revision.id in broken:
                observed = failed(observed, first, now, "exited with 3")
            case first:
                observed = after(observed, first, now, content=content, newborn=f"n{step}")
        now += 0.01
    assert broken, f"no end after {MANY} steps: " + "; ".join(str(p.first) for p, _, _ in story[-4:])
    return story


def attended_to(app: App | None, observed: Observed, now: float) -> Observed:
    """What is to be done at once is done, and is done by that."""
    decided = plan(app, observed, now)
    for action in decided.immediate:
        assert isinstance(action, ServeHoldingPage | StopHoldingPage | ArmActivation)
        observed = after(observed, action, now)
    if decided.immediate:
        assert plan(app, observed, now).immediate == ()
    return observed


def ends(app: App, observed: Observed) -> bool:
    return _held_as(app, observed) == "stopped"


def is_maintained(app: App, observed: Observed) -> bool:
    """Whether clients are to get the holding page."""
    return _held_as(app, observed) == "maintenance"


def _held_as(app: App, observed: Observed) -> str:
    override = observed.override
    if override is not None and override.kind != "rolled back" and override.holds_for == app.fingerprint:
        return override.kind
    return app.state
