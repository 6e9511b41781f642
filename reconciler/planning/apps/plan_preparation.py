"""Plan what comes before an app serves, now or later: its build and its release command, and nothing that serves."""

from dataclasses import replace

from reconciler.planning.apps.actions import Action, ReadSource, Release, RemoveBuild, Stage
from reconciler.planning.apps.app import App
from reconciler.planning.apps.code_commands import NO_COMMANDS
from reconciler.planning.apps.observed import Observed
from reconciler.planning.apps.passing import where_it_listens
from reconciler.planning.apps.revision import Revision
from reconciler.planning.apps.revision_choice import desired_revision
from reconciler.planning.plan import Plan
from reconciler.planning.reason import Reason

_PREPARES = (ReadSource, Stage, Release)


def prepared_revision(app: App, observed: Observed, *, released: bool = True) -> Revision | None:
    """Return the revision that the manifest asks for once it is staged, and its release command run if `released`."""
    if app.source.missing or observed.source is None or observed.source.stale or observed.source.problem is not None:
        return None
    if observed.source.source != app.source or observed.inputs.missing:
        return None
    revision = desired_revision(app, observed)
    if revision.build.id not in observed.builds:
        return None
    mark = revision.release_mark(observed.commands.get(revision.build.id, NO_COMMANDS)) if released else None
    return revision if mark is None or mark in observed.released else None


def prepared(app: App | None, observed: Observed) -> Revision | None:
    """Return the revision that waits for the first connection of a lazy app: staged, its release command run.

    None if the app is unknown or not lazy, or is not that far; whether it has ever served does not matter here.
    """
    if app is None or not (app.lazy and app.may_sleep) or observed.source is None or observed.inputs.missing:
        return None
    revision = desired_revision(where_it_listens(app, observed), observed)
    if revision.build.id not in observed.builds or any(f.revision == revision.id for f in observed.failures):
        return None
    release = revision.release_mark(observed.commands.get(revision.build.id, NO_COMMANDS))
    return revision if release is None or release in observed.released else None


def preparation(planned: Plan[Action], app: App, observed: Observed, *, release: bool = True) -> Plan[Action]:
    """Return what of an app's plan makes its revision ready to run; settled once it is."""
    if (revision := prepared_revision(app, observed, released=release)) is not None:
        obsolete = _remove_builds(revision, observed)
        message = "ready to run in the foreground"
        return Plan(actions=obsolete, state="stopped", message=message, wanted=revision.id, settled=not obsolete)
    prepares = _PREPARES if release else _PREPARES[:2]
    actions = tuple(action for action in planned.actions if isinstance(action, prepares))
    return replace(planned, actions=actions, immediate=(), settled=False)


def _remove_builds(revision: Revision, observed: Observed) -> tuple[Action, ...]:
    needed = {revision.build.id, *(good.build.id for good in observed.known_good), *(i.build for i in observed.alive)}
    return tuple(
        RemoveBuild(build=build, cause="newer builds replaced it", reason=Reason.OBSOLETE)
        for build in observed.builds
        if build not in needed | observed.builds_in_use
    )
