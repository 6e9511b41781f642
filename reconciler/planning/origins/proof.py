"""Decide from the apps of an origin whether the commit in force is good, or is to be left for the good one. Pure.

A commit answers for what it changed alone: for the apps that want another revision than they did with the last good
commit. Where that is not known, no commit is left.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from reconciler.linux.dataclass import dataclass
from reconciler.planning.apps.app import App
from reconciler.planning.apps.revision import TREE_MARK
from reconciler.planning.outcome import Outcome

# The revision that each app wanted, None where it was not known.
Wanted: TypeAlias = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginApp:
    """An app or a service of an origin: the revision that it wants, None while that is not known, and its outcome.

    `rejected` says why that revision was rejected, "" if it was not, and `unbuilt` why it fails otherwise.
    """

    name: str
    revision: str | None
    outcome: Outcome
    rejected: str = ""
    unbuilt: str = ""


def wanted(apps: Iterable[OriginApp]) -> dict[str, str | None]:
    """Return the revision that each app wants."""
    return {app.name: app.revision for app in apps}


def is_good(apps: Iterable[OriginApp], with_good: Wanted | None) -> bool:
    """Return whether every app that the commit in force changed is up to date, or stopped by an operator."""
    return all(app.outcome in {"up-to-date", "held"} or is_unchanged(app, with_good or {}) for app in apps)


def why_failed(apps: Iterable[OriginApp], with_good: Wanted | None) -> str:
    """Return why the revisions were rejected that the commit in force brought, "" if none was."""
    if with_good is None:
        return ""
    return "; ".join(f"{app.name}: {app.rejected}" for app in apps if app.rejected and _is_changed(app, with_good))


def rejected(apps: Iterable[OriginApp], with_good: Wanted | None) -> str:
    """Return which apps were rejected that the commit in force may have changed, "" if none was."""
    return "; ".join(f"{a.name}: {a.rejected}" for a in apps if a.rejected and not is_unchanged(a, with_good or {}))


def unbuilt(apps: Iterable[OriginApp], with_good: Wanted | None) -> str:
    """Return which apps fail otherwise that the commit in force may have changed, "" if none does."""
    return "; ".join(f"{a.name}: {a.unbuilt}" for a in apps if a.unbuilt and not is_unchanged(a, with_good or {}))


def failing(apps: Iterable[OriginApp], with_good: Wanted | None) -> tuple[str, ...]:
    """Return the apps that fail, without those that the commit in force did not change."""
    return tuple(app.name for app in apps if app.outcome == "failed" and not is_unchanged(app, with_good or {}))


def is_unchanged(app: OriginApp, with_good: Wanted) -> bool:
    """Return whether an app surely wants what it wanted with the good commit."""
    return app.revision is not None and with_good.get(app.name) == app.revision


def asks_the_same(app: App, with_good: App | None) -> bool:
    """Return whether a commit surely leaves an app as it was with the good one, by what is asked of it alone.

    Credentials, files of variables, and sources that are not of one tree may differ for the same manifest.
    """
    is_whole = app.source.pinned.startswith(TREE_MARK) and not (app.bindings or app.env_files or app.env_lists)
    return app is with_good and is_whole and not any(part.env_files for part in app.parts)


def _is_changed(app: OriginApp, with_good: Wanted) -> bool:
    """Return whether a commit surely brought the revision: the app is new, or wanted another one, which is known."""
    before = with_good.get(app.name, "")
    return None not in {app.revision, before} and before != app.revision
