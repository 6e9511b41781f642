"""Plans as text, and the revisions and situations that tests of planning have in common."""

from dataclasses import replace
from textwrap import dedent
from typing import Any

from reconciler.planning.address import Address
from reconciler.planning.apps.actions import (
    Action,
    Reap,
)
from reconciler.planning.apps.app import App
from reconciler.planning.apps.observed import Failure, Instance, Observed
from reconciler.planning.apps.plan import plan
from reconciler.planning.apps.revision import Revision
from reconciler.planning.plan import Plan
from tests.world import (
    CONTENTS,
    NOW,
    a_trouble,
    an_app,
    an_instance,
    as_text,
    serving,
    waiting,
)

APP = an_app()


V1, V2 = APP.revision("c1"), APP.revision("c2")


B1, B2, B3 = (APP.build(c) for c in CONTENTS)


V3 = APP.revision("c3")


BOTH = (B1.id, B2.id)


DOOR_2 = Address(host="127.0.0.1", port=8002)


LATER = NOW + 1000


def planned(app: App | None, observed: Observed, *, now: float = NOW) -> str:
    """The plan as text: revisions are v1 and v2 (v2 also of an edited app), builds b1 to b3."""
    return named(app, plan(app, observed, now))


def named(app: App | None, decided: Plan[Action]) -> str:
    edited = app.revision("c1") if app is not None and app.revision("c1") != V1 else V2
    return as_text(decided, v1=V1, v2=edited, b1=B1, b2=B2, b3=B3)


def at_once(app: App | None, observed: Observed, *, now: float = NOW) -> str:
    """What is done beside everything else, as text."""
    return "\n".join(f"{action}: {action.cause}" for action in plan(app, observed, now).immediate)


def lines(text: str) -> str:
    return dedent(text).strip()


def dead(revision: Revision = V1, **different: Any) -> Instance:
    return an_instance(revision, end="was killed by SIGKILL", **different)


def crashed(count: int, **different: Any) -> Failure:
    return a_trouble(V1, kind="crashed", count=count, **different)


def remembered(app: App, observed: Observed) -> Failure | None:
    """What burying the dead says of them."""
    (bury,) = (a for a in plan(app, observed, NOW).actions if isinstance(a, Reap))
    return bury.failure


def deployed(*troubles: Failure, **different: Any) -> Observed:
    """The second revision is asked for and staged; the first one is proven and serves."""
    usual = serving(APP, "c2", builds=BOTH, instances=(an_instance(V1),), known_good=(V1,), failures=troubles)
    return waiting(replace(usual, **different), NOW - 3)


TIRED = an_app(idle_after_s=60.0)


LAZY = an_app(lazy=True)
